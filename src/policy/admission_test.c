#include "policy/admission.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <cmocka.h>

static const struct admission_limits limits = {.in_flight = 100, .per_address = 3, .window_ms = 1000, .table = 4};

static int set_up(void **state)
{
	return admission_new(&limits, (struct admission **)state);
}

static int tear_down(void **state)
{
	admission_free((struct admission **)state);
	return *state != NULL;
}

// Enters and leaves again: only the rate counts.
static int try(struct admission *admission, const char *text, uint64_t now_ms)
{
	struct sockaddr_storage storage = {0};
	struct sockaddr_in *in4 = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&storage;
	storage.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET;
	in4->sin_port = (in_port_t)now_ms; // never the same, and never of interest
	void *bytes = storage.ss_family == AF_INET ? (void *)&in4->sin_addr : (void *)&in6->sin6_addr;
	assert_int_equal(inet_pton(storage.ss_family, text, bytes), 1);
	int answer = admission_enter(admission, (struct sockaddr *)&storage, now_ms);
	if (answer == ADMISSION_OK)
		admission_leave(admission, (struct sockaddr *)&storage);
	return answer;
}

static void use_up(struct admission *admission, const char *text, uint64_t now_ms)
{
	for (uint32_t i = 0; i < limits.per_address; i++)
		assert_int_equal(try(admission, text, now_ms), ADMISSION_OK);
	assert_int_equal(try(admission, text, now_ms), ADMISSION_TOO_FAST);
}

static void places_are_taken_and_given_back(void **state)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	struct admission *admission;
	struct admission_limits roomy = limits;
	admission_free((struct admission **)state);
	roomy.table = limits.in_flight + 1;
	assert_int_equal(admission_new(&roomy, (struct admission **)state), 0);
	admission = *state;
	for (uint32_t i = 0; i < limits.in_flight; i++) {
		assert_int_equal(admission_in_flight(admission), i);
		in4.sin_addr.s_addr = htonl(i);
		assert_int_equal(admission_enter(admission, (struct sockaddr *)&in4, 0), ADMISSION_OK);
	}
	in4.sin_addr.s_addr = htonl(limits.in_flight);
	assert_int_equal(admission_enter(admission, (struct sockaddr *)&in4, 0), ADMISSION_TOO_MANY);
	in4.sin_addr.s_addr = 0;
	admission_leave(admission, (struct sockaddr *)&in4);
	assert_int_equal(admission_enter(admission, (struct sockaddr *)&in4, 0), ADMISSION_OK);
	assert_int_equal(admission_in_flight(admission), limits.in_flight);
}

static void leaving_once_too_often_makes_no_place(void **state)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	struct admission *admission = *state;
	admission_leave(admission, (struct sockaddr *)&in4);
	assert_int_equal(try(admission, "0.0.0.0", 0), ADMISSION_OK);
	admission_leave(admission, (struct sockaddr *)&in4);
	assert_int_equal(admission_in_flight(admission), 0);
}

static void an_address_is_admitted_so_often_in_a_window_and_again_in_the_next(void **state)
{
	use_up(*state, "192.0.2.1", 5000);
	assert_int_equal(try(*state, "192.0.2.2", 5000), ADMISSION_OK);
	assert_int_equal(try(*state, "192.0.2.1", 5999), ADMISSION_TOO_FAST);
	use_up(*state, "192.0.2.1", 6000);
}

static void refused_attempts_do_not_extend_the_window(void **state)
{
	use_up(*state, "192.0.2.1", 0);
	for (uint64_t now = 0; now < limits.window_ms; now += 10)
		assert_int_equal(try(*state, "192.0.2.1", now), ADMISSION_TOO_FAST);
	assert_int_equal(try(*state, "192.0.2.1", limits.window_ms), ADMISSION_OK);
}

static void a_refusal_for_the_rate_takes_no_place(void **state)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(7)};
	for (uint32_t i = 0; i < limits.per_address; i++)
		assert_int_equal(admission_enter(*state, (struct sockaddr *)&in4, 0), ADMISSION_OK);
	assert_int_equal(admission_enter(*state, (struct sockaddr *)&in4, 0), ADMISSION_TOO_FAST);
	assert_int_equal(admission_in_flight(*state), limits.per_address);
}

// Each worker takes the time at the start of its own turn.
static void a_worker_whose_clock_is_behind_opens_no_new_window(void **state)
{
	use_up(*state, "192.0.2.1", 5000);
	assert_int_equal(try(*state, "192.0.2.1", 4999), ADMISSION_TOO_FAST);
	assert_int_equal(try(*state, "192.0.2.1", 0), ADMISSION_TOO_FAST);
}

static void a_slash_64_of_ipv6_is_one_address(void **state)
{
	use_up(*state, "2001:db8:1:2::1", 0);
	assert_int_equal(try(*state, "2001:db8:1:2:ffff:ffff:ffff:ffff", 0), ADMISSION_TOO_FAST);
	assert_int_equal(try(*state, "2001:db8:1:3::1", 0), ADMISSION_OK);
}

static void ipv4_is_itself_mapped_or_not(void **state)
{
	use_up(*state, "::ffff:192.0.2.1", 0);
	assert_int_equal(try(*state, "192.0.2.1", 0), ADMISSION_TOO_FAST);
	assert_int_equal(try(*state, "::ffff:192.0.2.2", 0), ADMISSION_OK);
	assert_int_equal(try(*state, "::192.0.2.1", 0), ADMISSION_OK);
}

static void an_ipv4_address_and_an_ipv6_prefix_of_the_same_bytes_differ(void **state)
{
	use_up(*state, "32.1.13.184", 0);
	assert_int_equal(try(*state, "2001:db8::", 0), ADMISSION_OK);
}

static void a_full_table_forgets_the_address_not_seen_for_the_longest_time(void **state)
{
	use_up(*state, "192.0.2.1", 0);
	use_up(*state, "192.0.2.2", 1);
	use_up(*state, "192.0.2.3", 2);
	use_up(*state, "192.0.2.4", 3);
	assert_int_equal(try(*state, "192.0.2.1", 4), ADMISSION_TOO_FAST); // seen again: 2 is the oldest now
	assert_int_equal(try(*state, "192.0.2.5", 5), ADMISSION_OK);
	assert_int_equal(try(*state, "192.0.2.1", 6), ADMISSION_TOO_FAST);
	assert_int_equal(try(*state, "192.0.2.3", 6), ADMISSION_TOO_FAST);
	assert_int_equal(try(*state, "192.0.2.4", 6), ADMISSION_TOO_FAST);
	assert_int_equal(try(*state, "192.0.2.2", 6), ADMISSION_OK); // and 5 is forgotten for it
}

static void a_stranger_with_many_addresses_meets_a_table_that_stays_whole(void **state)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	for (uint32_t i = 0; i < 20000; i++) {
		in4.sin_addr.s_addr = htonl(i * 2654435761u % 5000);
		if (admission_enter(*state, (struct sockaddr *)&in4, i) == ADMISSION_OK)
			admission_leave(*state, (struct sockaddr *)&in4);
	}
	use_up(*state, "192.0.2.1", 30000);
}

static void a_table_of_one_remembers_the_last(void **state)
{
	struct admission_limits small = limits;
	struct admission *admission;
	(void)state;
	small.table = 1;
	assert_int_equal(admission_new(&small, &admission), 0);
	use_up(admission, "192.0.2.1", 0);
	assert_int_equal(try(admission, "192.0.2.2", 0), ADMISSION_OK);
	assert_int_equal(try(admission, "192.0.2.1", 0), ADMISSION_OK);
	admission_free(&admission);
	assert_null(admission);
}

static void unix_sockets_have_places_but_no_rate(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	for (uint32_t i = 0; i < limits.in_flight; i++)
		assert_int_equal(admission_enter(*state, (struct sockaddr *)&un, 0), ADMISSION_OK);
	assert_int_equal(admission_enter(*state, (struct sockaddr *)&un, 0), ADMISSION_TOO_MANY);
}

static int hold(struct admission *admission, struct sockaddr_in *in4, uint32_t address)
{
	in4->sin_family = AF_INET;
	in4->sin_addr.s_addr = htonl(address);
	return admission_enter(admission, (struct sockaddr *)in4, 0);
}

static void one_address_holds_its_share_and_no_more(void **state)
{
	const struct admission_limits shared = {
		.in_flight = 8, .in_flight_per_address = 2, .per_address = 100, .window_ms = 1000, .table = 4};
	struct admission *admission;
	struct sockaddr_in in4 = {0};
	(void)state;
	assert_int_equal(admission_new(&shared, &admission), 0);
	assert_int_equal(hold(admission, &in4, 1), ADMISSION_OK);
	assert_int_equal(hold(admission, &in4, 1), ADMISSION_OK);
	assert_int_equal(hold(admission, &in4, 1), ADMISSION_SHARE);
	for (uint32_t i = 2; i < 5; i++)
		assert_int_equal(hold(admission, &in4, i), ADMISSION_OK);
	// What somebody holds is not forgotten for a fifth address.
	assert_int_equal(hold(admission, &in4, 5), ADMISSION_TOO_MANY);
	assert_int_equal(hold(admission, &in4, 1), ADMISSION_SHARE);
	in4.sin_addr.s_addr = htonl(4);
	admission_leave(admission, (struct sockaddr *)&in4);
	assert_int_equal(hold(admission, &in4, 5), ADMISSION_OK);
	in4.sin_addr.s_addr = htonl(1);
	admission_leave(admission, (struct sockaddr *)&in4);
	assert_int_equal(hold(admission, &in4, 1), ADMISSION_OK);
	assert_int_equal(hold(admission, &in4, 1), ADMISSION_SHARE);
	admission_free(&admission);
}

static void freeing_nothing_is_harmless(void **state)
{
	struct admission *none = NULL;
	(void)state;
	admission_free(&none);
	assert_null(none);
}

#define ADMITTING(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ADMITTING(places_are_taken_and_given_back),
		ADMITTING(leaving_once_too_often_makes_no_place),
		ADMITTING(an_address_is_admitted_so_often_in_a_window_and_again_in_the_next),
		ADMITTING(refused_attempts_do_not_extend_the_window),
		ADMITTING(a_refusal_for_the_rate_takes_no_place),
		ADMITTING(a_worker_whose_clock_is_behind_opens_no_new_window),
		ADMITTING(a_slash_64_of_ipv6_is_one_address),
		ADMITTING(ipv4_is_itself_mapped_or_not),
		ADMITTING(an_ipv4_address_and_an_ipv6_prefix_of_the_same_bytes_differ),
		ADMITTING(a_full_table_forgets_the_address_not_seen_for_the_longest_time),
		ADMITTING(a_stranger_with_many_addresses_meets_a_table_that_stays_whole),
		cmocka_unit_test(a_table_of_one_remembers_the_last),
		ADMITTING(unix_sockets_have_places_but_no_rate),
		cmocka_unit_test(one_address_holds_its_share_and_no_more),
		cmocka_unit_test(freeing_nothing_is_harmless),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
