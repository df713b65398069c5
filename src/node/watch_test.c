#include "node/watch.h"

#include "core/log.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

// Quiet for so long and the owner is told.
#define QUIET_MS 50
// For what must come, whatever else this machine does.
#define PATIENCE_MS 20000

// A folder with a file, the loop, and what happened.
struct place {
	char folder[PATH_MAX / 4], file[PATH_MAX / 2];
	struct loop *loop;
	struct watch *watch;
	struct loop_timer *end, *act;
	void (*action)(struct place *place);
	int told;
	bool is_over;
};

static struct place *current;

static void put(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void on_change(void *owner)
{
	struct place *place = owner;
	place->told++;
	// Whether it comes once more.
	loop_timer_arm(place->end, 4ULL * QUIET_MS, 0);
}

static void on_end(void *owner)
{
	struct place *place = owner;
	place->is_over = true;
	loop_stop(place->loop);
}

static void on_act(void *owner)
{
	struct place *place = owner;
	place->action(place);
}

static int setup(void **state)
{
	struct place *place = calloc(1, sizeof *place);
	snprintf(place->folder, sizeof place->folder, "/tmp/watch_test.XXXXXX");
	assert_non_null(mkdtemp(place->folder));
	snprintf(place->file, sizeof place->file, "%s/file", place->folder);
	put(place->file, "first");
	log_set(LOG_ERROR, LOG_FORMAT_PLAIN, true);
	assert_int_equal(loop_new(&place->loop), 0);
	assert_int_equal(watch_open(place->loop, QUIET_MS, on_change, place, &place->watch), 0);
	assert_int_equal(loop_timer_open(place->loop, on_end, place, &place->end), 0);
	assert_int_equal(loop_timer_open(place->loop, on_act, place, &place->act), 0);
	*state = place;
	return 0;
}

static int teardown(void **state)
{
	struct place *place = *state;
	char command[PATH_MAX];
	watch_close(&place->watch);
	loop_timer_close(&place->end);
	loop_timer_close(&place->act);
	loop_free(&place->loop);
	snprintf(command, sizeof command, "rm -rf %s", place->folder);
	assert_int_equal(system(command), 0); // NOLINT(concurrency-mt-unsafe,cert-env33-c)
	free(place);
	return 0;
}

// Runs `action` after a moment, until the owner has been told and some time more, or so long that quiet has come.
static void expect_told(struct place *place, void (*action)(struct place *place), int expected)
{
	place->action = action;
	place->told = 0;
	loop_timer_arm(place->act, 20, 0);
	loop_timer_arm(place->end, expected > 0 ? PATIENCE_MS : 6ULL * QUIET_MS, 0);
	assert_int_equal(loop_run(place->loop), 0);
	assert_int_equal(place->told, expected);
}

static void watch_it(struct place *place, const char *path)
{
	assert_int_equal(watch_set(place->watch, &path, 1), 0);
}

static void write_file(struct place *place)
{
	put(place->file, "another text");
}

static void replace_file(struct place *place)
{
	char other[PATH_MAX];
	snprintf(other, sizeof other, "%s/other", place->folder);
	put(other, "fir5t");
	assert_int_equal(rename(other, place->file), 0);
}

static void write_neighbour(struct place *place)
{
	char other[PATH_MAX];
	snprintf(other, sizeof other, "%s/neighbour", place->folder);
	put(other, "x");
}

static void mark_what_was_written(struct place *place)
{
	write_file(place);
	watch_mark(place->watch);
}

static void do_nothing(struct place *place)
{
	(void)place;
}

static void a_written_and_a_replaced_file_are_told_once_each(void **state)
{
	struct place *place = *state;
	watch_it(place, place->file);
	expect_told(place, write_file, 1);
	expect_told(place, replace_file, 1);
	expect_told(place, do_nothing, 0);
}

static void other_files_of_the_folder_and_what_we_wrote_ourselves_are_not_told(void **state)
{
	struct place *place = *state;
	watch_it(place, place->file);
	expect_told(place, write_neighbour, 0);
	expect_told(place, mark_what_was_written, 0);
}

static void set_again(struct place *place)
{
	write_file(place);
	watch_it(place, place->file);
}

static void a_change_before_the_list_is_set_again_is_not_lost(void **state)
{
	struct place *place = *state;
	watch_it(place, place->file);
	expect_told(place, set_again, 1);
}

static void link_to(struct place *place, const char *version)
{
	char folder[PATH_MAX], file[PATH_MAX + 8], link[PATH_MAX], fresh[PATH_MAX];
	snprintf(folder, sizeof folder, "%s/..%s", place->folder, version);
	assert_int_equal(mkdir(folder, 0700), 0);
	snprintf(file, sizeof file, "%s/tls.crt", folder);
	put(file, version);
	snprintf(link, sizeof link, "%s/..data", place->folder);
	snprintf(fresh, sizeof fresh, "%s/..data_tmp", place->folder);
	assert_int_equal(symlink(strrchr(folder, '/') + 1, fresh), 0);
	assert_int_equal(rename(fresh, link), 0);
}

static void swap_link(struct place *place)
{
	link_to(place, "2");
}

static void a_swapped_link_to_a_folder_is_seen_as_kubernetes_does_it(void **state)
{
	struct place *place = *state;
	char path[PATH_MAX];
	link_to(place, "1");
	snprintf(path, sizeof path, "%s/tls.crt", place->folder);
	assert_int_equal(symlink("..data/tls.crt", path), 0);
	watch_it(place, path);
	expect_told(place, swap_link, 1);
}

static struct loop_task again;

// A neighbour that writes whenever the loop turns, for ever.
static void write_again(struct loop_task *task)
{
	struct place *place = current;
	write_neighbour(place);
	if (!place->is_over)
		loop_defer(place->loop, task);
}

static void write_without_end(struct place *place)
{
	write_file(place);
	current = place;
	again.run = write_again;
	loop_defer(place->loop, &again);
}

static void a_neighbour_that_never_rests_holds_nothing_up(void **state)
{
	struct place *place = *state;
	watch_it(place, place->file);
	expect_told(place, write_without_end, 1);
}

static void nothing_is_told_once_nothing_is_watched(void **state)
{
	struct place *place = *state;
	watch_it(place, place->file);
	assert_int_equal(watch_set(place->watch, NULL, 0), 0);
	expect_told(place, write_file, 0);
}

static void a_folder_that_is_not_there_is_no_failure(void **state)
{
	struct place *place = *state;
	watch_it(place, "/nonexistent/folder/file");
	expect_told(place, do_nothing, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_written_and_a_replaced_file_are_told_once_each, setup, teardown),
		cmocka_unit_test_setup_teardown(other_files_of_the_folder_and_what_we_wrote_ourselves_are_not_told, setup,
	                                    teardown),
		cmocka_unit_test_setup_teardown(a_change_before_the_list_is_set_again_is_not_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(a_swapped_link_to_a_folder_is_seen_as_kubernetes_does_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_neighbour_that_never_rests_holds_nothing_up, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_told_once_nothing_is_watched, setup, teardown),
		cmocka_unit_test_setup_teardown(a_folder_that_is_not_there_is_no_failure, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
