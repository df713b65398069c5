#include "net/inherited.h"
#include "net/socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above.
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void announce(unsigned count, const char *names)
{
	char text[16];
	snprintf(text, sizeof text, "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof text, "%u", count);
	setenv("LISTEN_FDS", text, 1);
	setenv("LISTEN_FDNAMES", names, 1);
}

// A blocking socket on descriptor `at`, as a service manager would leave it.
static struct address place(int at, int type, bool listens)
{
	struct address address;
	assert_int_equal(address_from_ip("127.0.0.1", 0, &address), 0);
	int fd = socket(AF_INET, type, 0);
	assert_int_equal(bind(fd, &address.any, address.length), 0);
	if (listens)
		assert_int_equal(listen(fd, 4), 0);
	address.length = sizeof address.storage;
	assert_int_equal(getsockname(fd, &address.any, &address.length), 0);
	assert_int_equal(dup2(fd, at), at);
	if (fd != at)
		close(fd);
	return address;
}

// Descriptors 3.. belong to the test runner: each test plays its part in a child.
static void in_a_child(int (*play)(void))
{
	int status;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(play());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define CHECK(condition)               \
	do {                               \
		if (!(condition))              \
			return __LINE__ % 251 + 1; \
	} while (0)

static int play_listener(void)
{
	struct address address = place(3, SOCK_STREAM, true), other = address;
	int fd = -1;
	announce(1, "tunnel");
	CHECK(inherited_start() == 0);
	CHECK(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES"));
	other.in4.sin_port = (in_port_t)(other.in4.sin_port ^ 0x0101);
	CHECK(inherited_take(&other, SOCK_STREAM) == -1);
	CHECK(inherited_take(&address, SOCK_DGRAM) == -1);
	CHECK(socket_listen(&address, 16, &fd) == SOCKET_INHERITED && fd == 3);
	CHECK(fcntl(3, F_GETFL) & O_NONBLOCK);
	CHECK(fcntl(3, F_GETFD) & FD_CLOEXEC);
	CHECK(inherited_take(&address, SOCK_STREAM) == -1);
	CHECK(inherited_unused() == 0);
	return 0;
}

static int play_unused(void)
{
	struct address first = place(3, SOCK_STREAM, true);
	(void)place(4, SOCK_DGRAM, false);
	announce(2, "tunnel:udp");
	CHECK(inherited_start() == 0);
	CHECK(inherited_take(&first, SOCK_STREAM) == 3);
	CHECK(inherited_unused() == 1);
	CHECK(fcntl(4, F_GETFD) == -1);
	return 0;
}

static int play_bad(void)
{
	(void)place(3, SOCK_STREAM, false); // a connection, as with Accept=yes
	announce(1, "");
	CHECK(inherited_start() == INHERITED_BAD);
	CHECK(inherited_unused() == 1); // and closes it
	announce(1, "");
	CHECK(inherited_start() == INHERITED_BAD);
	(void)inherited_unused();
	announce(100000, "");
	CHECK(inherited_start() == INHERITED_BAD);
	return 0;
}

static int play_anothers(void)
{
	struct address address = place(3, SOCK_STREAM, true);
	announce(1, "");
	setenv("LISTEN_PID", "1", 1);
	CHECK(inherited_start() == 0);
	CHECK(inherited_take(&address, SOCK_STREAM) == -1);
	CHECK(inherited_unused() == 0);
	return 0;
}

static void a_listener_with_the_same_address_is_taken_once(void **state)
{
	(void)state;
	in_a_child(play_listener);
}

static void what_nobody_takes_is_counted_and_closed(void **state)
{
	(void)state;
	in_a_child(play_unused);
}

static void what_does_not_listen_or_is_not_there_is_refused(void **state)
{
	(void)state;
	in_a_child(play_bad);
}

static void what_was_meant_for_another_process_is_left_alone(void **state)
{
	(void)state;
	in_a_child(play_anothers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listener_with_the_same_address_is_taken_once),
		cmocka_unit_test(what_nobody_takes_is_counted_and_closed),
		cmocka_unit_test(what_does_not_listen_or_is_not_there_is_refused),
		cmocka_unit_test(what_was_meant_for_another_process_is_left_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
