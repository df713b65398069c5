#include "edge/udp_port.h"

#include "core/loop_rig.h"
#include "limits.h"
#include "net/socket.h"

#include <errno.h>
#include <unistd.h>

struct scene {
	struct bench *bench;
	struct udp_port *port;
	struct address address;
	int client;
	unsigned datagrams, calls, calls_of_turn, most_of_turn, stop_at, broken;
	bool closes;
	struct loop_task turn;
};

static void on_turn(struct loop_task *task)
{
	CONTAINER_OF(task, struct scene, turn)->calls_of_turn = 0;
}

static void on_runs(void *owner, const struct datagram_run *runs, size_t count)
{
	struct scene *scene = owner;
	scene->calls++;
	if (scene->calls_of_turn++ == 0)
		loop_defer(scene->bench->loop, &scene->turn);
	if (scene->calls_of_turn > scene->most_of_turn)
		scene->most_of_turn = scene->calls_of_turn;
	for (size_t i = 0; i < count; i++) {
		struct iovec echo = {.iov_base = (void *)runs[i].bytes, .iov_len = runs[i].length};
		scene->datagrams += (unsigned)datagram_run_count(&runs[i]);
		struct datagram_to to = {.peer = &runs[i].peer, .local = &runs[i].local};
		assert_int_equal(udp_port_send(scene->port, &to, NULL, &echo, 1), 1);
	}
	if (scene->closes)
		udp_port_close(&scene->port);
	if (scene->closes || scene->datagrams >= scene->stop_at)
		loop_stop(scene->bench->loop);
}

static void open_port(struct scene *scene, struct bench *bench)
{
	*scene = (struct scene){.bench = bench, .turn = {.run = on_turn}};
	assert_int_equal(address_from_ip("127.0.0.1", 0, &scene->address), 0);
	assert_int_equal(udp_port_open(bench->loop, &scene->address, DATAGRAM_ALONE, on_runs, scene, &scene->port), 0);
	assert_true(scene->address.in4.sin_port != 0);
	scene->client = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(scene->client, &scene->address.any, scene->address.length), 0);
}

static void flood(struct scene *scene, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(send(scene->client, "flood", 5, 0), 5);
}

static void what_arrives_is_handed_over_and_answered(void **state)
{
	struct scene scene;
	char got[16];
	open_port(&scene, *state);
	scene.stop_at = 3;
	flood(&scene, 3);
	run(scene.bench);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(recv(scene.client, got, sizeof got, 0), 5);
		assert_memory_equal(got, "flood", 5);
	}
	udp_port_close(&scene.port);
	socket_close(&scene.client);
}

static void a_flood_gets_a_bounded_part_of_each_turn(void **state)
{
	struct scene scene;
	unsigned count = DATAGRAM_BATCH * LIMIT_DATAGRAM_BATCHES_PER_TURN * 3;
	open_port(&scene, *state);
	scene.stop_at = count;
	flood(&scene, count);
	run(scene.bench);
	assert_int_equal(scene.datagrams, count);
	assert_int_equal(scene.most_of_turn, LIMIT_DATAGRAM_BATCHES_PER_TURN);
	udp_port_close(&scene.port);
	socket_close(&scene.client);
}

static void an_owner_may_close_it_from_its_callback(void **state)
{
	struct scene scene;
	open_port(&scene, *state);
	scene.closes = true;
	flood(&scene, 3 * DATAGRAM_BATCH);
	run(scene.bench);
	assert_null(scene.port);
	assert_int_equal(scene.calls, 1);
	socket_close(&scene.client);
}

static void a_taken_port_is_said(void **state)
{
	struct scene scene;
	struct udp_port *second = NULL;
	open_port(&scene, *state);
	assert_int_equal(udp_port_open(scene.bench->loop, &scene.address, DATAGRAM_FIRST, on_runs, &scene, &second),
	                 -EADDRINUSE);
	assert_null(second);
	udp_port_close(&scene.port);
	udp_port_close(&scene.port); // harmless
	socket_close(&scene.client);
}

static void on_broken(void *owner)
{
	struct scene *scene = owner;
	scene->broken++;
	udp_port_close(&scene->port);
	loop_stop(scene->bench->loop);
}

static void a_socket_that_somebody_shuts_down_is_told_of_once(void **state)
{
	struct scene scene;
	// The lowest free descriptor will be the port's.
	int fd = dup(0);
	close(fd);
	open_port(&scene, *state);
	udp_port_on_broken(scene.port, on_broken);
	// As a service manager's socket could be, which others have too. An error is returned, and it is shut down.
	(void)!shutdown(fd, SHUT_RDWR);
	run(scene.bench);
	assert_int_equal(scene.broken, 1);
	assert_null(scene.port);
	socket_close(&scene.client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_LOOP(what_arrives_is_handed_over_and_answered),
		IN_A_LOOP(a_flood_gets_a_bounded_part_of_each_turn),
		IN_A_LOOP(an_owner_may_close_it_from_its_callback),
		IN_A_LOOP(a_taken_port_is_said),
		IN_A_LOOP(a_socket_that_somebody_shuts_down_is_told_of_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
