#include "flow/probes.h"

#include "net/address.h"
#include "net/socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define WATCHDOG_MS 20000
#define LOOK_MS 10

// Two ports of loopback: one is listened on, the other was and is free again.
struct bench {
	struct loop *loop;
	struct loop_timer *watchdog, *look;
	struct probes *probes;
	struct targets *targets;
	int fd;
	char names[2][32];
	struct targets_address addresses[2];
	bool (*is_reached)(struct bench *bench);
	bool late;
};

static void on_watchdog(void *owner)
{
	struct bench *bench = owner;
	bench->late = true;
	loop_stop(bench->loop);
}

static void on_look(void *owner)
{
	struct bench *bench = owner;
	if (bench->is_reached(bench))
		loop_stop(bench->loop);
}

static int listen_somewhere(uint16_t *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 128) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof *bench);
	*state = bench;
	if (!bench || loop_new(&bench->loop) != 0 || probes_new(bench->loop, &bench->probes) != 0)
		return -1;
	bench->fd = listen_somewhere(&bench->addresses[0].port);
	int closed = listen_somewhere(&bench->addresses[1].port);
	socket_close(&closed);
	for (size_t i = 0; i < 2; i++) {
		snprintf(bench->names[i], sizeof bench->names[i], "127.0.0.1:%u", (unsigned)bench->addresses[i].port);
		bench->addresses[i].name = bench->names[i];
		bench->addresses[i].host = "127.0.0.1";
	}
	return loop_timer_open(bench->loop, on_watchdog, bench, &bench->watchdog) |
	       loop_timer_open(bench->loop, on_look, bench, &bench->look);
}

static int tear_down(void **state)
{
	struct bench *bench = *state;
	probes_free(&bench->probes);
	probes_free(&bench->probes); // harmless
	targets_unref(&bench->targets);
	socket_close(&bench->fd);
	loop_timer_close(&bench->look);
	loop_timer_close(&bench->watchdog);
	loop_free(&bench->loop);
	free(bench);
	return 0;
}

static void make_targets(struct bench *bench, size_t first, size_t count)
{
	struct targets_route route = {.targets = bench->addresses + first, .target_count = count};
	struct targets_settings settings = {.routes = &route, .route_count = 1, .rise = 2, .fall = 2};
	struct targets *next = NULL;
	struct probes_settings checks = {.interval_ms = 60, .timeout_ms = 5000};
	assert_int_equal(targets_new(&settings, bench->targets, &next), 0);
	targets_unref(&bench->targets);
	bench->targets = next;
	assert_int_equal(probes_set(bench->probes, bench->targets, &checks), 0);
}

static enum targets_health health(struct bench *bench, size_t index)
{
	struct targets_sight sight;
	targets_look(bench->targets, index, &sight);
	return sight.health;
}

static void run_until(struct bench *bench, bool (*is_reached)(struct bench *bench))
{
	bench->is_reached = is_reached;
	loop_timer_arm(bench->watchdog, WATCHDOG_MS, 0);
	loop_timer_arm(bench->look, LOOK_MS, LOOK_MS);
	assert_int_equal(loop_run(bench->loop), 0);
	assert_false(bench->late);
}

static bool is_first_up_second_down(struct bench *bench)
{
	return health(bench, 0) == TARGETS_UP && health(bench, 1) == TARGETS_DOWN;
}

static void a_target_that_answers_is_up_and_one_that_refuses_is_down(void **state)
{
	struct bench *bench = *state;
	make_targets(bench, 0, 2);
	run_until(bench, is_first_up_second_down);
}

static bool is_first_up(struct bench *bench)
{
	return health(bench, 0) == TARGETS_UP;
}

static void a_target_that_failed_a_client_is_found_to_be_up_again(void **state)
{
	struct bench *bench = *state;
	struct target_pick pick = {0};
	make_targets(bench, 0, 1); // alone: checked because it is down
	assert_int_equal(targets_pick(bench->targets, "", &pick), 0);
	assert_true(targets_report(bench->targets, &pick, false));
	run_until(bench, is_first_up);
}

static void count_tick(void *owner)
{
	loop_stop(((struct bench *)owner)->loop);
}

static void a_target_without_another_beside_it_is_left_in_peace(void **state)
{
	struct bench *bench = *state;
	struct loop_timer *end = NULL;
	make_targets(bench, 0, 1);
	assert_int_equal(loop_timer_open(bench->loop, count_tick, bench, &end), 0);
	loop_timer_arm(end, 400, 0); // several intervals
	assert_int_equal(loop_run(bench->loop), 0);
	loop_timer_close(&end);
	assert_int_equal(health(bench, 0), TARGETS_UNKNOWN);
	assert_int_equal(accept4(bench->fd, NULL, NULL, SOCK_CLOEXEC), -1);
}

static void a_new_table_is_checked_instead_of_the_old_one(void **state)
{
	struct bench *bench = *state;
	make_targets(bench, 0, 2);
	make_targets(bench, 0, 2);
	run_until(bench, is_first_up_second_down);
	struct probes_settings off = {.is_off = true};
	assert_int_equal(probes_set(bench->probes, bench->targets, &off), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_target_that_answers_is_up_and_one_that_refuses_is_down, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_target_that_failed_a_client_is_found_to_be_up_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_target_without_another_beside_it_is_left_in_peace, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_new_table_is_checked_instead_of_the_old_one, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
