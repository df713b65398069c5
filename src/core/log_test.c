#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define LONGEST 1024
#define WRITERS 4
#define LINES 500

// Standard error as a pipe whose reading end is held here.
struct capture {
	int saved, reader;
	size_t length;
	char text[2 * 1024 * 1024];
};

static int set_up(void **state)
{
	int ends[2];
	struct capture *capture = calloc(1, sizeof *capture);
	*state = capture;
	if (!capture || pipe2(ends, O_CLOEXEC) != 0)
		return -1;
	capture->saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	capture->reader = ends[0];
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	log_set(LOG_INFO, LOG_FORMAT_PLAIN, false);
	return 0;
}

static int tear_down(void **state)
{
	struct capture *capture = *state;
	dup2(capture->saved, STDERR_FILENO);
	close(capture->saved);
	if (capture->reader >= 0)
		close(capture->reader);
	log_set(LOG_INFO, LOG_FORMAT_PLAIN, true);
	free(capture);
	return 0;
}

// What was written and not yet read, added to the text.
static size_t read_more(struct capture *capture)
{
	size_t before = capture->length;
	for (;;) {
		ssize_t count = read(capture->reader, capture->text + capture->length,
		                     sizeof capture->text - 1 - capture->length);
		if (count <= 0)
			break;
		capture->length += (size_t)count;
	}
	capture->text[capture->length] = '\0';
	return capture->length - before;
}

static const char *written(struct capture *capture)
{
	capture->length = 0;
	read_more(capture);
	return capture->text;
}

static bool matches(const char *text, const char *pattern)
{
	regex_t compiled;
	assert_int_equal(regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB), 0);
	bool found = regexec(&compiled, text, 0, NULL, 0) == 0;
	regfree(&compiled);
	return found;
}

#define DATE "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"

static void a_plain_line_has_its_time_level_subject_and_message(void **state)
{
	log_set(LOG_INFO, LOG_FORMAT_PLAIN, true);
	log_info("source", "link %s is up", "a1b2c3d4");
	assert_true(matches(written(*state), "^" DATE " info  source: link a1b2c3d4 is up\n$"));
}

static void without_timestamps_a_line_begins_with_its_level(void **state)
{
	log_error("dest", "no");
	assert_string_equal(written(*state), "error dest: no\n");
	log_set(LOG_INFO, LOG_FORMAT_JSON, false);
	log_warn("dest", "no");
	assert_string_equal(written(*state), "{\"level\":\"warn\",\"subject\":\"dest\",\"message\":\"no\"}\n");
}

// A text of JSON as we write it: RFC 8259 7.
#define JSON_TEXT "([^\"\\\\]|\\\\[\"\\\\]|\\\\u00[0-9a-f]{2})*"

static void a_json_line_has_its_time_level_subject_and_message(void **state)
{
	log_set(LOG_INFO, LOG_FORMAT_JSON, true);
	log_warn("link", "it \"said\" \\ %d", 7);
	const char *line = written(*state);
	assert_true(matches(line, "^\\{\"time\":\"" DATE "\",\"level\":\"warn\",\"subject\":\"link\","
	                          "\"message\":\"" JSON_TEXT "\"\\}\n$"));
	assert_non_null(strstr(line, "\"it \\\"said\\\" \\\\ 7\""));
}

static void levels_below_the_set_one_are_silent(void **state)
{
	static const enum log_level levels[] = {LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE};
	for (size_t i = 0; i < COUNT_OF(levels); i++) {
		log_set(levels[i], LOG_FORMAT_PLAIN, false);
		for (size_t j = 0; j < COUNT_OF(levels); j++) {
			log_write(levels[j], "x", "said");
			assert_int_equal(log_is_on(levels[j]), j <= i);
			assert_int_equal(*written(*state) != '\0', j <= i);
		}
	}
}

static void levels_are_read_as_they_are_written(void **state)
{
	enum log_level level;
	(void)state;
	for (int i = LOG_ERROR; i <= LOG_TRACE; i++) {
		assert_int_equal(log_level_parse(log_level_name((enum log_level)i), &level), 0);
		assert_int_equal(level, i);
	}
	level = LOG_WARN;
	assert_int_equal(log_level_parse("loud", &level), 1);
	assert_int_equal(log_level_parse("", &level), 1);
	assert_int_equal(log_level_parse("INFO", &level), 1);
	assert_int_equal(log_level_parse("warning", &level), 1);
	assert_int_equal(level, LOG_WARN);
}

static void every_byte_that_is_not_printable_ascii_is_escaped(void **state)
{
	char hostile[256];
	for (int i = 0; i < 255; i++)
		hostile[i] = (char)(i + 1);
	hostile[255] = '\0';
	for (int format = LOG_FORMAT_PLAIN; format <= LOG_FORMAT_JSON; format++) {
		log_set(LOG_INFO, (enum log_format)format, false);
		log_info("peer\x1b[31m", "%s", hostile);
		const char *line = written(*state);
		size_t length = strlen(line);
		assert_true(length > 255 && line[length - 1] == '\n');
		for (size_t i = 0; i + 1 < length; i++)
			assert_true(line[i] >= 0x20 && line[i] <= 0x7e);
	}
}

static void escapes_say_which_byte_it_was(void **state)
{
	log_info("peer", "a\nb\x1b%c\xff", 0x7f);
	assert_string_equal(written(*state), "info  peer: a\\x0ab\\x1b\\x7f\\xff\n");
	log_set(LOG_INFO, LOG_FORMAT_JSON, false);
	log_info("peer", "a\nb\x1b%c\xff", 0x7f);
	assert_non_null(strstr(written(*state), "\"a\\u000ab\\u001b\\u007f\\u00ff\""));
}

// At the limit, one less and one more, in bytes of the whole line with its newline.
static void a_plain_line_is_cut_at_1024_bytes(void **state)
{
	static char message[2 * LONGEST];
	size_t room = LONGEST - strlen("info  x: ") - 1;
	for (size_t length = room - 5; length <= room + 5; length++) {
		memset(message, 'm', length);
		message[length] = '\0';
		log_info("x", "%s", message);
		const char *line = written(*state);
		assert_int_equal(strlen(line), length <= room ? strlen("info  x: ") + length + 1 : LONGEST);
		assert_int_equal(strstr(line, "m...\n") != NULL, length > room);
	}
}

static void a_cut_never_leaves_half_an_escape(void **state)
{
	static char message[LONGEST];
	for (size_t shift = 0; shift < 8; shift++) {
		memset(message, 'm', shift);
		memset(message + shift, 0x01, LONGEST - 1 - shift);
		log_set(LOG_INFO, LOG_FORMAT_PLAIN, false);
		log_info("x", "%s", message);
		const char *line = written(*state);
		assert_true(strlen(line) <= LONGEST && strlen(line) > LONGEST - 4);
		assert_true(matches(line, "^info  x: m*(\\\\x01)*\\.\\.\\.\n$"));
		log_set(LOG_INFO, LOG_FORMAT_JSON, false);
		log_info("x", "%s", message);
		line = written(*state);
		assert_true(strlen(line) <= LONGEST && strlen(line) > LONGEST - 6);
		assert_true(matches(line, ",\"message\":\"m*(\\\\u0001)*\\.\\.\\.\"\\}\n$"));
	}
}

static void a_subject_out_of_bounds_leaves_room_for_its_message(void **state)
{
	static char subject[2 * LONGEST];
	memset(subject, 's', sizeof subject - 1);
	log_write(LOG_INFO, subject, "said");
	assert_true(matches(written(*state), "^info  s+\\.\\.\\.: said\n$"));
}

static void lines_that_a_full_pipe_does_not_take_are_lost_and_counted(void **state)
{
	struct capture *capture = *state;
	char message[900];
	memset(message, 'm', sizeof message - 1);
	message[sizeof message - 1] = '\0';
	uint64_t before = log_lost();
	// More than any pipe holds: this comes back only if nobody waits for the reader.
	for (int i = 0; i < 2000; i++)
		log_info("x", "%s", message);
	uint64_t lost = log_lost() - before;
	assert_true(lost > 0 && lost < 2000);
	capture->length = 0;
	assert_int_equal(read_more(capture), (2000 - lost) * strlen("info  x: \n") + (2000 - lost) * strlen(message));
	log_info("x", "after");
	assert_string_equal(written(capture), "info  x: after\n");
	assert_int_equal(log_lost() - before, lost);
}

static void a_reader_that_has_gone_costs_lines_and_no_signal(void **state)
{
	struct capture *capture = *state;
	struct sigaction before, deadly = {.sa_handler = SIG_DFL};
	uint64_t lost = log_lost();
	sigaction(SIGPIPE, &deadly, &before);
	close(capture->reader);
	capture->reader = -1;
	log_info("x", "nobody reads this");
	assert_int_equal(log_lost() - lost, 1);
	sigaction(SIGPIPE, &before, NULL);
}

static void without_standard_error_lines_are_lost_and_counted(void **state)
{
	uint64_t lost = log_lost();
	(void)state;
	close(STDERR_FILENO);
	log_info("x", "nowhere to go");
	assert_int_equal(log_lost() - lost, 1);
}

static void a_socket_for_standard_error_is_never_waited_for_either(void **state)
{
	struct capture *capture = *state;
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	close(capture->reader);
	capture->reader = ends[0];
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	uint64_t before = log_lost();
	for (int i = 0; i < 20000; i++)
		log_info("x", "%0100d", i);
	uint64_t lost = log_lost() - before;
	assert_true(lost > 0 && lost < 20000);
	capture->length = 0;
	assert_int_equal(read_more(capture), (20000 - lost) * (strlen("info  x: \n") + 100));
}

static void errno_is_left_alone(void **state)
{
	(void)state;
	close(STDERR_FILENO);
	errno = ENOTTY;
	log_info("x", "said");
	assert_int_equal(errno, ENOTTY);
}

static void *write_lines(void *argument)
{
	char filler[400];
	memset(filler, 'a' + *(int *)argument, sizeof filler - 1);
	filler[sizeof filler - 1] = '\0';
	for (int i = 0; i < LINES; i++)
		log_info("x", "%s", filler);
	return NULL;
}

static void *change_settings(void *argument)
{
	for (int i = 0; i < LINES; i++)
		log_set(LOG_INFO, LOG_FORMAT_PLAIN, i % 2 == 1);
	return argument;
}

static void lines_of_many_threads_are_whole_each(void **state)
{
	struct capture *capture = *state;
	pthread_t threads[WRITERS + 1];
	int numbers[WRITERS];
	uint64_t before = log_lost();
	for (int i = 0; i < WRITERS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
	}
	assert_int_equal(pthread_create(&threads[WRITERS], NULL, change_settings, NULL), 0);
	capture->length = 0;
	for (int i = 0; i <= WRITERS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		read_more(capture);
	}
	size_t lines = 0;
	for (char *line = capture->text, *end; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		assert_true(matches(line, "^(" DATE " )?info  x: (a{399}|b{399}|c{399}|d{399})$"));
		lines++;
	}
	assert_int_equal(lines + (log_lost() - before), WRITERS * LINES);
	assert_true(lines > 0);
}

#define CAPTURED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CAPTURED(a_plain_line_has_its_time_level_subject_and_message),
		CAPTURED(without_timestamps_a_line_begins_with_its_level),
		CAPTURED(a_json_line_has_its_time_level_subject_and_message),
		CAPTURED(levels_below_the_set_one_are_silent),
		cmocka_unit_test(levels_are_read_as_they_are_written),
		CAPTURED(every_byte_that_is_not_printable_ascii_is_escaped),
		CAPTURED(escapes_say_which_byte_it_was),
		CAPTURED(a_plain_line_is_cut_at_1024_bytes),
		CAPTURED(a_cut_never_leaves_half_an_escape),
		CAPTURED(a_subject_out_of_bounds_leaves_room_for_its_message),
		CAPTURED(lines_that_a_full_pipe_does_not_take_are_lost_and_counted),
		CAPTURED(a_reader_that_has_gone_costs_lines_and_no_signal),
		CAPTURED(without_standard_error_lines_are_lost_and_counted),
		CAPTURED(a_socket_for_standard_error_is_never_waited_for_either),
		CAPTURED(errno_is_left_alone),
		CAPTURED(lines_of_many_threads_are_whole_each),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
