#include "fleet/pins.h"

#include "fleet/naming.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

static char path[64];
static const uint8_t key[PIN_BYTES] = {0xab, 1}, other[PIN_BYTES] = {2};

// What the writing thread has said.
static struct {
	pthread_mutex_t lock;
	pthread_cond_t told;
	unsigned count;
	int r;
	char name[NAMING_BYTES];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};

static void on_kept(void *owner, const char *name, int r)
{
	assert_ptr_equal(owner, &kept);
	pthread_mutex_lock(&kept.lock);
	kept.count++;
	kept.r = r;
	snprintf(kept.name, sizeof kept.name, "%s", name);
	pthread_cond_signal(&kept.told);
	pthread_mutex_unlock(&kept.lock);
}

static void wait_kept(unsigned count)
{
	pthread_mutex_lock(&kept.lock);
	while (kept.count < count)
		pthread_cond_wait(&kept.told, &kept.lock);
	pthread_mutex_unlock(&kept.lock);
}

static struct pins *open_pins(const char *file, uint32_t most, uint32_t most_per_key)
{
	struct pins *pins = NULL;
	char problem[PINS_PROBLEM_BYTES];
	struct pins_settings settings = {
		.path = file, .most = most, .most_per_key = most_per_key, .on_kept = on_kept, .owner = &kept};
	kept.count = 0;
	assert_int_equal(pins_open(&settings, &pins, problem), 0);
	return pins;
}

static int setup(void **state)
{
	(void)state;
	strcpy(path, "/tmp/pins-test-XXXXXX");
	int fd = mkstemp(path);
	close(fd);
	return fd < 0;
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

static void put(const char *text)
{
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void the_first_key_keeps_a_name_over_restarts(void **state)
{
	struct pins *pins = open_pins(path, 10, 10);
	(void)state;
	assert_int_equal(pins_claim(pins, "011", key), PINS_PENDING);
	assert_int_equal(pins_claim(pins, "011", other), PINS_OTHER);
	wait_kept(1);
	assert_int_equal(kept.r, 0);
	assert_string_equal(kept.name, "011");
	assert_int_equal(pins_claim(pins, "011", key), 0);
	pins_close(&pins);
	pins = open_pins(path, 10, 10);
	assert_int_equal(pins_claim(pins, "011", other), PINS_OTHER);
	assert_int_equal(pins_claim(pins, "011", key), 0);
	assert_int_equal(pins_claim(pins, "012", other), PINS_PENDING);
	pins_close(&pins); // writes it first
	assert_int_equal(kept.count, 1);
	pins = open_pins(path, 10, 10);
	assert_int_equal(pins_claim(pins, "012", other), 0);
	pins_close(&pins);
}

static void judging_claims_nothing(void **state)
{
	struct pins *pins = open_pins(path, 10, 10);
	(void)state;
	assert_int_equal(pins_judge(pins, "011", key), PINS_FREE);
	assert_int_equal(pins_judge(pins, "011", other), PINS_FREE);
	assert_int_equal(pins_claim(pins, "011", other), PINS_PENDING);
	assert_int_equal(pins_judge(pins, "011", key), PINS_OTHER);
	pins_close(&pins);
	assert_int_equal(kept.count, 1);
}

static void bounds_are_kept_for_all_and_for_each_key(void **state)
{
	struct pins *pins = open_pins(path, 3, 2);
	(void)state;
	assert_int_equal(pins_claim(pins, "a", key), PINS_PENDING);
	assert_int_equal(pins_claim(pins, "b", key), PINS_PENDING);
	assert_int_equal(pins_judge(pins, "c", key), PINS_KEY_FULL);
	assert_int_equal(pins_claim(pins, "c", key), PINS_KEY_FULL);
	assert_int_equal(pins_claim(pins, "c", other), PINS_PENDING);
	assert_int_equal(pins_claim(pins, "d", other), PINS_FULL);
	pins_set(pins, 1);
	wait_kept(3);
	assert_int_equal(pins_claim(pins, "b", key), 0); // what it has it keeps
	pins_close(&pins);
}

static void a_name_that_cannot_be_kept_is_nobodys(void **state)
{
	struct pins *pins = open_pins(path, 10, 10);
	struct rlimit none = {0}, before;
	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	assert_int_equal(pins_claim(pins, "011", key), PINS_PENDING);
	wait_kept(1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_true(kept.r < 0);
	assert_int_equal(pins_judge(pins, "011", other), PINS_FREE);
	pins_close(&pins);
}

static void a_torn_last_line_is_forgotten(void **state)
{
	(void)state;
	put("# by hand\na ab01000000000000000000000000000000000000000000000000000000000000\nb ab");
	struct pins *pins = open_pins(path, 10, 10);
	assert_int_equal(pins_claim(pins, "a", key), 0);
	assert_int_equal(pins_claim(pins, "b", other), PINS_PENDING);
	pins_close(&pins);
	pins = open_pins(path, 10, 10);
	assert_int_equal(pins_claim(pins, "b", key), PINS_OTHER);
	pins_close(&pins);
}

#define PIN_A "ab01000000000000000000000000000000000000000000000000000000000000"

static void a_whole_last_line_without_its_end_is_a_claim(void **state)
{
	char text[512];
	(void)state;
	put("a " PIN_A "\nb " PIN_A);
	struct pins *pins = open_pins(path, 10, 10);
	assert_int_equal(pins_claim(pins, "b", other), PINS_OTHER);
	assert_true(pins_keeps(pins, "b"));
	assert_false(pins_keeps(pins, "c"));
	assert_int_equal(pins_claim(pins, "c", key), PINS_PENDING);
	pins_close(&pins);
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	text[fread(text, 1, sizeof text - 1, file)] = '\0';
	fclose(file);
	assert_string_equal(text, "a " PIN_A "\nb " PIN_A "\nc " PIN_A "\n");
}

static void what_is_no_file_of_claims_is_left_as_it_is(void **state)
{
	static const char *const foreign[] = {"secret", "hello world", "a " PIN_A "\n-----BEGIN KEY-----",
	                                      "a " PIN_A "\na " PIN_A};
	char problem[PINS_PROBLEM_BYTES], text[512];
	(void)state;
	for (size_t i = 0; i < COUNT_OF(foreign); i++) {
		struct pins *pins = NULL;
		put(foreign[i]);
		struct pins_settings settings = {.path = path, .most = 10, .most_per_key = 10};
		assert_int_equal(pins_open(&settings, &pins, problem), PINS_BAD);
		FILE *file = fopen(path, "re");
		assert_non_null(file);
		text[fread(text, 1, sizeof text - 1, file)] = '\0';
		fclose(file);
		assert_string_equal(text, foreign[i]);
	}
}

static void a_file_that_is_something_else_is_refused(void **state)
{
	static const char *const bad[] = {"hello\n", "a b\n",
	                                  "../x ab01000000000000000000000000000000000000000000000000000000000000\n",
	                                  "a ab01000000000000000000000000000000000000000000000000000000000000\n"
	                                  "a ab01000000000000000000000000000000000000000000000000000000000000\n"};
	char problem[PINS_PROBLEM_BYTES];
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct pins *pins = NULL;
		put(bad[i]);
		struct pins_settings settings = {.path = path, .most = 10, .most_per_key = 10};
		assert_int_equal(pins_open(&settings, &pins, problem), PINS_BAD);
		assert_null(pins);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_first_key_keeps_a_name_over_restarts, setup, teardown),
		cmocka_unit_test_setup_teardown(judging_claims_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(bounds_are_kept_for_all_and_for_each_key, setup, teardown),
		cmocka_unit_test_setup_teardown(a_name_that_cannot_be_kept_is_nobodys, setup, teardown),
		cmocka_unit_test_setup_teardown(a_torn_last_line_is_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(a_whole_last_line_without_its_end_is_a_claim, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_file_of_claims_is_left_as_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_is_something_else_is_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
