#include "node/expiry.h"

#include "core/clock.h"
#include "core/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY 86400

static const struct expiry_thresholds usual = {30 * DAY, 7 * DAY, 1 * DAY};

// What `run` writes to the log.
static size_t lines_of(void (*run)(struct expiry *expiry), struct expiry *expiry, char *text, size_t room)
{
	char path[] = "/tmp/expiry_test.XXXXXX";
	int file = mkstemp(path), old = dup(STDERR_FILENO);
	size_t lines = 0;

	assert_true(file >= 0 && old >= 0);
	assert_true(dup2(file, STDERR_FILENO) >= 0);
	run(expiry);
	assert_true(dup2(old, STDERR_FILENO) >= 0);
	ssize_t length = pread(file, text, room - 1, 0);
	text[length > 0 ? length : 0] = 0;
	for (const char *at = text; *at; at++)
		lines += *at == '\n';
	close(old);
	close(file);
	unlink(path);
	return lines;
}

static void each_threshold_begins_a_stage(void **state)
{
	struct lifetime year = {.until = 365 * DAY};
	(void)state;
	assert_int_equal(expiry_judge(&usual, &year, 0), EXPIRY_FINE);
	assert_int_equal(expiry_next(&usual, &year, 0), 335 * DAY);
	assert_int_equal(expiry_judge(&usual, &year, 335 * DAY - 1), EXPIRY_FINE);
	assert_int_equal(expiry_judge(&usual, &year, 335 * DAY), EXPIRY_NOTICE);
	assert_int_equal(expiry_judge(&usual, &year, 358 * DAY), EXPIRY_WARNING);
	assert_int_equal(expiry_judge(&usual, &year, 364 * DAY), EXPIRY_URGENT);
	assert_int_equal(expiry_judge(&usual, &year, 365 * DAY - 1), EXPIRY_URGENT);
	assert_int_equal(expiry_next(&usual, &year, 364 * DAY), 365 * DAY);
	assert_int_equal(expiry_judge(&usual, &year, 365 * DAY), EXPIRY_OVER);
	assert_int_equal(expiry_next(&usual, &year, 365 * DAY), 0);
}

static void short_lives_shrink_all_thresholds_in_proportion(void **state)
{
	struct lifetime list = {.from = 1000, .until = 1000 + 4 * DAY};
	(void)state;
	assert_int_equal(expiry_next(&usual, &list, 1000), 1000 + 3 * DAY);
	assert_int_equal(expiry_next(&usual, &list, 1000 + 3 * DAY), list.until - DAY * 7 / 30);
	assert_int_equal(expiry_judge(&usual, &list, list.until - DAY / 30), EXPIRY_URGENT);
}

static struct lifetime subject;

static void set(struct expiry *expiry)
{
	expiry_set(expiry, &usual, &subject, 1);
}

static void what_was_said_is_not_said_again_at_a_reload(void **state)
{
	struct loop *loop;
	struct expiry *expiry;
	char text[4096];
	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(expiry_open(loop, &expiry), 0);
	int64_t now = clock_wall_s();
	subject = (struct lifetime){.role = LIFETIME_OWN, .number = 1, .from = now - 360 * DAY, .until = now + 5 * DAY};
	snprintf(subject.subject, sizeof subject.subject, "CN=x");
	assert_int_equal(lines_of(set, expiry, text, sizeof text), 1);
	assert_non_null(strstr(text, "our certificate CN=x ends in "));
	assert_int_equal(lines_of(set, expiry, text, sizeof text), 0);
	subject.until = now + DAY / 2; // another one, nearer to its end
	assert_int_equal(lines_of(set, expiry, text, sizeof text), 1);
	subject.until = now + 300 * DAY;
	assert_int_equal(lines_of(set, expiry, text, sizeof text), 0);
	expiry_close(&expiry);
	loop_free(&loop);
}

static void a_healthy_node_with_an_urgent_certificate_is_degraded_and_says_why(void **state)
{
	struct loop *loop;
	struct expiry *expiry;
	char text[4096];
	struct status_node status = {.health = "Healthy"}, unhealthy = {.health = "Unhealthy", .message = "other"};
	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(expiry_open(loop, &expiry), 0);
	int64_t now = clock_wall_s();
	subject = (struct lifetime){.role = LIFETIME_LIST, .number = 1, .from = now - 100 * DAY, .until = now + 6 * DAY};
	(void)lines_of(set, expiry, text, sizeof text);
	expiry_show(expiry, &status);
	assert_string_equal(status.health, "Healthy");
	assert_int_equal(status.certificate_count, 1);
	assert_string_equal(status.certificates[0].role, "crl");
	assert_string_equal(status.certificates[0].state, "expires very soon");
	subject.until = now - 1;
	(void)lines_of(set, expiry, text, sizeof text);
	expiry_show(expiry, &status);
	assert_string_equal(status.health, "Degraded");
	assert_non_null(strstr(status.message, "the revocation list of"));
	expiry_show(expiry, &unhealthy);
	assert_string_equal(unhealthy.health, "Unhealthy");
	assert_string_equal(unhealthy.message, "other");
	expiry_close(&expiry);
	loop_free(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_threshold_begins_a_stage),
		cmocka_unit_test(short_lives_shrink_all_thresholds_in_proportion),
		cmocka_unit_test(what_was_said_is_not_said_again_at_a_reload),
		cmocka_unit_test(a_healthy_node_with_an_urgent_certificate_is_degraded_and_says_why),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
