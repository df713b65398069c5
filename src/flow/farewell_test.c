#include "flow/farewell.h"

#include "core/loop_rig.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>

static struct farewells *farewells;
static struct loop_io *watch;

static void begin(struct bench *bench)
{
	assert_int_equal(farewells_new(bench->loop, &farewells), 0);
}

// Reads until the other side has closed.
static void on_word(void *owner, int events)
{
	(void)events;
	struct bench *bench = owner;
	ssize_t n = recv(bench->fds[0], bench->trace + bench->calls, sizeof bench->trace - (size_t)bench->calls - 1, 0);
	if (n > 0) {
		bench->calls += (int)n;
		return;
	}
	bench->error = n < 0 ? errno : 0;
	loop_io_want(watch, 0);
	loop_stop(bench->loop);
}

static void words_are_heard_before_an_end_in_order(void **state)
{
	struct bench *bench = *state;
	begin(bench);
	// Unread bytes of the client would turn a plain close into a reset.
	say(bench->fds[0]);
	farewell_say(farewells, &bench->fds[1], (const uint8_t *)"not here", 8);
	assert_int_equal(bench->fds[1], -1);
	assert_int_equal(loop_io_open(bench->loop, bench->fds[0], on_word, bench, &watch), 0);
	loop_io_want(watch, LOOP_READ);
	run(bench);
	assert_string_equal(bench->trace, "not here");
	assert_int_equal(bench->error, 0);
	loop_io_close(&watch);
	farewells_free(&farewells);
	farewells_free(&farewells);
}

static bool is_closed(int fd)
{
	return send(fd, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE;
}

static void on_look(void *owner)
{
	struct bench *bench = owner;
	if (is_closed(bench->fds[0]))
		loop_stop(bench->loop);
}

static void a_client_that_stays_is_closed_after_a_moment(void **state)
{
	struct bench *bench = *state;
	begin(bench);
	farewell_say(farewells, &bench->fds[1], (const uint8_t *)"no", 2);
	run_what_is_ready(bench);
	assert_false(is_closed(bench->fds[0]));
	assert_int_equal(loop_timer_open(bench->loop, on_look, bench, &bench->timer), 0);
	loop_timer_arm(bench->timer, 1, 10);
	run(bench);
	farewells_free(&farewells);
}

static void a_client_that_goes_takes_its_place_with_it(void **state)
{
	struct bench *bench = *state;
	begin(bench);
	int fd = bench->fds[1];
	farewell_say(farewells, &bench->fds[1], (const uint8_t *)"no", 2);
	shutdown(bench->fds[0], SHUT_WR);
	run_what_is_ready(bench);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	farewells_free(&farewells);
}

static void those_that_stay_longest_make_room(void **state)
{
	struct bench *bench = *state;
	begin(bench);
	farewell_say(farewells, &bench->fds[1], (const uint8_t *)"no", 2);
	int others[LIMIT_FAREWELLS_PER_WORKER];
	for (size_t i = 0; i < COUNT_OF(others); i++) {
		int pair[2];
		make_sockets(pair);
		others[i] = pair[0];
		assert_false(is_closed(bench->fds[0]));
		farewell_say(farewells, &pair[1], (const uint8_t *)"no", 2);
	}
	assert_true(is_closed(bench->fds[0]));
	assert_false(is_closed(others[0]));
	farewells_free(&farewells);
	assert_true(is_closed(others[0]));
	for (size_t i = 0; i < COUNT_OF(others); i++)
		close(others[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_LOOP(words_are_heard_before_an_end_in_order),
		IN_A_LOOP(a_client_that_stays_is_closed_after_a_moment),
		IN_A_LOOP(a_client_that_goes_takes_its_place_with_it),
		IN_A_LOOP(those_that_stay_longest_make_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
