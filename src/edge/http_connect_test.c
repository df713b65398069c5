#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/http_connect.h"

#include "limits.h"

static int ask(const char *text, struct request *request)
{
	size_t length = strlen(text), used = 0;
	int outcome = http_connect_decode((const uint8_t *)text, length, request, &used);
	if (outcome == 0)
		assert_int_equal(used, length);
	struct request other;
	for (size_t cut = 0; outcome == 0 && cut < length; cut++)
		assert_int_equal(http_connect_decode((const uint8_t *)text, cut, &other, &used), HTTP_CONNECT_MORE);
	return outcome;
}

static void a_request_names_host_and_port(void **state)
{
	(void)state;
	struct request request;
	assert_int_equal(ask("CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n", &request), 0);
	assert_string_equal(request.host, "web");
	assert_int_equal(request.port, 80);
	assert_int_equal(ask("CONNECT [2001:db8::1]:443 HTTP/1.0\r\n\r\n", &request), 0);
	assert_string_equal(request.host, "2001:db8::1");
	assert_int_equal(request.port, 443);
	assert_int_equal(ask("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost:x\r\nproxy-authorization: Basic eA==\r\n"
	                     "Content-Length: 0\r\nX-Empty:\r\n\r\n",
	                     &request),
	                 0);
	assert_string_equal(request.host, "127.0.0.1");
	assert_int_equal(ask("CONNECT web:0 HTTP/1.0\r\n\r\n", &request), 0);
	assert_int_equal(request.port, 0);
}

static void bytes_behind_a_request_are_not_its_own(void **state)
{
	(void)state;
	struct request request;
	size_t used = 0;
	const char text[] = "CONNECT web:80 HTTP/1.0\r\n\r\n\r\nmore";
	assert_int_equal(http_connect_decode((const uint8_t *)text, sizeof text - 1, &request, &used), 0);
	assert_string_equal(text + used, "\r\nmore");
}

static void other_methods_are_told_apart(void **state)
{
	(void)state;
	struct request request;
	assert_int_equal(ask("GET / HTTP/1.1\r\n", &request), HTTP_CONNECT_METHOD);
	assert_int_equal(ask("GET http://web/ HTTP/1.0\r\n\r\n", &request), HTTP_CONNECT_METHOD);
	assert_int_equal(ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &request), HTTP_CONNECT_METHOD);
	assert_int_equal(ask("connect web:80 HTTP/1.0\r\n\r\n", &request), HTTP_CONNECT_METHOD);
}

static void what_could_be_read_in_two_ways_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"CONNECT web:80\r\n",
		"CONNECT web HTTP/1.0\r\n",
		"CONNECT web:80 HTTP/2.0\r\n",
		"CONNECT web:80 HTTP/1.0\n",
		"CONNECT web:80 HTTP/1.0\rX",
		"CONNECT  web:80 HTTP/1.0\r\n",
		"CONNECT web:99999 HTTP/1.0\r\n",
		"CONNECT web: HTTP/1.0\r\n",
		"CONNECT web:+80 HTTP/1.0\r\n",
		"CONNECT :80 HTTP/1.0\r\n",
		"CONNECT u@web:80 HTTP/1.0\r\n",
		"CONNECT http://web:80 HTTP/1.0\r\n",
		"CONNECT ::1:80 HTTP/1.0\r\n",
		"CONNECT [web]:80 HTTP/1.0\r\n",
		"CONNECT [::1%25lo]:80 HTTP/1.0\r\n",
		"CONNECT []:80 HTTP/1.0\r\n",
		"CONN ECT web:80 HTTP/1.0\r\n",
		" CONNECT web:80 HTTP/1.0\r\n",
		"CONNECT web:80 HTTP/1.1\r\n\r\n",
		"CONNECT web:80 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
		"CONNECT web:80 HTTP/1.0\r\nno colon\r\n",
		"CONNECT web:80 HTTP/1.0\r\nName : value\r\n",
		"CONNECT web:80 HTTP/1.0\r\n folded\r\n",
		"CONNECT web:80 HTTP/1.0\r\nX: a\x01\r\n",
		"CONNECT web:80 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
		"CONNECT web:80 HTTP/1.0\r\nContent-Length: 5\r\n",
		"\r\nCONNECT web:80 HTTP/1.0\r\n\r\n",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct request request;
		int outcome = ask(bad[i], &request);
		if (outcome != HTTP_CONNECT_BAD)
			fail_msg("outcome %d: %s", outcome, bad[i]);
	}
}

static void a_request_has_a_limit(void **state)
{
	(void)state;
	static char text[LIMIT_ENTRY_REQUEST_BYTES + 64];
	struct request request;
	size_t used = 0;
	int head = snprintf(text, sizeof text, "CONNECT web:80 HTTP/1.0\r\nX: ");
	memset(text + head, 'x', sizeof text - (size_t)head);
	assert_int_equal(http_connect_decode((uint8_t *)text, LIMIT_ENTRY_REQUEST_BYTES - 1, &request, &used),
	                 HTTP_CONNECT_MORE);
	assert_int_equal(http_connect_decode((uint8_t *)text, LIMIT_ENTRY_REQUEST_BYTES, &request, &used),
	                 HTTP_CONNECT_TOO_LONG);
	memcpy(text + LIMIT_ENTRY_REQUEST_BYTES - 4, "\r\n\r\n", 4);
	assert_int_equal(http_connect_decode((uint8_t *)text, LIMIT_ENTRY_REQUEST_BYTES, &request, &used), 0);
	memmove(text + LIMIT_ENTRY_REQUEST_BYTES - 3, text + LIMIT_ENTRY_REQUEST_BYTES - 4, 4);
	text[LIMIT_ENTRY_REQUEST_BYTES - 4] = 'x';
	assert_int_equal(http_connect_decode((uint8_t *)text, LIMIT_ENTRY_REQUEST_BYTES + 1, &request, &used),
	                 HTTP_CONNECT_TOO_LONG);
}

static void success_has_no_content(void **state)
{
	(void)state;
	char out[HTTP_CONNECT_ANSWER_BYTES];
	size_t length = http_connect_encode(HTTP_CONNECT_ESTABLISHED, "ignored", out);
	assert_int_equal(length, strlen(out));
	assert_string_equal(out, "HTTP/1.1 200 Connection established\r\n\r\n");
}

static void every_refusal_says_what_to_do_and_how_long_that_is(void **state)
{
	(void)state;
	const enum http_connect_status all[] = {400, 403, 404, 405, 408, 431, 502, 503, 504};
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		char out[HTTP_CONNECT_ANSWER_BYTES], start[32], long_detail[400];
		memset(long_detail, 'd', sizeof long_detail);
		long_detail[sizeof long_detail - 1] = '\0';
		size_t length = http_connect_encode(all[i], i % 2 ? long_detail : NULL, out);
		assert_true(length < sizeof out);
		assert_int_equal(length, strlen(out));
		snprintf(start, sizeof start, "HTTP/1.1 %d ", (int)all[i]);
		assert_memory_equal(out, start, strlen(start));
		const char *body = strstr(out, "\r\n\r\n") + 4;
		assert_int_equal(strlen(body), strtoul(strstr(out, "Content-Length: ") + 16, NULL, 10));
		assert_true(strlen(body) > 10);
		assert_int_equal(strstr(out, "Allow: CONNECT\r\n") != NULL, all[i] == 405);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_names_host_and_port),
		cmocka_unit_test(bytes_behind_a_request_are_not_its_own),
		cmocka_unit_test(other_methods_are_told_apart),
		cmocka_unit_test(what_could_be_read_in_two_ways_is_refused),
		cmocka_unit_test(a_request_has_a_limit),
		cmocka_unit_test(success_has_no_content),
		cmocka_unit_test(every_refusal_says_what_to_do_and_how_long_that_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
