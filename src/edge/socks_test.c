#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/socks.h"

#include <arpa/inet.h>
#include <netinet/in.h>

// ---- greeting

static void a_greeting_offers_methods(void **state)
{
	(void)state;
	size_t used = 0;
	const uint8_t good[] = {5, 3, 2, 1, 0, 0xaa};
	for (size_t cut = 0; cut < 5; cut++)
		assert_int_equal(socks_greeting_decode(good, cut, &used), SOCKS_MORE);
	assert_int_equal(socks_greeting_decode(good, sizeof good, &used), 0);
	assert_int_equal(used, 5);
	const uint8_t guarded[] = {5, 2, 1, 2};
	assert_int_equal(socks_greeting_decode(guarded, sizeof guarded, &used), SOCKS_NO_METHOD);
	assert_int_equal(used, 4);
	const uint8_t none[] = {5, 0};
	assert_int_equal(socks_greeting_decode(none, sizeof none, &used), SOCKS_NO_METHOD);
	const uint8_t version_4[] = {4, 1, 0, 80};
	assert_int_equal(socks_greeting_decode(version_4, 1, &used), SOCKS_BAD);
}

static void a_method_is_two_bytes(void **state)
{
	(void)state;
	uint8_t out[SOCKS_METHOD_BYTES];
	assert_int_equal(socks_method_encode(SOCKS_METHOD_NONE, out), 2);
	assert_memory_equal(out, "\x05\xff", 2);
}

// ---- request

static int ask(const char *bytes, size_t length, struct request *request, enum socks_command *command)
{
	size_t used = 0;
	int outcome = socks_request_decode((const uint8_t *)bytes, length, command, request, &used);
	if (outcome == 0)
		assert_int_equal(used, length);
	for (size_t cut = 0; outcome == 0 && cut < length; cut++)
		assert_int_equal(socks_request_decode((const uint8_t *)bytes, cut, command, request, &used), SOCKS_MORE);
	return outcome;
}
#define ASK(bytes, request, command) ask(bytes, sizeof(bytes) - 1, request, command)

static void each_kind_of_address_is_understood(void **state)
{
	(void)state;
	struct request request;
	enum socks_command command;
	assert_int_equal(ASK("\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb", &request, &command), 0);
	assert_int_equal(command, SOCKS_CONNECT);
	assert_string_equal(request.host, "192.0.2.1");
	assert_int_equal(request.port, 443);
	assert_int_equal(ASK("\x05\x03\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x35", &request, &command), 0);
	assert_int_equal(command, SOCKS_ASSOCIATE);
	assert_string_equal(request.host, "2001:db8::1");
	assert_int_equal(request.port, 53);
	assert_int_equal(ASK("\x05\x01\x00\x03\x03"
	                     "web"
	                     "\x00\x00",
	                     &request, &command),
	                 0);
	assert_string_equal(request.host, "web");
	assert_int_equal(request.port, 0);
}

static void bytes_behind_a_request_are_not_its_own(void **state)
{
	(void)state;
	struct request request;
	enum socks_command command;
	size_t used;
	const char bytes[] = "\x05\x01\x00\x03\x01x\x00\x50GET / HTTP/1.0";
	assert_int_equal(socks_request_decode((const uint8_t *)bytes, sizeof bytes - 1, &command, &request, &used), 0);
	assert_memory_equal(bytes + used, "GET", 3);
}

static void what_is_not_carried_has_an_answer_of_its_own(void **state)
{
	(void)state;
	struct request request;
	enum socks_command command;
	assert_int_equal(ASK("\x05\x02\x00\x01\xc0\x00\x02\x01\x01\xbb", &request, &command), SOCKS_BAD_COMMAND);
	assert_int_equal(ASK("\x05\x09\x00\x01\xc0\x00\x02\x01\x01\xbb", &request, &command), SOCKS_BAD_COMMAND);
	assert_int_equal(ASK("\x05\x01\x00\x02\xc0\x00\x02\x01\x01\xbb", &request, &command), SOCKS_BAD_HOST);
	assert_int_equal(ASK("\x05\x01\x00\x03\x00\x01\xbb", &request, &command), SOCKS_BAD_HOST);
	assert_int_equal(ASK("\x05\x01\x00\x03\x03"
	                     "a b"
	                     "\x01\xbb",
	                     &request, &command),
	                 SOCKS_BAD_HOST);
	assert_int_equal(ASK("\x05\x01\x00\x03\x03"
	                     "a\0b"
	                     "\x01\xbb",
	                     &request, &command),
	                 SOCKS_BAD_HOST);
	assert_int_equal(ASK("\x04\x01\x00\x50\xc0\x00\x02\x01", &request, &command), SOCKS_BAD);
}

static void the_longest_name_fits(void **state)
{
	(void)state;
	struct request request;
	enum socks_command command;
	char bytes[5 + 255 + 2] = "\x05\x01\x00\x03\xff";
	memset(bytes + 5, 'n', 255);
	assert_int_equal(ask(bytes, sizeof bytes, &request, &command), 0);
	assert_int_equal(strlen(request.host), 255);
}

// ---- reply

static void a_reply_carries_the_bound_address_or_zeros(void **state)
{
	(void)state;
	uint8_t out[SOCKS_REPLY_BYTES];
	assert_int_equal(socks_reply_encode(SOCKS_REPLY_REFUSED, NULL, out), 10);
	assert_memory_equal(out, "\x05\x05\x00\x01\0\0\0\0\0\0", 10);
	struct sockaddr_in ip4 = {.sin_family = AF_INET, .sin_port = htons(0x1234)};
	inet_pton(AF_INET, "127.0.0.1", &ip4.sin_addr);
	assert_int_equal(socks_reply_encode(SOCKS_REPLY_OK, (const struct sockaddr *)&ip4, out), 10);
	assert_memory_equal(out, "\x05\x00\x00\x01\x7f\0\0\x01\x12\x34", 10);
	struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6, .sin6_port = htons(0x1234), .sin6_addr = in6addr_loopback};
	assert_int_equal(socks_reply_encode(SOCKS_REPLY_OK, (const struct sockaddr *)&ip6, out), 22);
	assert_memory_equal(out, "\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x34", 22);
}

// ---- datagrams

static void a_datagram_has_its_address_in_front(void **state)
{
	(void)state;
	struct request request;
	size_t used = 0;
	const char bytes[] = "\0\0\0\x01\x7f\0\0\x01\0\x35payload";
	assert_int_equal(socks_datagram_decode((const uint8_t *)bytes, sizeof bytes - 1, &request, &used), 0);
	assert_string_equal(request.host, "127.0.0.1");
	assert_int_equal(request.port, 53);
	assert_string_equal(bytes + used, "payload");
	for (size_t cut = 0; cut < used; cut++)
		assert_int_equal(socks_datagram_decode((const uint8_t *)bytes, cut, &request, &used), SOCKS_BAD);
	assert_int_equal(socks_datagram_decode((const uint8_t *)bytes, 10, &request, &used), 0);
	assert_int_equal(used, 10);
}

static void fragments_and_garbage_are_told_apart(void **state)
{
	(void)state;
	struct request request;
	size_t used;
	assert_int_equal(socks_datagram_decode((const uint8_t *)"\0\0\x01\x01\x7f\0\0\x01\0\x35", 10, &request, &used),
	                 SOCKS_FRAGMENT);
	assert_int_equal(socks_datagram_decode((const uint8_t *)"\0\x01\0\x01\x7f\0\0\x01\0\x35", 10, &request, &used),
	                 SOCKS_BAD);
	assert_int_equal(socks_datagram_decode((const uint8_t *)"\0\0\0\x05\x7f\0\0\x01\0\x35", 10, &request, &used),
	                 SOCKS_BAD_HOST);
}

static void a_datagram_header_comes_back_as_it_went(void **state)
{
	(void)state;
	const char *const hosts[] = {"192.0.2.1", "2001:db8::1", "dns"};
	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		struct request request = {.port = 53}, again;
		uint8_t out[SOCKS_DATAGRAM_BYTES];
		size_t used;
		assert_true(request_set_host(&request, hosts[i], strlen(hosts[i])));
		size_t length = socks_datagram_encode(&request, out);
		assert_int_equal(socks_datagram_decode(out, length, &again, &used), 0);
		assert_int_equal(used, length);
		assert_string_equal(again.host, hosts[i]);
		assert_int_equal(again.port, 53);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_greeting_offers_methods),
		cmocka_unit_test(a_method_is_two_bytes),
		cmocka_unit_test(each_kind_of_address_is_understood),
		cmocka_unit_test(bytes_behind_a_request_are_not_its_own),
		cmocka_unit_test(what_is_not_carried_has_an_answer_of_its_own),
		cmocka_unit_test(the_longest_name_fits),
		cmocka_unit_test(a_reply_carries_the_bound_address_or_zeros),
		cmocka_unit_test(a_datagram_has_its_address_in_front),
		cmocka_unit_test(fragments_and_garbage_are_told_apart),
		cmocka_unit_test(a_datagram_header_comes_back_as_it_went),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
