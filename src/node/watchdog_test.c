#include "node/watchdog.h"

#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above.
#include <cmocka.h>

#include <poll.h>
#include <stdatomic.h>

#define PATIENCE_MS 10000

static _Atomic unsigned alive;

static void on_alive(void)
{
	atomic_fetch_add(&alive, 1);
}

struct scene {
	struct workers *workers;
	struct watchdog *watchdog;
	struct loop_timer *look;
	unsigned wanted; // messages until the loop stops
	uint64_t until_ms;
};

static void on_look(void *owner)
{
	struct scene *scene = owner;
	if (alive >= scene->wanted || clock_ms() > scene->until_ms)
		loop_stop(workers_loop(scene->workers, 0));
}

static void scene_init(struct scene *scene)
{
	*scene = (struct scene){0};
	alive = 0;
	assert_int_equal(workers_new(2, &scene->workers), 0);
	assert_int_equal(watchdog_open(scene->workers, 20, on_alive, &scene->watchdog), 0);
	assert_int_equal(loop_timer_open(workers_loop(scene->workers, 0), on_look, scene, &scene->look), 0);
	loop_timer_arm(scene->look, 1, 1);
}

static void scene_run(struct scene *scene, unsigned wanted, uint64_t for_ms)
{
	scene->wanted = wanted;
	scene->until_ms = clock_ms() + for_ms;
	assert_int_equal(workers_run(scene->workers), 0);
}

static void scene_fini(struct scene *scene)
{
	loop_timer_close(&scene->look);
	watchdog_close(&scene->watchdog);
	workers_free(&scene->workers);
}

static void it_is_told_while_all_workers_answer(void **state)
{
	struct scene scene;
	(void)state;
	scene_init(&scene);
	scene_run(&scene, 5, PATIENCE_MS);
	assert_true(alive >= 5);
	scene_fini(&scene);
}

struct hang {
	struct loop_task task;
	_Atomic bool over, ended;
};

static void on_hang(struct loop_task *task)
{
	struct hang *hang = CONTAINER_OF(task, struct hang, task);
	while (!hang->over)
		(void)poll(NULL, 0, 1);
	hang->ended = true;
}

static void a_worker_that_hangs_stops_it_until_it_answers_again(void **state)
{
	struct scene scene;
	struct hang hang = {.task = {.run = on_hang}};
	(void)state;
	scene_init(&scene);
	scene_run(&scene, 1, PATIENCE_MS);
	loop_post(workers_loop(scene.workers, 1), &hang.task);
	// At most the message whose question was answered before the worker hung, and one more.
	unsigned before = alive;
	scene_run(&scene, UINT32_MAX, 300);
	assert_true(alive <= before + 2);
	hang.over = true;
	before = alive;
	scene_run(&scene, before + 3, PATIENCE_MS);
	assert_true(alive >= before + 3);
	assert_true(hang.ended);
	scene_fini(&scene);
}

static void closing_it_while_a_worker_hangs_leaves_nothing_behind(void **state)
{
	struct scene scene;
	struct hang hang = {.task = {.run = on_hang}};
	(void)state;
	scene_init(&scene);
	loop_post(workers_loop(scene.workers, 1), &hang.task);
	scene_run(&scene, UINT32_MAX, 60);
	watchdog_close(&scene.watchdog);
	hang.over = true;
	scene_fini(&scene);
	assert_true(hang.ended);
}

static void without_a_period_there_is_none(void **state)
{
	struct workers *workers;
	struct watchdog *watchdog = (struct watchdog *)1;
	(void)state;
	assert_int_equal(workers_new(1, &workers), 0);
	assert_int_equal(watchdog_open(workers, 0, on_alive, &watchdog), 0);
	assert_null(watchdog);
	watchdog_close(&watchdog);
	workers_free(&workers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_told_while_all_workers_answer),
		cmocka_unit_test(a_worker_that_hangs_stops_it_until_it_answers_again),
		cmocka_unit_test(closing_it_while_a_worker_hangs_leaves_nothing_behind),
		cmocka_unit_test(without_a_period_there_is_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
