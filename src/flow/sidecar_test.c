#include "flow/sidecar.h"

#include "core/allocation_rig.h"
#include "flow/sidecar_rig.h"

// ---- in order

static void bytes_travel_both_ways_and_each_end_for_itself(void **state)
{
	(void)state;
	static const uint64_t lengths[][2] = {{0, 0}, {1, 0}, {0, 1}, {100, 5 << 20}, {5 << 20, 100}, {4 << 20, 4 << 20}};
	struct scene scene;
	for (unsigned i = 0; i < COUNT_OF(lengths); i++) {
		struct tally_sums sums;
		uint64_t finished = counter_read(COUNTER_SIDECAR_FINISHED);
		begin(&scene, lengths[i][0], lengths[i][1]);
		WAIT(&scene, both_are_over);
		WAIT(&scene, client_is_over);
		WAIT(&scene, target_is_over);
		assert_true(scene.client.ended && scene.target.ended);
		assert_int_equal(scene.target.received, lengths[i][0]);
		assert_int_equal(scene.client.received, lengths[i][1]);
		assert_int_equal(counter_read(COUNTER_SIDECAR_FINISHED), finished + 2);
		tally_read(sidecar_tally(scene.far_shares, ""), &sums);
		assert_int_equal(sums.number[TALLY_SENT], lengths[i][0]);
		assert_int_equal(sums.number[TALLY_RECEIVED], lengths[i][1]);
		assert_int_equal(sums.number[TALLY_OPEN], 0);
		assert_int_equal(sums.number[TALLY_JOINED], 1);
		end(&scene);
	}
}

static bool target_has_all(struct scene *scene)
{
	return scene->target.received == scene->client.length && scene->target.ended;
}

static void the_end_of_the_request_arrives_while_the_answer_is_still_to_come(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 100000, 200000);
	scene.target.speaks = false;
	WAIT(&scene, target_has_all);
	assert_false(client_is_over(&scene));
	scene.target.speaks = true;
	WAIT(&scene, both_are_over);
	WAIT(&scene, client_is_over);
	assert_true(scene.client.ended);
	assert_int_equal(scene.client.received, 200000);
	end(&scene);
}

static void keys_are_changed_on_the_way(void **state)
{
	(void)state;
	struct scene scene;
	uint64_t updates = counter_read(COUNTER_KEY_UPDATE_SENT);
	set_scene(&scene, 3 << 20, 3 << 20);
	scene.near_settings.key_update_bytes = scene.far_settings.key_update_bytes = 1 << 20;
	open_scene(&scene);
	connect_client(&scene);
	WAIT(&scene, both_are_over);
	WAIT(&scene, client_is_over);
	assert_int_equal(scene.client.received, 3 << 20);
	assert_int_equal(scene.target.received, 3 << 20);
	assert_true(counter_read(COUNTER_KEY_UPDATE_SENT) >= updates + 4);
	end(&scene);
}

static void a_client_that_does_not_read_stops_the_target(void **state)
{
	(void)state;
	struct scene scene;
	uint64_t before;
	begin(&scene, 0, 1 << 30);
	scene.client.listens = false;
	do {
		before = scene.target.sent;
		(void)try(&scene, never, 300);
	} while (scene.target.sent != before || before == 0);
	assert_true(before < 64 << 20);
	scene.client.listens = true;
	scene.target.length = before + (1 << 20);
	WAIT(&scene, both_are_over);
	assert_int_equal(scene.client.received, scene.target.length);
	end(&scene);
}

// ---- not in order

static void a_reset_of_one_end_is_a_reset_of_the_other(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 1000, UINT64_MAX);
	scene.client.speaks = false;
	WAIT(&scene, target_is_there);
	scene.target.speaks = false;
	socket_reset(&scene.target.fd);
	WAIT(&scene, client_is_over);
	assert_true(scene.client.reset);
	end(&scene);
	begin(&scene, UINT64_MAX, 1000);
	scene.target.speaks = false;
	WAIT(&scene, target_is_there);
	socket_reset(&scene.client.fd);
	WAIT(&scene, target_is_over);
	assert_true(scene.target.reset);
	WAIT(&scene, both_are_over);
	end(&scene);
}

static void a_client_without_a_certificate_reaches_nobody(void **state)
{
	(void)state;
	struct scene scene;
	set_scene(&scene, 1000, 1000);
	tls_profile_free(&scene.client_profile);
	scene.client_profile = profile_of(&scene, true, NULL);
	scene.near_settings.profile = scene.client_profile;
	open_scene(&scene);
	connect_client(&scene);
	WAIT(&scene, client_is_over);
	WAIT(&scene, both_are_over);
	assert_true(scene.client.reset);
	assert_int_equal(scene.target.fd, -1);
	assert_int_equal(handshakes(&scene, TALLY_NO_CERTIFICATE), 1);
	end(&scene);
}

static void a_target_that_refuses_is_followed_by_the_next(void **state)
{
	(void)state;
	struct scene scene;
	struct address list[2];
	int nobody;
	set_scene(&scene, 1000, 1000);
	listen_at(&list[0], &nobody);
	socket_close(&nobody);
	list[1] = scene.target_address;
	targets_unref(&scene.to_target);
	scene.to_target = targets_of(list, 2);
	scene.far_settings.targets = scene.to_target;
	open_scene(&scene);
	connect_client(&scene);
	WAIT(&scene, both_are_over);
	assert_int_equal(scene.target.received, 1000);
	end(&scene);
	set_scene(&scene, 1000, 1000);
	socket_close(&scene.target_listener);
	open_scene(&scene);
	uint64_t refused = counter_read(COUNTER_SIDECAR_UNREACHABLE);
	connect_client(&scene);
	WAIT(&scene, client_is_over);
	assert_true(scene.client.reset);
	assert_int_equal(counter_read(COUNTER_SIDECAR_UNREACHABLE), refused + 1);
	end(&scene);
}

// ---- judged again

static bool client_has_some(struct scene *scene)
{
	return scene->client.received > 0;
}

static void new_settings_judge_those_that_stand(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, UINT64_MAX, UINT64_MAX);
	WAIT(&scene, client_has_some);
	assert_int_equal(sidecars_set(scene.far, &scene.far_settings, true), 0);
	(void)try(&scene, never, 50);
	assert_false(client_is_over(&scene));
	uint64_t out = counter_read(COUNTER_SIDECAR_NOT_ALLOWED);
	scene.judged_out = true;
	assert_int_equal(sidecars_set(scene.far, &scene.far_settings, false), 0);
	(void)try(&scene, never, 50);
	assert_false(client_is_over(&scene));
	assert_int_equal(sidecars_set(scene.far, &scene.far_settings, true), 0);
	WAIT(&scene, client_is_over);
	assert_true(scene.client.reset);
	assert_int_equal(counter_read(COUNTER_SIDECAR_NOT_ALLOWED), out + 1);
	end(&scene);
}

// ---- strangers

static int stranger(struct scene *scene)
{
	int fd;
	assert_true(socket_connect(&scene->far_address, &fd) >= 0);
	return fd;
}

static bool two_are_open(struct scene *scene)
{
	return sidecars_open(scene->far) == 2;
}

static bool one_is_crowded_out(struct scene *scene)
{
	(void)scene;
	return counter_read(COUNTER_SIDECAR_CROWDED_OUT) > 0;
}

static void when_too_many_have_yet_to_prove_something_the_oldest_goes(void **state)
{
	(void)state;
	struct scene scene;
	int strangers[3];
	char byte;
	set_scene(&scene, 1000, 1000);
	struct sidecar_limits limits = {.handshakes_max = 2};
	assert_int_equal(sidecar_shares_set(scene.far_shares, &limits), 0);
	open_scene(&scene);
	strangers[0] = stranger(&scene);
	strangers[1] = stranger(&scene);
	WAIT(&scene, two_are_open);
	strangers[2] = stranger(&scene);
	WAIT(&scene, one_is_crowded_out);
	assert_int_equal(sidecars_open(scene.far), 2);
	assert_int_equal(recv(strangers[0], &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(recv(strangers[1], &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	// An honest one is served all the same.
	connect_client(&scene);
	WAIT(&scene, client_is_over);
	assert_int_equal(scene.client.received, 1000);
	for (unsigned i = 0; i < COUNT_OF(strangers); i++)
		socket_close(&strangers[i]);
	end(&scene);
}

static bool timed_out(struct scene *scene)
{
	return handshakes(scene, TALLY_TIMEOUT) == 2;
}

static void strangers_have_one_deadline_however_they_trickle(void **state)
{
	(void)state;
	struct scene scene;
	set_scene(&scene, 0, 0);
	scene.far_settings.handshake_ms = 300;
	open_scene(&scene);
	int silent = stranger(&scene), slow = stranger(&scene);
	WAIT(&scene, two_are_open);
	assert_int_equal(send(slow, "\x16\x03\x01\x02\x00\x01", 6, MSG_NOSIGNAL), 6);
	WAIT(&scene, timed_out);
	assert_int_equal(sidecars_open(scene.far), 0);
	socket_close(&silent);
	socket_close(&slow);
	end(&scene);
}

static bool all_strangers_are_gone(struct scene *scene)
{
	return sidecars_open(scene->far) == 0 && handshakes(scene, TALLY_HTTP) == 1 &&
	       handshakes(scene, TALLY_NOT_TLS) == 1 && handshakes(scene, TALLY_SILENT) == 1;
}

static void what_is_no_tls_is_told_apart(void **state)
{
	(void)state;
	struct scene scene;
	char answer[256];
	begin(&scene, 0, 0);
	int silent = stranger(&scene), http = stranger(&scene), garbage = stranger(&scene);
	socket_close(&silent);
	assert_int_equal(send(http, "GET /", 5, MSG_NOSIGNAL), 5);
	assert_int_equal(send(garbage, "\0\0\0", 3, MSG_NOSIGNAL), 3);
	WAIT(&scene, all_strangers_are_gone);
	assert_true(recv(http, answer, sizeof answer, 0) > 12);
	assert_memory_equal(answer, "HTTP/1.1 400", 12);
	assert_int_equal(recv(garbage, answer, sizeof answer, 0), 7);
	assert_memory_equal(answer, "\x15\x03\x03\0\x02\x02\x0a", 7);
	socket_close(&http);
	socket_close(&garbage);
	end(&scene);
}

// ---- time

static void a_connection_ends_when_its_time_is_over(void **state)
{
	(void)state;
	static const enum counter counters[] = {COUNTER_SIDECAR_IDLE, COUNTER_SIDECAR_TOO_OLD, COUNTER_SIDECAR_HALF_CLOSED};
	struct scene scene;
	for (unsigned i = 0; i < COUNT_OF(counters); i++) {
		uint64_t before = counter_read(counters[i]);
		set_scene(&scene, 0, 1000);
		scene.client.speaks = i == 2; // its end
		scene.target.speaks = false;
		scene.far_settings.idle_ms = i == 0 ? 300 : 0;
		scene.far_settings.lifetime_ms = i == 1 ? 300 : 0;
		scene.far_settings.half_close_ms = 300;
		open_scene(&scene);
		connect_client(&scene);
		WAIT(&scene, client_is_over);
		assert_true(scene.client.reset);
		assert_int_equal(counter_read(counters[i]), before + 1);
		end(&scene);
	}
}

// ---- the data path

// Crumbs of the library that it may make by itself: see flow_test.c.
#define LIBRARY_CRUMB_BYTES 64

static void on_library(size_t size)
{
	if (size <= LIBRARY_CRUMB_BYTES)
		atomic_fetch_sub(&allocations, 1);
}

static uint64_t course_until;

static bool course_is_run(struct scene *scene)
{
	return scene->client.received >= course_until && scene->target.received >= course_until;
}

static void a_joined_connection_moves_bytes_without_allocating(void **state)
{
	(void)state;
	SKIP_UNLESS_COUNTED();
	struct scene scene;
	begin(&scene, UINT64_MAX, UINT64_MAX);
	course_until = 48 << 20;
	WAIT(&scene, course_is_run);
	loop_timer_disarm(scene.near->sweep); // two on one thread: buffers that one gives back the other takes
	loop_timer_disarm(scene.far->sweep);
	unsigned long before = atomic_load(&allocations);
	course_until += 64 << 20;
	WAIT(&scene, course_is_run);
	assert_int_equal(atomic_load(&allocations) - before, 0);
	end(&scene);
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
	if (!tls_rig_watch_library(on_library))
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_travel_both_ways_and_each_end_for_itself),
		cmocka_unit_test(the_end_of_the_request_arrives_while_the_answer_is_still_to_come),
		cmocka_unit_test(keys_are_changed_on_the_way),
		cmocka_unit_test(a_client_that_does_not_read_stops_the_target),
		cmocka_unit_test(a_reset_of_one_end_is_a_reset_of_the_other),
		cmocka_unit_test(a_client_without_a_certificate_reaches_nobody),
		cmocka_unit_test(a_target_that_refuses_is_followed_by_the_next),
		cmocka_unit_test(new_settings_judge_those_that_stand),
		cmocka_unit_test(when_too_many_have_yet_to_prove_something_the_oldest_goes),
		cmocka_unit_test(strangers_have_one_deadline_however_they_trickle),
		cmocka_unit_test(what_is_no_tls_is_told_apart),
		cmocka_unit_test(a_connection_ends_when_its_time_is_over),
		cmocka_unit_test(a_joined_connection_moves_bytes_without_allocating),
	};
	return cmocka_run_group_tests_name("sidecar", tests, once, over);
}
