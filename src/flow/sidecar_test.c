#include "flow/sidecar.h"

#include "core/allocation_rig.h"
#include "core/counter.h"
#include "core/log.h"
#include "flow/sidecar_internal.h"
#include "wire/tls_rig.h"

#include <errno.h>

// A plain client, a sidecar that is a TLS client, one that is a server, and a plain target, all on one loop; client and
// target are driven by hand.

static struct tls_rig rig;

struct side { // a plain socket: the client's or the target's
	int fd;
	uint64_t sent, received, length; // says so many bytes, then ends its direction
	bool speaks, listens, ended, shut, reset;
	uint8_t salt;
};

struct scene {
	struct loop *loop;
	struct loop_timer *tick;
	bool (*is_done)(struct scene *scene);
	uint64_t until_ms;
	struct sidecar_shares *near_shares, *far_shares;
	struct sidecars *near, *far; // TLS client, TLS server
	struct sidecars_settings near_settings, far_settings;
	struct trust *trust;
	struct tls_profile *client_profile, *server_profile;
	struct targets *to_far, *to_target;
	struct address far_address, target_address;
	int far_listener, target_listener;
	bool judged_out;
	struct side client, target;
};

// ---- the ends ------------------------------------------------------------------------------------------------------

static uint8_t said(const struct side *side, uint64_t position)
{
	return (uint8_t)(((position + side->salt) * 2654435761u) >> 9);
}

static void side_speak(struct side *side)
{
	static uint8_t bytes[LIMIT_UNIT_BYTES];
	while (side->speaks && !side->shut && !side->reset) {
		if (side->sent == side->length) {
			shutdown(side->fd, SHUT_WR);
			side->shut = true;
			return;
		}
		uint64_t left = side->length - side->sent;
		size_t size = left < sizeof bytes ? (size_t)left : sizeof bytes;
		for (size_t i = 0; i < size; i++)
			bytes[i] = said(side, side->sent + i);
		ssize_t n = send(side->fd, bytes, size, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			side->reset = true;
		else
			side->sent += (uint64_t)n;
	}
}

static void side_listen(struct side *side, const struct side *other)
{
	static uint8_t bytes[LIMIT_UNIT_BYTES];
	while (side->listens && !side->ended && !side->reset) {
		ssize_t n = recv(side->fd, bytes, sizeof bytes, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			side->reset = true;
		side->ended = n == 0;
		for (ssize_t i = 0; i < n; i++)
			if (bytes[i] != said(other, side->received + (uint64_t)i))
				fail_msg("byte %llu is wrong", (unsigned long long)side->received + (unsigned long long)i);
		side->received += n > 0 ? (uint64_t)n : 0;
	}
}

static void move(struct scene *scene)
{
	struct side *client = &scene->client, *target = &scene->target;
	struct address peer;
	int fd;
	if (socket_accept(scene->far_listener, &fd, &peer) == 0)
		sidecars_take(scene->far, &fd, &peer);
	if (target->fd < 0 && socket_accept(scene->target_listener, &target->fd, &peer) != 0)
		target->fd = -1;
	if (client->fd >= 0) {
		side_speak(client);
		side_listen(client, target);
	}
	if (target->fd >= 0) {
		side_speak(target);
		side_listen(target, client);
	}
}

// ---- the scene -----------------------------------------------------------------------------------------------------

static void on_tick(void *owner)
{
	struct scene *scene = owner;
	if (!scene->is_done)
		return;
	move(scene);
	if (scene->is_done(scene))
		scene->is_done = NULL;
	else if (clock_ms() < scene->until_ms)
		return;
	loop_stop(scene->loop);
}

static bool try(struct scene *scene, bool (*is_done)(struct scene *scene), uint32_t timeout_ms)
{
	scene->is_done = is_done;
	scene->until_ms = clock_ms() + timeout_ms;
	assert_int_equal(loop_run(scene->loop), 0);
	bool done = scene->is_done == NULL;
	scene->is_done = NULL;
	return done;
}

#define WAIT(scene, is_done)                          \
	do {                                              \
		if (!try(scene, is_done, RIG_PATIENCE_MS))    \
			fail_msg("waited in vain for " #is_done); \
	} while (0)

static struct targets *targets_of(const struct address *list, size_t count)
{
	char texts[2][ADDRESS_TEXT_BYTES];
	struct targets_address addresses[2];
	struct targets *made;
	for (size_t i = 0; i < count; i++) {
		address_format(&list[i], texts[i]);
		addresses[i] =
			(struct targets_address){.name = texts[i], .host = "127.0.0.1", .port = ntohs(list[i].in4.sin_port)};
	}
	struct targets_route route = {.targets = addresses, .target_count = count};
	struct targets_settings settings = {.routes = &route, .route_count = 1, .rise = 1, .fall = 1};
	assert_int_equal(targets_new(&settings, NULL, &made), 0);
	return made;
}

static void listen_at(struct address *address, int *listener)
{
	assert_int_equal(address_from_ip("127.0.0.1", 0, address), 0);
	assert_int_equal(socket_listen(address, 16, listener), 0);
}

static struct tls_profile *profile_of(struct scene *scene, bool is_client, struct identity *identity)
{
	struct tls_sidecar settings = {.is_client = is_client,
	                               .identities = &identity,
	                               .identity_count = identity ? 1 : 0,
	                               .trust = scene->trust,
	                               .pq = TLS_PQ_PREFER};
	char problem[TLS_SIDECAR_PROBLEM_BYTES];
	struct tls_profile *made;
	if (tls_sidecar_profile(&settings, &made, problem) != 0)
		fail_msg("%s", problem);
	return made;
}

static int judge(void *owner, X509 *certificate)
{
	const struct scene *scene = owner;
	assert_non_null(certificate);
	return scene->judged_out ? TLS_FAILURE_NOT_ALLOWED : TLS_FAILURE_NONE;
}

static struct sidecars_settings settings_of(struct scene *scene, bool is_client)
{
	return (struct sidecars_settings){.loop = scene->loop,
	                                  .shares = is_client ? scene->near_shares : scene->far_shares,
	                                  .profile = is_client ? scene->client_profile : scene->server_profile,
	                                  .is_client = is_client,
	                                  .targets = is_client ? scene->to_far : scene->to_target,
	                                  .handshake_ms = RIG_PATIENCE_MS,
	                                  .connect_ms = 5000,
	                                  .key_update_bytes = LIMIT_TLS_KEY_BYTES,
	                                  .peer_name = is_client ? "dest.example" : NULL,
	                                  .judge = is_client ? NULL : judge,
	                                  .judge_owner = scene};
}

// What differs from it is set by the test before open_scene.
static void set_scene(struct scene *scene, uint64_t client_length, uint64_t target_length)
{
	char ca[96], problem[IDENTITY_PROBLEM_BYTES];
	struct sidecar_limits limits = {0};
	*scene = (struct scene){.client = {.fd = -1, .length = client_length, .speaks = true, .listens = true, .salt = 1},
	                        .target = {.fd = -1, .length = target_length, .speaks = true, .listens = true, .salt = 2}};
	log_set(LOG_ERROR, LOG_FORMAT_PLAIN, false);
	snprintf(ca, sizeof ca, "%s/ca.crt", rig.folder);
	struct trust_files files = {.ca_path = ca};
	assert_int_equal(trust_load(&files, &scene->trust, problem), 0);
	assert_int_equal(loop_new(&scene->loop), 0);
	assert_int_equal(loop_timer_open(scene->loop, on_tick, scene, &scene->tick), 0);
	loop_timer_arm(scene->tick, 1, 1);
	listen_at(&scene->far_address, &scene->far_listener);
	listen_at(&scene->target_address, &scene->target_listener);
	scene->to_far = targets_of(&scene->far_address, 1);
	scene->to_target = targets_of(&scene->target_address, 1);
	scene->client_profile = profile_of(scene, true, rig.client);
	scene->server_profile = profile_of(scene, false, rig.server);
	assert_int_equal(sidecar_shares_new(&limits, 1, &scene->near_shares), 0);
	assert_int_equal(sidecar_shares_new(&limits, 2, &scene->far_shares), 0);
	scene->near_settings = settings_of(scene, true);
	scene->far_settings = settings_of(scene, false);
}

static void open_scene(struct scene *scene)
{
	assert_int_equal(sidecars_new(&scene->near_settings, &scene->near), 0);
	assert_int_equal(sidecars_new(&scene->far_settings, &scene->far), 0);
}

static void connect_client(struct scene *scene)
{
	int pair[2];
	struct address peer;
	assert_int_equal(address_from_ip("192.0.2.1", 4711, &peer), 0);
	tls_rig_pair(pair, 0);
	scene->client.fd = pair[0];
	sidecars_take(scene->near, &pair[1], &peer);
	assert_int_equal(pair[1], -1);
}

static void begin(struct scene *scene, uint64_t client_length, uint64_t target_length)
{
	set_scene(scene, client_length, target_length);
	open_scene(scene);
	connect_client(scene);
}

static void end(struct scene *scene)
{
	socket_close(&scene->client.fd);
	socket_close(&scene->target.fd);
	socket_close(&scene->far_listener);
	socket_close(&scene->target_listener);
	sidecars_free(&scene->near);
	sidecars_free(&scene->far);
	assert_int_equal(sidecar_shares_open(scene->near_shares), 0);
	assert_int_equal(sidecar_shares_open(scene->far_shares), 0);
	sidecar_shares_free(&scene->near_shares);
	sidecar_shares_free(&scene->far_shares);
	targets_unref(&scene->to_far);
	targets_unref(&scene->to_target);
	tls_profile_free(&scene->client_profile);
	tls_profile_free(&scene->server_profile);
	trust_unref(&scene->trust);
	loop_timer_close(&scene->tick);
	loop_free(&scene->loop);
}

static bool both_are_over(struct scene *scene)
{
	return sidecars_open(scene->near) == 0 && sidecars_open(scene->far) == 0;
}

static bool client_is_over(struct scene *scene)
{
	return scene->client.ended || scene->client.reset;
}

static bool target_is_over(struct scene *scene)
{
	return scene->target.ended || scene->target.reset;
}

static bool target_is_there(struct scene *scene)
{
	return scene->target.fd >= 0;
}

static uint64_t handshakes(struct scene *scene, enum tally_outcome outcome)
{
	struct tally_sums sums;
	tally_read(sidecar_tally(scene->far_shares, ""), &sums);
	return sums.word[TALLY_OUTCOME][outcome];
}

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

static bool never(struct scene *scene)
{
	(void)scene;
	return false;
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
