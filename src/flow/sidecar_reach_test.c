// Clients that leave while their target is dialled, which answers nobody.

#include "flow/sidecar_rig.h"

enum { FILLERS = 3 };

// A listener whose queue is full: who connects next waits until it gives up.
struct deaf {
	int listener, fillers[FILLERS];
	struct address address;
};

static void deafen(struct deaf *deaf)
{
	assert_int_equal(address_from_ip("127.0.0.1", 0, &deaf->address), 0);
	assert_int_equal(socket_listen(&deaf->address, 0, &deaf->listener), 0);
	assert_int_equal(listen(deaf->listener, 0), 0);
	for (int i = 0; i < FILLERS; i++)
		assert_true(socket_connect(&deaf->address, &deaf->fillers[i]) >= 0);
}

static void hear(struct deaf *deaf)
{
	for (int i = 0; i < FILLERS; i++)
		socket_close(&deaf->fillers[i]);
	socket_close(&deaf->listener);
}

// The TLS client's target is deaf, or the TLS server's.
static void begin_deaf(struct scene *scene, struct deaf *deaf, bool is_client)
{
	deafen(deaf);
	set_scene(scene, UINT64_MAX, 0);
	struct targets **targets = is_client ? &scene->to_far : &scene->to_target;
	targets_unref(targets);
	*targets = targets_of(&deaf->address, 1);
	scene->near_settings.targets = scene->to_far;
	scene->far_settings.targets = scene->to_target;
	open_scene(scene);
	connect_client(scene);
	scene->client.speaks = false;
}

static bool near_reaches(struct scene *scene)
{
	return scene->near->reaching.count == 1;
}

static bool far_reaches(struct scene *scene)
{
	return scene->far->reaching.count == 1;
}

static void a_client_that_breaks_off_ends_the_dial(void **state)
{
	(void)state;
	struct scene scene;
	struct deaf deaf;
	uint64_t broke = counter_read(COUNTER_SIDECAR_CLIENT_BROKE);
	begin_deaf(&scene, &deaf, true);
	WAIT(&scene, near_reaches);
	socket_reset(&scene.client.fd);
	WAIT(&scene, both_are_over);
	assert_int_equal(counter_read(COUNTER_SIDECAR_CLIENT_BROKE), broke + 1);
	end(&scene);
	hear(&deaf);
}

static void a_tls_client_that_breaks_off_ends_the_dial(void **state)
{
	(void)state;
	struct scene scene;
	struct deaf deaf;
	uint64_t broke = counter_read(COUNTER_SIDECAR_CLIENT_BROKE);
	begin_deaf(&scene, &deaf, false);
	WAIT(&scene, far_reaches);
	socket_reset(&scene.client.fd); // and with it the connection of `near`
	WAIT(&scene, both_are_over);
	assert_int_equal(counter_read(COUNTER_SIDECAR_CLIENT_BROKE), broke + 2);
	end(&scene);
	hear(&deaf);
}

static void a_client_that_has_said_all_does_not(void **state)
{
	(void)state;
	struct scene scene;
	struct deaf deaf;
	begin_deaf(&scene, &deaf, true);
	WAIT(&scene, near_reaches);
	assert_int_equal(shutdown(scene.client.fd, SHUT_WR), 0);
	(void)try(&scene, never, 50);
	assert_true(near_reaches(&scene));
	end(&scene);
	hear(&deaf);
}

static void a_client_on_a_unix_socket_that_has_closed_ends_the_dial(void **state)
{
	(void)state;
	struct scene scene;
	struct deaf deaf;
	struct address peer = {.any.sa_family = AF_UNIX, .length = sizeof(sa_family_t)};
	int pair[2];
	begin_deaf(&scene, &deaf, true);
	socket_reset(&scene.client.fd);
	WAIT(&scene, both_are_over);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	sidecars_take(scene.near, &pair[1], &peer);
	WAIT(&scene, near_reaches);
	uint64_t broke = counter_read(COUNTER_SIDECAR_CLIENT_BROKE);
	close(pair[0]);
	WAIT(&scene, both_are_over);
	assert_int_equal(counter_read(COUNTER_SIDECAR_CLIENT_BROKE), broke + 1);
	end(&scene);
	hear(&deaf);
}

static int once(void **state)
{
	(void)state;
	tls_rig_start(&rig);
	return 0;
}

static int over(void **state)
{
	(void)state;
	tls_rig_stop(&rig);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_that_breaks_off_ends_the_dial),
		cmocka_unit_test(a_tls_client_that_breaks_off_ends_the_dial),
		cmocka_unit_test(a_client_that_has_said_all_does_not),
		cmocka_unit_test(a_client_on_a_unix_socket_that_has_closed_ends_the_dial),
	};
	return cmocka_run_group_tests(tests, once, over);
}
