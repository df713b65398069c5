#include "edge/listener.h"

#include "core/counter.h"
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define WATCHDOG_MS 10000
#define KEPT 256

struct bench {
	struct loop *loop;
	struct loop_timer *watchdog;
	struct listener *listener;
	struct address address;
	int kept[KEPT];
	int count, stop_at;
	bool close_at_first;
};

static void on_watchdog(void *owner)
{
	struct bench *bench = owner;
	loop_stop(bench->loop);
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	*state = bench;
	if (bench == NULL || loop_new(&bench->loop) != 0)
		return -1;
	return loop_timer_open(bench->loop, on_watchdog, bench, &bench->watchdog);
}

static void close_kept(struct bench *bench)
{
	while (bench->count > 0)
		socket_close(&bench->kept[--bench->count]);
}

static int tear_down(void **state)
{
	struct bench *bench = *state;
	close_kept(bench);
	listener_close(&bench->listener);
	loop_timer_close(&bench->watchdog);
	loop_free(&bench->loop);
	free(bench);
	return 0;
}

static void on_accept(void *owner, int fd, const struct address *peer)
{
	struct bench *bench = owner;
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_not_equal(peer->length, 0);
	assert_true(bench->count < KEPT);
	bench->kept[bench->count++] = fd;
	if (bench->close_at_first)
		listener_close(&bench->listener);
	if (bench->count == bench->stop_at)
		loop_stop(bench->loop);
}

static void open_tcp(struct bench *bench)
{
	assert_int_equal(address_from_ip("127.0.0.1", 0, &bench->address), 0);
	assert_int_equal(listener_open(bench->loop, &bench->address, on_accept, bench, &bench->listener), 0);
}

static void run_for(struct bench *bench, uint64_t ms)
{
	loop_timer_arm(bench->watchdog, ms, 0);
	assert_int_equal(loop_run(bench->loop), 0);
}

static void connect_to(const struct address *to, int *fd)
{
	int result = socket_connect(to, fd);
	assert_true(result == 0 || result == SOCKET_PENDING);
}

static void connect_many(const struct address *to, int *fds, int count)
{
	for (int i = 0; i < count; i++)
		connect_to(to, &fds[i]);
}

static void close_many(int *fds, int count)
{
	for (int i = 0; i < count; i++)
		socket_close(&fds[i]);
}

static void every_connection_reaches_the_owner(void **state)
{
	struct bench *bench = *state;
	int fds[200];
	open_tcp(bench);
	connect_many(&bench->address, fds, 200);
	bench->stop_at = 200;
	run_for(bench, WATCHDOG_MS);
	assert_int_equal(bench->count, 200);
	close_many(fds, 200);
}

static void a_port_taken_is_told(void **state)
{
	struct bench *bench = *state;
	struct address again;
	struct listener *second = NULL;
	open_tcp(bench);
	again = bench->address;
	assert_int_equal(listener_open(bench->loop, &again, on_accept, bench, &second), -EADDRINUSE);
	assert_null(second);
}

static void closing_from_within_the_callback_stops_the_batch(void **state)
{
	struct bench *bench = *state;
	int fds[8];
	open_tcp(bench);
	connect_many(&bench->address, fds, 8);
	bench->close_at_first = true;
	run_for(bench, 100);
	assert_int_equal(bench->count, 1);
	assert_null(bench->listener);
	close_many(fds, 8);
}

static void a_paused_listener_stays_bound_and_takes_the_queue_when_it_goes_on(void **state)
{
	struct bench *bench = *state;
	int fds[8];
	open_tcp(bench);
	listener_pause(bench->listener, true);
	connect_many(&bench->address, fds, 8);
	run_for(bench, 100);
	assert_int_equal(bench->count, 0);
	listener_pause(bench->listener, false);
	bench->stop_at = 8;
	run_for(bench, WATCHDOG_MS);
	assert_int_equal(bench->count, 8);
	close_many(fds, 8);
}

static int lowest_free_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
	return fd;
}

static void running_out_of_descriptors_hurts_only_new_connections(void **state)
{
	struct bench *bench = *state;
	struct rlimit before, low;
	int fds[16];
	char byte = 'x';
	open_tcp(bench);
	connect_many(&bench->address, fds, 16);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = (rlim_t)lowest_free_descriptor() + 4;
	uint64_t counted = counter_read(COUNTER_ADMISSION_DESCRIPTORS);
	double cpu = (double)clock();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	run_for(bench, 350);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);

	// Four fitted; others were turned away one at a time, without spinning.
	assert_int_equal(bench->count, 4);
	uint64_t turned_away = counter_read(COUNTER_ADMISSION_DESCRIPTORS) - counted;
	assert_in_range(turned_away, 1, 5);
	assert_true(((double)clock() - cpu) / CLOCKS_PER_SEC < 0.3);
	assert_int_equal(write(fds[0], &byte, 1), 1);
	struct pollfd ready = {.fd = bench->kept[0], .events = POLLIN};
	assert_int_equal(poll(&ready, 1, 5000), 1);

	// With descriptors again the rest of the queue comes in.
	bench->stop_at = 16 - (int)turned_away;
	run_for(bench, WATCHDOG_MS);
	assert_int_equal(bench->count, 16 - (int)turned_away);
	close_many(fds, 16);
}

static void last_descriptors_are_not_for_visitors(void **state)
{
	struct bench *bench = *state;
	int fds[3];
	char byte;
	open_tcp(bench);
	uint64_t counted = counter_read(COUNTER_ADMISSION_DESCRIPTORS);
	connect_many(&bench->address, fds, 3);
	socket_reserve_from(lowest_free_descriptor());
	run_for(bench, 50);
	assert_int_equal(bench->count, 0);
	assert_int_equal(counter_read(COUNTER_ADMISSION_DESCRIPTORS) - counted, 3);
	assert_int_equal(recv(fds[0], &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close_many(fds, 3);

	socket_reserve_from(INT_MAX);
	connect_many(&bench->address, fds, 3);
	bench->stop_at = 3;
	run_for(bench, WATCHDOG_MS);
	assert_int_equal(bench->count, 3);
	close_many(fds, 3);
}

static void unix_path(char folder[], struct address *address)
{
	char text[128];
	assert_non_null(mkdtemp(folder));
	snprintf(text, sizeof(text), "unix:%s/s", folder);
	assert_int_equal(address_parse(text, address), 0);
}

static void closing_removes_the_unix_path_it_made(void **state)
{
	struct bench *bench = *state;
	char folder[] = "/tmp/listener_test.XXXXXX";
	struct stat seen;
	int fd;
	unix_path(folder, &bench->address);
	assert_int_equal(listener_open(bench->loop, &bench->address, on_accept, bench, &bench->listener), 0);
	connect_to(&bench->address, &fd);
	bench->stop_at = 1;
	run_for(bench, WATCHDOG_MS);
	assert_int_equal(bench->count, 1);
	socket_close(&fd);
	listener_close(&bench->listener);
	assert_int_equal(lstat(bench->address.un.sun_path, &seen), -1);
	assert_int_equal(rmdir(folder), 0);
}

static void closing_keeps_a_unix_path_that_another_made_meanwhile(void **state)
{
	struct bench *bench = *state;
	char folder[] = "/tmp/listener_test.XXXXXX";
	struct address other;
	struct stat seen;
	int fd;
	unix_path(folder, &bench->address);
	other = bench->address;
	assert_int_equal(listener_open(bench->loop, &bench->address, on_accept, bench, &bench->listener), 0);
	assert_int_equal(unlink(other.un.sun_path), 0);
	assert_int_equal(socket_listen(&other, 4, &fd), 0);
	listener_close(&bench->listener);
	assert_int_equal(lstat(other.un.sun_path, &seen), 0);
	socket_close(&fd);
	unlink(other.un.sun_path);
	rmdir(folder);
}

static void a_stale_unix_socket_is_replaced_and_a_foreign_file_kept(void **state)
{
	struct bench *bench = *state;
	char folder[] = "/tmp/listener_test.XXXXXX";
	struct address address;
	int fd;
	unix_path(folder, &address);
	bench->address = address;
	assert_int_equal(socket_listen(&address, 4, &fd), 0);
	socket_close(&fd);
	assert_int_equal(listener_open(bench->loop, &bench->address, on_accept, bench, &bench->listener), 0);
	listener_close(&bench->listener);

	fd = open(address.un.sun_path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(listener_open(bench->loop, &bench->address, on_accept, bench, &bench->listener), -EADDRINUSE);
	assert_null(bench->listener);
	assert_int_equal(unlink(address.un.sun_path), 0);
	assert_int_equal(rmdir(folder), 0);
}

static void on_broken(void *owner)
{
	struct bench *bench = owner;
	bench->stop_at = -1;
	listener_close(&bench->listener);
	loop_stop(bench->loop);
}

static void a_socket_that_somebody_shuts_down_is_told_of_once(void **state)
{
	struct bench *bench = *state;
	// The lowest free descriptor will be the listener's.
	int fd = dup(0);
	close(fd);
	assert_int_equal(address_from_ip("127.0.0.1", 0, &bench->address), 0);
	assert_int_equal(listener_open(bench->loop, &bench->address, on_accept, bench, &bench->listener), 0);
	listener_on_broken(bench->listener, on_broken);
	assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
	assert_int_equal(loop_run(bench->loop), 0);
	assert_int_equal(bench->stop_at, -1);
	assert_null(bench->listener);
}

static void closing_nothing_is_harmless(void **state)
{
	struct listener *none = NULL;
	(void)state;
	listener_close(&none);
	assert_null(none);
}

int main(void)
{
#define with_loop(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		with_loop(every_connection_reaches_the_owner),
		with_loop(a_port_taken_is_told),
		with_loop(closing_from_within_the_callback_stops_the_batch),
		with_loop(a_paused_listener_stays_bound_and_takes_the_queue_when_it_goes_on),
		with_loop(running_out_of_descriptors_hurts_only_new_connections),
		with_loop(last_descriptors_are_not_for_visitors),
		with_loop(closing_removes_the_unix_path_it_made),
		with_loop(closing_keeps_a_unix_path_that_another_made_meanwhile),
		with_loop(a_stale_unix_socket_is_replaced_and_a_foreign_file_kept),
		with_loop(a_socket_that_somebody_shuts_down_is_told_of_once),
		cmocka_unit_test(closing_nothing_is_harmless),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
