#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/proxy_header.h"

static struct address ip(const char *host, uint16_t port)
{
	struct address address;
	assert_int_equal(address_from_ip(host, port, &address), 0);
	return address;
}

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static int decode(const char *bytes, size_t length, struct proxy_peer *peer)
{
	size_t used = 0;
	struct proxy_peer other;
	int outcome = proxy_header_decode((const uint8_t *)bytes, length, peer, &used);
	if (outcome == 0)
		assert_int_equal(used, length);
	for (size_t cut = 0; outcome == 0 && cut < length; cut++)
		assert_int_equal(proxy_header_decode((const uint8_t *)bytes, cut, &other, &used), PROXY_MORE);
	return outcome;
}
#define DECODE(bytes, peer) decode(bytes, sizeof(bytes) - 1, peer)

static void assert_is(const struct address *address, const char *text)
{
	char is[ADDRESS_TEXT_BYTES];
	address_format(address, is);
	assert_string_equal(is, text);
}

// ---- version 2

static void an_ip4_client_is_twelve_bytes_of_addresses(void **state)
{
	(void)state;
	uint8_t out[PROXY_HEADER_BYTES];
	struct proxy_header header = {.client = ip("192.0.2.1", 0x1234), .server = ip("198.51.100.2", 443)};
	const char expected[] = SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x12\x34\x01\xbb";
	assert_int_equal(proxy_header_encode(&header, out), sizeof expected - 1);
	assert_memory_equal(out, expected, sizeof expected - 1);
}

static void families_are_made_the_same(void **state)
{
	(void)state;
	uint8_t out[PROXY_HEADER_BYTES];
	struct proxy_peer peer;
	struct proxy_header header = {.client = ip("192.0.2.1", 1), .server = ip("2001:db8::2", 2)};
	size_t length = proxy_header_encode(&header, out);
	assert_int_equal(out[13], 0x21);
	assert_int_equal(decode((char *)out, length, &peer), 0);
	assert_is(&peer.client, "192.0.2.1:1"); // ::ffff:192.0.2.1, which is written so
	assert_int_equal(peer.client.any.sa_family, AF_INET6);
	assert_is(&peer.server, "[2001:db8::2]:2");
	header = (struct proxy_header){.client = ip("::ffff:192.0.2.1", 1), .server = ip("192.0.2.2", 2)};
	assert_int_equal(proxy_header_encode(&header, out), 16 + 12);
	header = (struct proxy_header){.client = ip("192.0.2.1", 1)};
	length = proxy_header_encode(&header, out);
	assert_int_equal(decode((char *)out, length, &peer), 0);
	assert_is(&peer.server, "0.0.0.0:0");
}

static void a_client_that_is_not_known_has_no_family(void **state)
{
	(void)state;
	uint8_t out[PROXY_HEADER_BYTES];
	struct address local;
	assert_int_equal(address_parse("unix:/run/x", &local), 0);
	struct proxy_header headers[] = {{.server = ip("192.0.2.2", 2)}, {.client = local, .server = ip("::1", 1)}};
	for (size_t i = 0; i < COUNT_OF(headers); i++) {
		assert_int_equal(proxy_header_encode(&headers[i], out), 16);
		assert_memory_equal(out, SIGNATURE "\x21\x00\x00\x00", 16);
	}
}

static void what_is_known_of_tls_follows(void **state)
{
	(void)state;
	uint8_t out[PROXY_HEADER_BYTES];
	struct proxy_peer peer;
	struct proxy_tls tls = {.version = "TLSv1.3", .common_name = "source 1", .cipher = "", .group = "X25519MLKEM768"};
	struct proxy_header header = {.client = ip("::1", 7), .server = ip("::1", 8), .tls = &tls};
	const char expected[] = "\x20\x00\x2b\x07\0\0\0\0"
							"\x21\x00\x07TLSv1.3"
							"\x22\x00\x08source 1"
							"\x26\x00\x0eX25519MLKEM768";
	size_t length = proxy_header_encode(&header, out);
	assert_int_equal(length, 16 + 36 + sizeof expected - 1);
	assert_memory_equal(out + 52, expected, sizeof expected - 1);
	assert_int_equal(decode((char *)out, length, &peer), 0);
	assert_true(peer.is_tls && peer.has_certificate);
	assert_string_equal(peer.common_name, "source 1");
	tls.common_name = NULL;
	length = proxy_header_encode(&header, out);
	assert_int_equal(decode((char *)out, length, &peer), 0);
	assert_true(peer.is_tls);
	assert_false(peer.has_certificate);
}

static void the_longest_texts_fit(void **state)
{
	(void)state;
	uint8_t out[PROXY_HEADER_BYTES];
	char name[128], text[64], names[256], authority[256];
	struct proxy_peer peer;
	memset(name, 'n', sizeof name);
	memset(text, 't', sizeof text);
	memset(names, 'N', sizeof names);
	memset(authority, 'a', sizeof authority);
	name[sizeof name - 1] = text[sizeof text - 1] = names[sizeof names - 1] = authority[sizeof authority - 1] = '\0';
	struct proxy_tls tls = {text, text, name, text, text, text, text, names};
	struct proxy_header header = {
		.client = ip("::1", 7), .server = ip("::1", 8), .tls = &tls, .authority = authority, .alpn = authority};
	size_t length = proxy_header_encode(&header, out);
	assert_true(length < sizeof out);
	assert_int_equal(decode((char *)out, length, &peer), 0);
	assert_string_equal(peer.common_name, name);
	assert_string_equal(peer.authority, authority);
	assert_memory_equal(out + length - 258,
	                    "\xe0\x00\xff"
	                    "NNN",
	                    6);
}

static void names_are_told_of_a_verified_certificate_only(void **state)
{
	(void)state;
	uint8_t out[PROXY_HEADER_BYTES];
	const char expected[] = "\x01\x00\x02h2"
							"\x02\x00\x09"
							"a.example"
							"\x20\x00\x09\x07\0\0\0\0\x22\x00\x01n"
							"\xe0\x00\x09"
							"DNS:a.b,c";
	struct proxy_tls tls = {.common_name = "n", .names = "DNS:a.b,c"};
	struct proxy_header header = {.tls = &tls, .authority = "a.example", .alpn = "h2"};
	size_t length = proxy_header_encode(&header, out);
	assert_int_equal(length, 16 + sizeof expected - 1);
	assert_memory_equal(out + 16, expected, sizeof expected - 1);
	tls.common_name = NULL;
	length = proxy_header_encode(&header, out);
	assert_null(memchr(out + 16, 0xe0, length - 16));
}

static void local_and_unspecified_headers_say_nothing_of_addresses(void **state)
{
	(void)state;
	struct proxy_peer peer;
	assert_int_equal(DECODE(SIGNATURE "\x20\x11\x00\x03xyz", &peer), 0);
	assert_true(peer.is_local);
	assert_int_equal(peer.client.length, 0);
	assert_int_equal(DECODE(SIGNATURE "\x21\x00\x00\x07\x02\x00\x04host", &peer), 0);
	assert_false(peer.is_local);
	assert_int_equal(peer.client.length, 0);
	assert_string_equal(peer.authority, "host");
}

static void texts_are_made_printable_and_cut_to_room(void **state)
{
	(void)state;
	struct proxy_peer peer;
	assert_int_equal(DECODE(SIGNATURE "\x21\x00\x00\x12\x20\x00\x0f\x03\0\0\0\0\x22\x00\x07"
	                                  "a\nb\0c\x80 ",
	                        &peer),
	                 0);
	assert_string_equal(peer.common_name, "a?b?c? ");
	static char bytes[16 + 3 + 300] = SIGNATURE "\x21\x00\x01\x2f\x02\x01\x2c";
	memset(bytes + 19, 'a', 300);
	assert_int_equal(decode(bytes, sizeof bytes, &peer), 0);
	assert_int_equal(strlen(peer.authority), sizeof peer.authority - 1);
}

static void headers_that_break_their_own_rules_are_refused(void **state)
{
	(void)state;
	struct proxy_peer peer;
	assert_int_equal(DECODE("GET / HTTP/1.0\r\n", &peer), PROXY_BAD);
	assert_int_equal(DECODE(SIGNATURE "\x31\x11\x00\x00", &peer), PROXY_BAD);
	assert_int_equal(DECODE(SIGNATURE "\x31", &peer), PROXY_BAD);
	assert_int_equal(DECODE(SIGNATURE "\x22\x11\x00\x00", &peer), PROXY_BAD);
	assert_int_equal(DECODE(SIGNATURE "\x21\x41\x00\x00", &peer), PROXY_BAD);
	assert_int_equal(DECODE(SIGNATURE "\x21\x11\x00\x0b"
	                                  "12345678901",
	                        &peer),
	                 PROXY_BAD);
	assert_int_equal(DECODE(SIGNATURE "\x21\x00\x00\x02\x02\x00", &peer), PROXY_BAD);
	assert_int_equal(DECODE(SIGNATURE "\x21\x00\x00\x03\x02\x00\x01", &peer), PROXY_BAD);
	assert_int_equal(DECODE(SIGNATURE "\x21\x00\x00\x07\x20\x00\x04\x01\0\0\0", &peer), PROXY_BAD);
	assert_int_equal(DECODE(SIGNATURE "\x21\x00\x00\x0b\x20\x00\x08\x01\0\0\0\0\x22\x00\x01", &peer), PROXY_BAD);
	assert_int_equal(DECODE(SIGNATURE "\x21\x00\x0f\xf1", &peer), PROXY_BAD); // too long to wait for
	assert_int_equal(DECODE(SIGNATURE "\x21\x00\x0f\xf0", &peer), PROXY_MORE);
}

// ---- version 1

static void a_line_names_both_ends(void **state)
{
	(void)state;
	struct proxy_peer peer;
	assert_int_equal(DECODE("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", &peer), 0);
	assert_int_equal(peer.version, 1);
	assert_is(&peer.client, "192.0.2.1:56324");
	assert_is(&peer.server, "198.51.100.2:443");
	assert_int_equal(DECODE("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", &peer), 0);
	assert_is(&peer.client, "[2001:db8::1]:0");
	assert_int_equal(DECODE("PROXY UNKNOWN\r\n", &peer), 0);
	assert_int_equal(peer.client.length, 0);
	assert_int_equal(DECODE("PROXY UNKNOWN ff:: who knows\r\n", &peer), 0);
}

static void other_lines_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
		"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
		"PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.2 56324 65536\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
		"PROXY TCP4 ::1 198.51.100.2 1 443\r\n",
		"PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n",
		"PROXY UNKNOWNS\r\n",
		"PROXY \r\n",
		"PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n",
		"PROXYTCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct proxy_peer peer;
		int outcome = decode(bad[i], strlen(bad[i]), &peer);
		if (outcome != PROXY_BAD)
			fail_msg("outcome %d: %s", outcome, bad[i]);
	}
}

static void a_line_without_an_end_is_not_waited_for(void **state)
{
	(void)state;
	char line[200];
	struct proxy_peer peer;
	memset(line, 'x', sizeof line);
	memcpy(line, "PROXY UNKNOWN ", 14);
	assert_int_equal(decode(line, 106, &peer), PROXY_MORE);
	assert_int_equal(decode(line, 107, &peer), PROXY_BAD);
	memcpy(line + 105, "\r\n", 2);
	assert_int_equal(decode(line, 107, &peer), 0);
}

static void lines_come_back_as_they_went(void **state)
{
	(void)state;
	char out[PROXY_HEADER_TEXT_BYTES];
	struct proxy_peer peer;
	struct proxy_header header = {.client = ip("192.0.2.1", 1), .server = ip("2001:db8::2", 65535)};
	size_t length = proxy_header_encode_text(&header, out);
	assert_string_equal(out, "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 65535\r\n");
	assert_int_equal(decode(out, length, &peer), 0);
	header = (struct proxy_header){.client = ip("192.0.2.1", 1), .server = ip("192.0.2.2", 2)};
	length = proxy_header_encode_text(&header, out);
	assert_string_equal(out, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
	header = (struct proxy_header){.server = ip("192.0.2.2", 2)};
	length = proxy_header_encode_text(&header, out);
	assert_int_equal(decode(out, length, &peer), 0);
	assert_int_equal(peer.client.length, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ip4_client_is_twelve_bytes_of_addresses),
		cmocka_unit_test(families_are_made_the_same),
		cmocka_unit_test(a_client_that_is_not_known_has_no_family),
		cmocka_unit_test(what_is_known_of_tls_follows),
		cmocka_unit_test(the_longest_texts_fit),
		cmocka_unit_test(names_are_told_of_a_verified_certificate_only),
		cmocka_unit_test(local_and_unspecified_headers_say_nothing_of_addresses),
		cmocka_unit_test(texts_are_made_printable_and_cut_to_room),
		cmocka_unit_test(headers_that_break_their_own_rules_are_refused),
		cmocka_unit_test(a_line_names_both_ends),
		cmocka_unit_test(other_lines_are_refused),
		cmocka_unit_test(a_line_without_an_end_is_not_waited_for),
		cmocka_unit_test(lines_come_back_as_they_went),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
