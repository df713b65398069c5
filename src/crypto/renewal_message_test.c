#include "crypto/renewal_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t message[RENEWAL_MESSAGE_BYTES + 8];

static size_t make_request(size_t body)
{
	renewal_message_request_head(body, message);
	memset(message + RENEWAL_REQUEST_HEAD_BYTES, 'x', body);
	return RENEWAL_REQUEST_HEAD_BYTES + body;
}

static void a_whole_message_is_read_and_a_part_of_it_wants_more(void **state)
{
	struct renewal_body body;
	(void)state;
	size_t length = make_request(5);
	for (size_t cut = 0; cut < length; cut++)
		assert_int_equal(renewal_message_request(message, cut, &body), RENEWAL_MESSAGE_MORE);
	assert_int_equal(renewal_message_request(message, length, &body), 0);
	assert_int_equal(body.length, 5);
	assert_memory_equal(body.bytes, "xxxxx", 5);
	assert_int_equal(renewal_message_request(message, length + 1, &body), RENEWAL_MESSAGE_BAD);
	renewal_message_answer_head(RENEWAL_OUTCOME_REFUSED, 2, message);
	for (size_t cut = 0; cut < RENEWAL_ANSWER_HEAD_BYTES + 2; cut++)
		assert_int_equal(renewal_message_answer(message, cut, &body), RENEWAL_MESSAGE_MORE);
	assert_int_equal(renewal_message_answer(message, RENEWAL_ANSWER_HEAD_BYTES + 2, &body), 0);
	assert_int_equal(body.outcome, RENEWAL_OUTCOME_REFUSED);
}

static void lengths_are_judged_by_the_head_alone(void **state)
{
	struct renewal_body body;
	(void)state;
	assert_int_equal(renewal_message_request(message, make_request(LIMIT_RENEWAL_BYTES), &body), 0);
	renewal_message_request_head(LIMIT_RENEWAL_BYTES + 1, message);
	assert_int_equal(renewal_message_request(message, RENEWAL_REQUEST_HEAD_BYTES, &body), RENEWAL_MESSAGE_BAD);
	renewal_message_request_head(0, message);
	assert_int_equal(renewal_message_request(message, RENEWAL_REQUEST_HEAD_BYTES, &body), RENEWAL_MESSAGE_BAD);
}

static void what_begins_otherwise_is_refused_at_its_first_wrong_byte(void **state)
{
	struct renewal_body body;
	(void)state;
	assert_int_equal(renewal_message_request((const uint8_t *)"GET", 3, &body), RENEWAL_MESSAGE_BAD);
	assert_int_equal(renewal_message_request((const uint8_t *)"QRN", 3, &body), RENEWAL_MESSAGE_MORE);
	assert_int_equal(renewal_message_request((const uint8_t *)"QRN2", 4, &body), RENEWAL_MESSAGE_BAD);
	renewal_message_answer_head(RENEWAL_OUTCOME_SIGNED, 2, message);
	message[4] = RENEWAL_OUTCOME_REFUSED + 1;
	assert_int_equal(renewal_message_answer(message, RENEWAL_ANSWER_HEAD_BYTES + 2, &body), RENEWAL_MESSAGE_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_message_is_read_and_a_part_of_it_wants_more),
		cmocka_unit_test(lengths_are_judged_by_the_head_alone),
		cmocka_unit_test(what_begins_otherwise_is_refused_at_its_first_wrong_byte),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
