// In a network namespace of its own, whose loopback device comes up; skipped where that cannot be made.
#include "edge/netlink_watch.h"

#include "core/counter.h"

#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct scene {
	struct loop *loop;
	struct loop_timer *timer, *end;
	struct netlink_watch *watch;
	unsigned told;
	int turns;
};

static void on_change(void *owner)
{
	struct scene *scene = owner;
	scene->told++;
}

static void on_end(void *owner)
{
	struct scene *scene = owner;
	loop_stop(scene->loop);
}

static void set_loopback(bool up)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	strcpy(request.ifr_name, "lo");
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
	request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

// A hundred changes, one every 10 ms.
static void on_timer(void *owner)
{
	struct scene *scene = owner;
	set_loopback(scene->turns++ % 2 == 0);
	if (scene->turns == 100)
		loop_timer_arm(scene->timer, 3600000, 0);
}

static void many_changes_are_told_a_few_times_and_none_is_told_of_a_quiet_network(void **state)
{
	(void)state;
	struct scene scene = {0};
	if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		skip();
	assert_int_equal(loop_new(&scene.loop), 0);
	assert_int_equal(loop_timer_open(scene.loop, on_timer, &scene, &scene.timer), 0);
	assert_int_equal(loop_timer_open(scene.loop, on_end, &scene, &scene.end), 0);
	assert_int_equal(netlink_watch_open(scene.loop, on_change, &scene, &scene.watch), 0);
	uint64_t before = counter_read(COUNTER_NETWORK_CHANGES);
	loop_timer_arm(scene.end, 300, 0);
	assert_int_equal(loop_run(scene.loop), 0);
	assert_int_equal(scene.told, 0);

	loop_timer_arm(scene.timer, 0, 10);
	loop_timer_arm(scene.end, 2500, 0);
	assert_int_equal(loop_run(scene.loop), 0);
	assert_int_equal(scene.turns, 100);
	assert_in_range(scene.told, 1, 3);
	assert_int_equal(counter_read(COUNTER_NETWORK_CHANGES) - before, scene.told);
	netlink_watch_close(&scene.watch);
	netlink_watch_close(&scene.watch);
	loop_timer_close(&scene.timer);
	loop_timer_close(&scene.end);
	loop_free(&scene.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_changes_are_told_a_few_times_and_none_is_told_of_a_quiet_network),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
