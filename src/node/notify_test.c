#include "node/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above.
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// An abstract name: nothing is left in the file system.
static int manager(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[64];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int n = snprintf(name, sizeof name, "@qanat-notify-test-%d", (int)getpid());
	memcpy(address.sun_path + 1, name + 1, (size_t)n - 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&address,
	                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)),
	                 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static const char *heard(int fd)
{
	static char message[1024];
	ssize_t n = recv(fd, message, sizeof message - 1, 0);
	message[n > 0 ? n : 0] = '\0';
	return message;
}

static void without_a_manager_nothing_happens(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	setenv("WATCHDOG_USEC", "1000000", 1);
	notify_start();
	notify_ready();
	notify_status("all is %s", "well");
	assert_int_equal(notify_watchdog_ms(), 0);
	assert_null(getenv("WATCHDOG_USEC"));
}

static void a_manager_that_cannot_be_reached_is_no_reason_to_fail(void **state)
{
	(void)state;
	setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
	notify_start();
	notify_ready();
	setenv("NOTIFY_SOCKET", "relative", 1);
	notify_start();
	assert_null(getenv("NOTIFY_SOCKET"));
}

static void the_manager_hears_each_message(void **state)
{
	int fd = manager();
	char pid[16];
	(void)state;
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	setenv("WATCHDOG_USEC", "3000000", 1);
	setenv("WATCHDOG_PID", pid, 1);
	notify_start();
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_PID"));
	assert_int_equal(notify_watchdog_ms(), 3000);
	notify_ready();
	assert_string_equal(heard(fd), "READY=1");
	notify_reloading();
	assert_memory_equal(heard(fd), "RELOADING=1\nMONOTONIC_USEC=", 27);
	notify_stopping();
	assert_string_equal(heard(fd), "STOPPING=1");
	notify_alive();
	assert_string_equal(heard(fd), "WATCHDOG=1");
	close(fd);
	notify_ready(); // a manager that has gone
}

static void a_peers_name_cannot_add_a_line(void **state)
{
	int fd = manager();
	(void)state;
	notify_start();
	notify_status("link with %s", "evil\nREADY=1\x1b[2J");
	assert_string_equal(heard(fd), "STATUS=link with evil?READY=1?[2J");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_manager_nothing_happens),
		cmocka_unit_test(a_manager_that_cannot_be_reached_is_no_reason_to_fail),
		cmocka_unit_test(the_manager_hears_each_message),
		cmocka_unit_test(a_peers_name_cannot_add_a_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
