#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/socket_test.XXXXXX");
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

static void path_address(const char *name, struct address *address)
{
	char text[128];
	snprintf(text, sizeof(text), "unix:%s/%s", folder, name);
	assert_int_equal(address_parse(text, address), 0);
}

static void listen_on(struct address *address, int *fd)
{
	assert_int_equal(socket_listen(address, 16, fd), 0);
}

static void loopback(const char *ip, struct address *address)
{
	assert_int_equal(address_from_ip(ip, 0, address), 0);
}

// A connected pair over TCP: *near dialled, *far was accepted.
static void tcp_pair(int *near, int *far)
{
	struct address address, peer;
	int listener;
	loopback("127.0.0.1", &address);
	listen_on(&address, &listener);
	int result = socket_connect(&address, near);
	assert_true(result == 0 || result == SOCKET_PENDING);
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	assert_int_equal(poll(&ready, 1, 5000), 1);
	assert_int_equal(socket_accept(listener, far, &peer), 0);
	assert_int_equal(socket_connect_result(*near), 0);
	socket_close(&listener);
}

static void port_zero_is_replaced_by_the_port_really_bound(void **state)
{
	struct address address;
	int fd;
	(void)state;
	loopback("127.0.0.1", &address);
	listen_on(&address, &fd);
	assert_int_not_equal(ntohs(address.in4.sin_port), 0);
	socket_close(&fd);
	assert_int_equal(fd, -1);
	socket_close(&fd);
}

static void a_port_taken_is_refused_by_the_kernel(void **state)
{
	struct address address;
	int first, second = -1;
	(void)state;
	loopback("127.0.0.1", &address);
	listen_on(&address, &first);
	assert_int_equal(socket_listen(&address, 16, &second), -EADDRINUSE);
	assert_int_equal(second, -1);
	socket_close(&first);
}

static void the_ipv6_wildcard_also_takes_ipv4(void **state)
{
	struct address address, to, peer;
	char text[ADDRESS_TEXT_BYTES];
	int listener, near, far;
	(void)state;
	loopback("::", &address);
	if (socket_listen(&address, 16, &listener) != 0) {
		print_message("# no IPv6 on this machine\n");
		skip();
	}
	assert_int_equal(address_from_ip("127.0.0.1", ntohs(address.in6.sin6_port), &to), 0);
	int result = socket_connect(&to, &near);
	assert_true(result == 0 || result == SOCKET_PENDING);
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	assert_int_equal(poll(&ready, 1, 5000), 1);
	assert_int_equal(socket_accept(listener, &far, &peer), 0);
	address_format(&peer, text);
	assert_memory_equal(text, "127.0.0.1:", 10);
	socket_close(&near);
	socket_close(&far);
	socket_close(&listener);
}

static void accepting_when_nobody_waits_says_so(void **state)
{
	struct address address, peer;
	int listener, fd;
	(void)state;
	loopback("127.0.0.1", &address);
	listen_on(&address, &listener);
	assert_int_equal(socket_accept(listener, &fd, &peer), SOCKET_NONE);
	socket_close(&listener);
}

static void every_socket_is_non_blocking_and_close_on_exec(void **state)
{
	int fds[2];
	(void)state;
	tcp_pair(&fds[0], &fds[1]);
	for (int i = 0; i < 2; i++) {
		assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		socket_close(&fds[i]);
	}
}

static void a_unix_path_is_0660_whatever_the_umask(void **state)
{
	static const mode_t umasks[] = {0, 022, 077, 0777};
	struct address address;
	struct stat seen;
	int fd;
	(void)state;
	for (size_t i = 0; i < COUNT_OF(umasks); i++) {
		mode_t before = umask(umasks[i]);
		path_address("mode", &address);
		listen_on(&address, &fd);
		umask(before);
		assert_int_equal(stat(address.un.sun_path, &seen), 0);
		assert_int_equal(seen.st_mode & 07777, 0660);
		unlink(address.un.sun_path);
		socket_close(&fd);
	}
}

static void a_stale_unix_socket_is_replaced(void **state)
{
	struct address address, again;
	int fd, peer;
	(void)state;
	path_address("stale", &address);
	listen_on(&address, &fd);
	socket_close(&fd); // as after kill -9: the path stays
	path_address("stale", &again);
	listen_on(&again, &fd);
	assert_int_equal(socket_connect(&again, &peer), 0);
	socket_close(&peer);
	socket_close(&fd);
	unlink(again.un.sun_path);
}

static void a_unix_socket_that_answers_is_kept(void **state)
{
	struct address address, again;
	int fd, second = -1, peer;
	(void)state;
	path_address("live", &address);
	listen_on(&address, &fd);
	path_address("live", &again);
	assert_int_equal(socket_listen(&again, 16, &second), -EADDRINUSE);
	assert_int_equal(socket_connect(&address, &peer), 0);
	socket_close(&peer);
	socket_close(&fd);
	unlink(address.un.sun_path);
}

static void a_foreign_file_is_kept(void **state)
{
	struct address address;
	struct stat seen;
	int fd = -1;
	(void)state;
	path_address("file", &address);
	int file = open(address.un.sun_path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	close(file);
	assert_int_equal(socket_listen(&address, 16, &fd), -EADDRINUSE);
	assert_int_equal(lstat(address.un.sun_path, &seen), 0);
	assert_true(S_ISREG(seen.st_mode));
	unlink(address.un.sun_path);
}

static void a_symbolic_link_is_kept_even_when_it_points_to_a_stale_socket(void **state)
{
	struct address target, link;
	struct stat seen;
	int fd;
	(void)state;
	path_address("target", &target);
	listen_on(&target, &fd);
	socket_close(&fd);
	path_address("link", &link);
	assert_int_equal(symlink(target.un.sun_path, link.un.sun_path), 0);
	assert_int_equal(socket_listen(&link, 16, &fd), -EADDRINUSE);
	assert_int_equal(lstat(link.un.sun_path, &seen), 0);
	assert_true(S_ISLNK(seen.st_mode));
	unlink(link.un.sun_path);
	unlink(target.un.sun_path);
}

static void a_full_unix_queue_is_busy_and_not_refused(void **state)
{
	struct address address;
	int listener, fds[64], opened = 0, result = 0;
	(void)state;
	path_address("busy", &address);
	assert_int_equal(socket_listen(&address, 1, &listener), 0);
	while (opened < 64 && (result = socket_connect(&address, &fds[opened])) == 0)
		opened++;
	assert_int_equal(result, SOCKET_BUSY);
	while (opened > 0)
		socket_close(&fds[--opened]);
	socket_close(&listener);
	unlink(address.un.sun_path);
}

static void a_closed_port_refuses(void **state)
{
	struct address address;
	int fd;
	(void)state;
	loopback("127.0.0.1", &address);
	listen_on(&address, &fd);
	socket_close(&fd);
	int result = socket_connect(&address, &fd);
	if (result == SOCKET_PENDING) {
		struct pollfd ready = {.fd = fd, .events = POLLOUT};
		assert_int_equal(poll(&ready, 1, 5000), 1);
		result = socket_connect_result(fd);
		socket_close(&fd);
	}
	assert_int_equal(result, -ECONNREFUSED);
}

static void a_reset_arrives_as_a_reset(void **state)
{
	int near, far;
	char byte;
	(void)state;
	tcp_pair(&near, &far);
	socket_reset(&near);
	assert_int_equal(near, -1);
	struct pollfd ready = {.fd = far, .events = POLLIN};
	assert_int_equal(poll(&ready, 1, 5000), 1);
	assert_int_equal(read(far, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	socket_close(&far);
}

static void congestion_of(int fd, char name[16])
{
	socklen_t length = 16;
	memset(name, 0, 16);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
}

static void loopback_connections_are_not_paced_unless_the_system_is_asked_for(void **state)
{
	char before[16], after[16];
	int near, far;
	(void)state;
	tcp_pair(&near, &far);
	congestion_of(near, before);
	socket_tune(near, &(struct socket_options){.congestion = "system"});
	congestion_of(near, after);
	assert_string_equal(after, before);
	socket_tune(near, &(struct socket_options){0});
	congestion_of(near, after);
	assert_true(strcmp(after, "cubic") == 0 || strcmp(after, "reno") == 0);
	socket_tune(near, &(struct socket_options){.congestion = "reno"});
	congestion_of(near, after);
	assert_string_equal(after, "reno");
	socket_close(&near);
	socket_close(&far);
}

static void an_option_the_kernel_refuses_changes_nothing(void **state)
{
	char before[16], after[16];
	int near, far;
	(void)state;
	tcp_pair(&near, &far);
	congestion_of(near, before);
	socket_tune(near, &(struct socket_options){.congestion = "no-such-algorithm"});
	congestion_of(near, after);
	assert_string_equal(after, before);
	socket_close(&near);
	socket_close(&far);
}

static void tuning_sets_what_was_asked_for(void **state)
{
	int near, far, value;
	socklen_t length = sizeof(value);
	(void)state;
	tcp_pair(&near, &far);
	socket_tune(near, &(struct socket_options){.keepalive_ms = 30000, .user_timeout_ms = 7000});
	assert_int_equal(getsockopt(near, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
	assert_true(value);
	assert_int_equal(getsockopt(near, SOL_SOCKET, SO_KEEPALIVE, &value, &length), 0);
	assert_true(value);
	assert_int_equal(getsockopt(near, IPPROTO_TCP, TCP_KEEPIDLE, &value, &length), 0);
	assert_int_equal(value, 30);
	assert_int_equal(getsockopt(near, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &length), 0);
	assert_int_equal(value, 7000);
	socket_close(&near);
	socket_close(&far);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(port_zero_is_replaced_by_the_port_really_bound),
		cmocka_unit_test(a_port_taken_is_refused_by_the_kernel),
		cmocka_unit_test(the_ipv6_wildcard_also_takes_ipv4),
		cmocka_unit_test(accepting_when_nobody_waits_says_so),
		cmocka_unit_test(every_socket_is_non_blocking_and_close_on_exec),
		cmocka_unit_test(a_unix_path_is_0660_whatever_the_umask),
		cmocka_unit_test(a_stale_unix_socket_is_replaced),
		cmocka_unit_test(a_unix_socket_that_answers_is_kept),
		cmocka_unit_test(a_foreign_file_is_kept),
		cmocka_unit_test(a_symbolic_link_is_kept_even_when_it_points_to_a_stale_socket),
		cmocka_unit_test(a_full_unix_queue_is_busy_and_not_refused),
		cmocka_unit_test(a_closed_port_refuses),
		cmocka_unit_test(a_reset_arrives_as_a_reset),
		cmocka_unit_test(loopback_connections_are_not_paced_unless_the_system_is_asked_for),
		cmocka_unit_test(an_option_the_kernel_refuses_changes_nothing),
		cmocka_unit_test(tuning_sets_what_was_asked_for),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
