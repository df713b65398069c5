#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "policy/quota.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>

static struct quota_key key_of_ip4(const char *ip)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(4711)};
	struct quota_key key;
	assert_int_equal(inet_pton(AF_INET, ip, &address.sin_addr), 1);
	quota_key_of_address((const struct sockaddr *)&address, &key);
	return key;
}

static struct quota_key key_of_ip6(const char *ip)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(4711)};
	struct quota_key key;
	assert_int_equal(inet_pton(AF_INET6, ip, &address.sin6_addr), 1);
	quota_key_of_address((const struct sockaddr *)&address, &key);
	return key;
}

static void the_one_past_the_limit_is_refused_until_another_leaves(void **state)
{
	(void)state;
	struct quota *quota;
	struct quota_key a = key_of_ip4("192.0.2.1"), b = key_of_ip4("192.0.2.2");
	assert_int_equal(quota_new(8, 1, &quota), 0);
	assert_int_equal(quota_enter(quota, &a, 2), 0);
	assert_int_equal(quota_enter(quota, &a, 2), 0);
	assert_int_equal(quota_enter(quota, &a, 2), QUOTA_TOO_MANY);
	assert_int_equal(quota_enter(quota, &b, 2), 0);
	quota_leave(quota, &a);
	assert_int_equal(quota_enter(quota, &a, 2), 0);
	assert_int_equal(quota_enter(quota, &a, 0), QUOTA_TOO_MANY);
	quota_free(&quota);
	assert_null(quota);
	quota_free(&quota);
}

static void a_full_table_takes_no_newcomer_and_forgets_who_left(void **state)
{
	(void)state;
	struct quota *quota;
	struct quota_key keys[64], one_more = key_of_ip4("10.0.0.1");
	assert_int_equal(quota_new(COUNT_OF(keys), 99, &quota), 0);
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		char ip[32];
		snprintf(ip, sizeof ip, "192.0.2.%zu", i);
		keys[i] = key_of_ip4(ip);
		assert_int_equal(quota_enter(quota, &keys[i], 5), 0);
	}
	assert_int_equal(quota_enter(quota, &one_more, 5), QUOTA_FULL);
	assert_int_equal(quota_enter(quota, &keys[7], 5), 0);
	quota_leave(quota, &keys[7]);
	assert_int_equal(quota_keys(quota), COUNT_OF(keys));
	for (size_t i = 0; i < COUNT_OF(keys); i += 2)
		quota_leave(quota, &keys[i]);
	assert_int_equal(quota_keys(quota), COUNT_OF(keys) / 2);
	assert_int_equal(quota_enter(quota, &one_more, 5), 0);
	for (size_t i = 1; i < COUNT_OF(keys); i += 2)
		assert_int_equal(quota_enter(quota, &keys[i], 1), QUOTA_TOO_MANY);
	quota_free(&quota);
}

static void leaving_what_was_never_entered_is_harmless(void **state)
{
	(void)state;
	struct quota *quota;
	struct quota_key a = key_of_ip4("192.0.2.1");
	assert_int_equal(quota_new(4, 1, &quota), 0);
	quota_leave(quota, &a);
	assert_int_equal(quota_enter(quota, &a, 1), 0);
	quota_leave(quota, &a);
	quota_leave(quota, &a);
	assert_int_equal(quota_keys(quota), 0);
	quota_free(&quota);
}

static void keys_are_hosts_and_ip6_networks(void **state)
{
	(void)state;
	struct quota_key a = key_of_ip4("192.0.2.1"), mapped = key_of_ip6("::ffff:192.0.2.1");
	struct quota_key near = key_of_ip6("2001:db8:0:1::1"), same = key_of_ip6("2001:db8:0:1:ffff::2");
	struct quota_key far = key_of_ip6("2001:db8:0:2::1"), other = key_of_ip4("192.0.2.2");
	struct sockaddr local = {.sa_family = AF_UNIX};
	struct quota_key unix_key;
	quota_key_of_address(&local, &unix_key);
	assert_memory_equal(&a, &mapped, sizeof a);
	assert_memory_equal(&near, &same, sizeof near);
	assert_memory_not_equal(&near, &far, sizeof near);
	assert_memory_not_equal(&a, &other, sizeof a);
	assert_memory_not_equal(&a, &unix_key, sizeof a);
}

static void a_fingerprint_is_its_first_sixteen_bytes(void **state)
{
	(void)state;
	struct quota_key key, expected = {{0x01, 0x23, 0xab, 0xff}};
	quota_key_of_fingerprint("0123abff", &key);
	assert_memory_equal(&key, &expected, sizeof key);
	quota_key_of_fingerprint("000102030405060708090a0b0c0d0e0f10", &key);
	assert_int_equal(key.bytes[15], 15);
}

static void *come_and_go(void *owner)
{
	struct quota *quota = owner;
	struct quota_key key = key_of_ip4("192.0.2.1");
	for (int i = 0; i < 20000; i++)
		if (quota_enter(quota, &key, 1) == 0)
			quota_leave(quota, &key);
	return NULL;
}

static void threads_leave_no_place_behind(void **state)
{
	(void)state;
	struct quota *quota;
	pthread_t threads[4];
	assert_int_equal(quota_new(4, 1, &quota), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, quota), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(quota_keys(quota), 0);
	quota_free(&quota);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_one_past_the_limit_is_refused_until_another_leaves),
		cmocka_unit_test(a_full_table_takes_no_newcomer_and_forgets_who_left),
		cmocka_unit_test(leaving_what_was_never_entered_is_harmless),
		cmocka_unit_test(keys_are_hosts_and_ip6_networks),
		cmocka_unit_test(a_fingerprint_is_its_first_sixteen_bytes),
		cmocka_unit_test(threads_leave_no_place_behind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
