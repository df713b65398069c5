// For tests of sidecars: a plain client, a sidecar that is a TLS client, one that is a server, and a plain target, all
// on one loop; client and target are driven by hand. For one file of a test program.

#pragma once

#include "core/counter.h"
#include "core/log.h"
#include "flow/sidecar.h"
#include "flow/sidecar_internal.h"
#include "wire/tls_rig.h"

#include <errno.h>

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

static inline uint8_t said(const struct side *side, uint64_t position)
{
	return (uint8_t)(((position + side->salt) * 2654435761u) >> 9);
}

static inline void side_speak(struct side *side)
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

static inline void side_listen(struct side *side, const struct side *other)
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

static inline void move(struct scene *scene)
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

static inline void on_tick(void *owner)
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

static inline bool try(struct scene *scene, bool (*is_done)(struct scene *scene), uint32_t timeout_ms)
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

static inline struct targets *targets_of(const struct address *list, size_t count)
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

static inline void listen_at(struct address *address, int *listener)
{
	assert_int_equal(address_from_ip("127.0.0.1", 0, address), 0);
	assert_int_equal(socket_listen(address, 16, listener), 0);
}

static inline struct tls_profile *profile_of(struct scene *scene, bool is_client, struct identity *identity)
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

static inline int judge(void *owner, X509 *certificate)
{
	const struct scene *scene = owner;
	assert_non_null(certificate);
	return scene->judged_out ? TLS_FAILURE_NOT_ALLOWED : TLS_FAILURE_NONE;
}

static inline struct sidecars_settings settings_of(struct scene *scene, bool is_client)
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
static inline void set_scene(struct scene *scene, uint64_t client_length, uint64_t target_length)
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

static inline void open_scene(struct scene *scene)
{
	assert_int_equal(sidecars_new(&scene->near_settings, &scene->near), 0);
	assert_int_equal(sidecars_new(&scene->far_settings, &scene->far), 0);
}

static inline void connect_client(struct scene *scene)
{
	int pair[2];
	struct address peer;
	assert_int_equal(address_from_ip("192.0.2.1", 4711, &peer), 0);
	tls_rig_pair(pair, 0);
	scene->client.fd = pair[0];
	sidecars_take(scene->near, &pair[1], &peer);
	assert_int_equal(pair[1], -1);
}

static inline void begin(struct scene *scene, uint64_t client_length, uint64_t target_length)
{
	set_scene(scene, client_length, target_length);
	open_scene(scene);
	connect_client(scene);
}

static inline void end(struct scene *scene)
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

static inline bool both_are_over(struct scene *scene)
{
	return sidecars_open(scene->near) == 0 && sidecars_open(scene->far) == 0;
}

static inline bool client_is_over(struct scene *scene)
{
	return scene->client.ended || scene->client.reset;
}

static inline bool target_is_over(struct scene *scene)
{
	return scene->target.ended || scene->target.reset;
}

static inline bool target_is_there(struct scene *scene)
{
	return scene->target.fd >= 0;
}

static inline uint64_t handshakes(struct scene *scene, enum tally_outcome outcome)
{
	struct tally_sums sums;
	tally_read(sidecar_tally(scene->far_shares, ""), &sums);
	return sums.word[TALLY_OUTCOME][outcome];
}

static inline bool never(struct scene *scene)
{
	(void)scene;
	return false;
}
