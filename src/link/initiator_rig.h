// For the initiator's tests: a source and a dest of the link rig on one loop, and streams that are held open across
// what happens to their link.

#pragma once

#include "link/initiator.h"
#include "link/link_rig.h"

// ---- streams that are held open

#define HELD 8
struct held {
	struct stream *near, *far;
	bool near_lost, far_lost, refused;
};
static struct held held[HELD];

static inline void on_near(void *owner, int events)
{
	(void)events;
	struct held *one = owner;
	if (!stream_is_broken(one->near))
		return;
	one->near_lost = true;
	stream_close(&one->near);
}

static inline void on_near_refused(void *owner, const struct header_answer *answer)
{
	(void)answer;
	struct held *one = owner;
	one->refused = true;
	stream_close(&one->near);
}

static inline void on_far(void *owner, int events)
{
	struct held *one = owner;
	uint8_t bytes[64];
	size_t got;
	if (events & LOOP_READ && !stream_is_broken(one->far)) {
		int r = stream_recv(one->far, bytes, sizeof bytes, &got);
		if (r == STREAM_BLOCKED || r == 0)
			return;
		one->far_lost = r == STREAM_FAILED;
		stream_close(&one->far);
	} else if (stream_is_broken(one->far)) {
		one->far_lost = true;
		stream_close(&one->far);
	}
}

static const struct stream_ops near_ops = {.on_ready = on_near, .on_refused = on_near_refused};
static const struct stream_ops far_ops = {.on_ready = on_far};

static inline void on_header(void *owner, struct stream *stream, const struct header *header)
{
	(void)owner;
	struct held *one = &held[header->port - 1];
	one->far = stream;
	stream_own(stream, &far_ops, one);
	assert_int_equal(stream_confirm(stream), 0);
	stream_want_read(stream, true);
}

static inline void hold(struct link_rig *rig, unsigned number)
{
	struct header header = {.kind = HEADER_TCP, .service = "hold", .port = (uint16_t)(number + 1)};
	held[number] = (struct held){0};
	assert_int_equal(pool_open(rig->pool,
	                           &(struct stream_opening){.header = &header, .ops = &near_ops, .owner = &held[number]},
	                           &held[number].near),
	                 0);
}

static inline bool is_held(void *owner)
{
	const struct held *one = owner;
	return one->far && one->near && stream_is_open(one->near);
}

static inline bool is_lost_on_both_sides(void *owner)
{
	const struct held *one = owner;
	return one->near_lost && one->far_lost;
}

static inline bool is_near_lost(void *owner)
{
	return ((const struct held *)owner)->near_lost;
}

static inline void let_go(unsigned number)
{
	stream_close(&held[number].near);
	stream_close(&held[number].far);
}

// ---- the scene

struct scene {
	struct link_rig rig;
	struct destination dests[3];
	struct initiator_settings settings;
	struct responder_settings dest_settings;
	struct listener *spare; // a second door to the same dest
	struct address spare_address;
	unsigned wanted_ups, wanted_downs;
	unsigned given_up;
};

static inline void on_given_up(void *owner, const char *reason)
{
	(void)reason;
	struct scene *scene = owner;
	scene->given_up++;
}

static inline void begin_dest(struct scene *scene)
{
	*scene = (struct scene){0};
	memset(held, 0, sizeof held);
	log_set(LOG_ERROR, LOG_FORMAT_PLAIN, false);
	assert_int_equal(loop_new(&scene->rig.loop), 0);
	assert_int_equal(loop_timer_open(scene->rig.loop, link_rig_tick, &scene->rig, &scene->rig.tick), 0);
	loop_timer_arm(scene->rig.tick, 1, 1);
	link_rig_start_dest(&scene->rig, &(struct link_rig_settings){.on_header = on_header});
	scene->settings = (struct initiator_settings){
		.loop = scene->rig.loop,
		.identity = link_rig_tls.client,
		.pq = TLS_PQ_REQUIRE,
		.host = "127.0.0.1",
		.port = ntohs(scene->rig.address.in4.sin_port),
		.handshake_ms = 10000,
		.reconnect = true,
		.delay_first_ms = 20,
		.delay_max_ms = 100,
		.control = link_rig_control(CONTROL_INITIATOR),
		.link = {.overlap_ms = 60000, .connections_max = 10000},
	};
	scene->dest_settings = (struct responder_settings){
		.identity = link_rig_tls.server,
		.pq = TLS_PQ_REQUIRE,
		.handshake_ms = 10000,
		.control = link_rig_control(CONTROL_RESPONDER),
		.link = {.overlap_ms = 60000, .connections_max = 10000},
	};
}

// The rig's own callbacks, and one more; `scene` begins with the rig, so both take it as their owner.
static inline void begin_source(struct scene *scene)
{
	static const struct initiator_ops ops = {.on_up = link_rig_up,
	                                         .on_draining = link_rig_draining,
	                                         .on_down = link_rig_down,
	                                         .on_given_up = on_given_up};
	struct pool_settings pool = {.loop = scene->rig.loop, .handshake_ms = 10000};
	assert_int_equal(pool_new(&pool, &scene->rig.pool), 0);
	assert_int_equal(initiator_new(&scene->settings, &ops, scene, &scene->rig.initiator), 0);
}

static inline bool has_come_to_pass(void *owner)
{
	const struct scene *scene = owner;
	return scene->rig.ups >= scene->wanted_ups && scene->rig.downs >= scene->wanted_downs;
}

static inline void wait_for(struct scene *scene, unsigned ups, unsigned downs)
{
	scene->wanted_ups = ups;
	scene->wanted_downs = downs;
	link_rig_wait(&scene->rig, has_come_to_pass, scene);
	assert_int_equal(scene->rig.ups, ups);
	assert_int_equal(scene->rig.downs, downs);
}

static inline void begin(struct scene *scene)
{
	begin_dest(scene);
	begin_source(scene);
	wait_for(scene, 1, 0);
}

static inline void end(struct scene *scene)
{
	for (unsigned i = 0; i < HELD; i++)
		let_go(i);
	listener_close(&scene->spare);
	link_rig_stop(&scene->rig);
}

static inline bool is_past(void *owner)
{
	return clock_ms() >= *(uint64_t *)owner;
}

static inline void let_pass(struct scene *scene, uint32_t ms)
{
	uint64_t until = clock_ms() + ms;
	link_rig_wait(&scene->rig, is_past, &until);
}

// A port of this host where nobody listens, or listens later.
static inline struct address quiet_port(struct scene *scene)
{
	struct address address;
	struct listener *listener;
	assert_int_equal(address_from_ip("127.0.0.1", 0, &address), 0);
	assert_int_equal(listener_open(scene->rig.loop, &address, link_rig_accept, &scene->rig, &listener), 0);
	listener_close(&listener);
	return address;
}

static inline void list_two(struct scene *scene, const struct address *first, const struct address *second)
{
	const struct address *both[] = {first, second};
	for (unsigned i = 0; i < 2; i++) {
		strcpy(scene->dests[i].host, "127.0.0.1");
		scene->dests[i].port = ntohs(both[i]->in4.sin_port);
	}
	scene->settings.host = NULL;
	scene->settings.dests = scene->dests;
	scene->settings.dest_count = 2;
}

static inline bool uses(const struct scene *scene, unsigned index)
{
	struct initiator_state state;
	char text[64];
	initiator_read(scene->rig.initiator, &state);
	snprintf(text, sizeof text, "127.0.0.1:%u", scene->dests[index].port);
	return strcmp(state.state, "up") == 0 && strcmp(state.dest, text) == 0;
}
