// For tests of what runs over a link: a dest (listener, responder) and a source (initiator, pool) in one process on one
// loop, over the loopback and with real TLS; everything that waits has a deadline.

#pragma once

#include "core/counter.h"
#include "core/log.h"
#include "edge/listener.h"
#include "link/hello.h"
#include "link/initiator.h"
#include "link/pool.h"
#include "link/responder.h"
#include "link/stream_internal.h"
#include "wire/tls_rig.h"

struct link_rig {
	struct loop *loop;
	struct loop_timer *tick;
	bool (*is_done)(void *owner);
	void *waiting;
	uint64_t until_ms;
	// dest
	struct registry *registry;
	struct gate *gate;
	struct responder *responder;
	struct listener *listener;
	struct address address;
	struct reverse *reverse;
	struct reverse_worker *reverse_worker;
	struct link *dest_link; // reverse: while it is up
	unsigned dest_ups, dest_downs, dest_cuts;
	// source
	struct initiator *initiator;
	struct pool *pool;
	struct link *link; // while it is up
	unsigned ups, downs, cuts;
};

struct link_rig_settings {
	unsigned pool_size;
	uint64_t rotation_bytes;
	uint32_t rotation_streams;
	uint64_t key_update_bytes; // both sides
	uint32_t silence_ms;       // both sides
	uint32_t connections_max;  // 0: many
	stream_header_fn on_header;
	void *owner;
	bool is_reverse; // the initiator's pool offers, and on_header is its
	bool is_source;  // with is_reverse: the responder only
	enum control_reason (*may_link)(void *owner, const struct link_peer *peer, char text[LIMIT_REASON_BYTES + 1]);
	void (*on_open)(void *owner, struct link *link, const struct control_open *open);
	bool waits_for_nothing; // link_rig_start does not wait for a link
	struct terms terms;     // of both sides
};

// Certificates are made once a program.
static struct tls_rig link_rig_tls;

static stream_header_fn link_rig_on_header; // of the test that runs
static void *link_rig_owner;

static inline void link_rig_header(void *owner, struct stream *stream, const struct header *header)
{
	(void)owner;
	link_rig_on_header(link_rig_owner, stream, header);
}

static inline void link_rig_claim_lost(void *owner, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                                       const struct header_answer *answer)
{
	struct link_rig *rig = owner;
	if (rig->initiator)
		initiator_open_failed(rig->initiator, link, token, answer);
}

static inline bool link_rig_dest_up(void *owner, struct link *link)
{
	struct link_rig *rig = owner;
	rig->dest_ups++;
	if (rig->reverse) {
		link_unref(&rig->dest_link);
		rig->dest_link = link_ref(link);
	}
	return true;
}

static inline void link_rig_dest_down(void *owner, struct link *link, bool cut)
{
	struct link_rig *rig = owner;
	rig->dest_downs++;
	if (link == rig->dest_link)
		link_unref(&rig->dest_link);
	if (cut) {
		rig->dest_cuts++;
		stream_cut_all(link);
	} else {
		stream_drop_parked(link);
	}
}

static inline void link_rig_up(void *owner, struct link *link)
{
	struct link_rig *rig = owner;
	rig->ups++;
	link_unref(&rig->link);
	rig->link = link_ref(link);
	assert_int_equal(pool_set_link(rig->pool, link), 0);
}

static inline void link_rig_draining(void *owner, struct link *link)
{
	(void)link;
	struct link_rig *rig = owner;
	assert_int_equal(pool_set_link(rig->pool, NULL), 0);
}

static inline void link_rig_down(void *owner, struct link *link, bool cut)
{
	struct link_rig *rig = owner;
	rig->downs++;
	if (link == rig->link)
		assert_int_equal(pool_set_link(rig->pool, NULL), 0);
	if (cut) {
		rig->cuts++;
		stream_cut_all(link);
	}
	if (link == rig->link)
		link_unref(&rig->link);
}

static inline void link_rig_given_up(void *owner, const char *reason)
{
	(void)owner;
	(void)reason;
}

static inline void link_rig_accept(void *owner, int fd, const struct address *peer)
{
	struct link_rig *rig = owner;
	if (rig->responder)
		responder_take(rig->responder, &fd, peer);
	socket_close(&fd);
}

static inline void link_rig_tick(void *owner)
{
	struct link_rig *rig = owner;
	if (!rig->is_done)
		return;
	if (rig->is_done(rig->waiting))
		rig->is_done = NULL;
	else if (clock_ms() < rig->until_ms)
		return;
	loop_stop(rig->loop);
}

// Runs the loop until is_done says so; false when that takes too long. It is asked every millisecond or so.
static inline bool link_rig_try(struct link_rig *rig, bool (*is_done)(void *owner), void *owner, uint32_t timeout_ms)
{
	rig->is_done = is_done;
	rig->waiting = owner;
	rig->until_ms = clock_ms() + timeout_ms;
	assert_int_equal(loop_run(rig->loop), 0);
	bool done = rig->is_done == NULL;
	rig->is_done = NULL;
	return done;
}

#define link_rig_wait(rig, is_done, owner)                       \
	do {                                                         \
		if (!link_rig_try(rig, is_done, owner, RIG_PATIENCE_MS)) \
			fail_msg("waited in vain for " #is_done);            \
	} while (0)

static inline bool link_rig_is_up(void *owner)
{
	struct link_rig *rig = owner;
	return rig->link != NULL;
}

static inline bool link_rig_turns_are_over(void *owner)
{
	unsigned *turns = owner;
	return (*turns)-- == 0;
}

// Some turns of the loop: what has arrived over the loopback is seen in the next one.
static inline void link_rig_turn(struct link_rig *rig, unsigned turns)
{
	link_rig_wait(rig, link_rig_turns_are_over, &turns);
}

static inline struct control_settings link_rig_control(enum control_role role)
{
	return (struct control_settings){
		.role = role,
		.hello = {.version = 1,
	              .role = (uint8_t)role,
	              .legs = LEG_X25519 | LEG_MLKEM768,
	              .carriers = 1,
	              .heartbeat_ms = 60000,
	              .rotation_s = 3600,
	              .node_name = "rig"},
		.rotation_ms = 3600 * 1000,
		.heartbeat_ms = 60000,
		.heartbeat_timeout_ms = 20000,
		.missed_pongs_max = 3,
	};
}

static inline void link_rig_start_dest(struct link_rig *rig, const struct link_rig_settings *settings)
{
	static struct responder_ops ops = {.on_up = link_rig_dest_up,
	                                   .on_down = link_rig_dest_down,
	                                   .on_header = link_rig_header};
	ops.may_link = settings->may_link;
	if (settings->is_reverse) {
		assert_int_equal(reverse_new(1, &rig->reverse), 0);
		assert_int_equal(reverse_worker_new(rig->reverse, 0, rig->loop, &rig->reverse_worker), 0);
	}
	struct admission_limits limits = {.in_flight = 64, .per_address = 1000, .window_ms = 1000, .table = 16};
	assert_int_equal(registry_new(&rig->registry), 0);
	assert_int_equal(gate_new(&limits, NULL, 0, &rig->gate), 0);
	struct responder_settings responder = {
		.loop = rig->loop,
		.identity = link_rig_tls.server,
		.pq = TLS_PQ_REQUIRE,
		.handshake_ms = 10000,
		.registry = rig->registry,
		.gate = rig->gate,
		.control = link_rig_control(CONTROL_RESPONDER),
		.link = {.overlap_ms = 60000,
	             .key_update_bytes = settings->key_update_bytes,
	             .silence_ms = settings->silence_ms,
	             .connections_max = settings->connections_max ? settings->connections_max : 10000},
	};
	responder.reverse = rig->reverse_worker;
	responder.control.hello.terms = settings->terms;
	responder.control.hello.features = settings->is_reverse ? HELLO_REVERSE : 0;
	link_rig_on_header = settings->on_header;
	link_rig_owner = settings->owner;
	assert_int_equal(responder_new(&responder, &ops, rig, &rig->responder), 0);
	assert_int_equal(address_from_ip("127.0.0.1", 0, &rig->address), 0);
	assert_int_equal(listener_open(rig->loop, &rig->address, link_rig_accept, rig, &rig->listener), 0);
}

static inline void link_rig_start_source(struct link_rig *rig, const struct link_rig_settings *settings)
{
	static struct initiator_ops ops = {.on_up = link_rig_up,
	                                   .on_draining = link_rig_draining,
	                                   .on_down = link_rig_down,
	                                   .on_given_up = link_rig_given_up};
	ops.on_open = settings->on_open;
	bool is_agent = settings->is_reverse && !settings->is_source;
	struct pool_settings pool = {.loop = rig->loop,
	                             .size = settings->pool_size,
	                             .handshake_ms = 10000,
	                             .on_header = is_agent ? link_rig_header : NULL,
	                             .on_claim_lost = is_agent ? link_rig_claim_lost : NULL,
	                             .owner = rig};
	assert_int_equal(pool_new(&pool, &rig->pool), 0);
	struct initiator_settings initiator = {
		.loop = rig->loop,
		.identity = link_rig_tls.client,
		.pq = TLS_PQ_REQUIRE,
		.host = "127.0.0.1",
		.port = ntohs(rig->address.in4.sin_port),
		.handshake_ms = 10000,
		.reconnect = true,
		.delay_first_ms = 20,
		.delay_max_ms = 100,
		.control = link_rig_control(CONTROL_INITIATOR),
		.link = {.overlap_ms = 60000,
	             .connections_max = 10000,
	             .rotation_bytes = settings->rotation_bytes,
	             .rotation_streams = settings->rotation_streams,
	             .key_update_bytes = settings->key_update_bytes,
	             .silence_ms = settings->silence_ms},
	};
	initiator.control.hello.features = is_agent ? HELLO_REVERSE : 0;
	initiator.control.hello.terms = settings->terms;
	snprintf(initiator.control.hello.device, sizeof initiator.control.hello.device, "%s", is_agent ? "011" : "");
	assert_int_equal(initiator_new(&initiator, &ops, rig, &rig->initiator), 0);
}

static inline void link_rig_start(struct link_rig *rig, const struct link_rig_settings *settings)
{
	*rig = (struct link_rig){0};
	log_set(LOG_ERROR, LOG_FORMAT_PLAIN, false);
	assert_int_equal(loop_new(&rig->loop), 0);
	assert_int_equal(loop_timer_open(rig->loop, link_rig_tick, rig, &rig->tick), 0);
	loop_timer_arm(rig->tick, 1, 1);
	link_rig_start_dest(rig, settings);
	link_rig_start_source(rig, settings);
	if (!settings->waits_for_nothing)
		link_rig_wait(rig, link_rig_is_up, rig);
}

static inline void link_rig_stop(struct link_rig *rig)
{
	initiator_free(&rig->initiator, CONTROL_REASON_SHUTDOWN);
	pool_free(&rig->pool);
	listener_close(&rig->listener);
	responder_free(&rig->responder, CONTROL_REASON_SHUTDOWN);
	reverse_worker_free(&rig->reverse_worker);
	link_unref(&rig->link);
	link_unref(&rig->dest_link);
	loop_timer_close(&rig->tick);
	loop_free(&rig->loop);
	reverse_free(&rig->reverse);
	registry_free(&rig->registry);
	gate_free(&rig->gate);
}

static inline int link_rig_once(void **state)
{
	(void)state;
	tls_rig_start(&link_rig_tls);
	return 0;
}

static inline int link_rig_end(void **state)
{
	(void)state;
	tls_rig_stop(&link_rig_tls);
	return 0;
}

// ---- a peer by hand: an initiator's data connection that nobody drives but the test

struct hand {
	struct tls_profile *profile;
	struct tls_conn *tls;
};

static inline void hand_dial(struct hand *hand, struct link_rig *rig)
{
	struct psk_identity identity;
	struct secret psk = {0};
	uint8_t name[PSK_IDENTITY_BYTES];
	int fd;
	assert_int_equal(link_next_psk(rig->link, &identity, &psk), 0);
	psk_identity_encode(&identity, name);
	assert_int_equal(tls_profile_data(link_peer(rig->link)->tls.group, &hand->profile), 0);
	assert_true(socket_connect(&rig->address, &fd) >= 0);
	struct pollfd one = {.fd = fd, .events = POLLOUT};
	assert_int_equal(poll(&one, 1, RIG_PATIENCE_MS), 1);
	socket_tune(fd, &(struct socket_options){0});
	struct tls_options options = {.psk_identity = name, .psk_identity_length = sizeof name, .psk = &psk};
	assert_int_equal(tls_conn_new(hand->profile, &fd, &options, &hand->tls), 0);
	secret_fini(&psk);
}

static inline bool hand_is_ready(void *owner)
{
	struct hand *hand = owner;
	tls_conn_readable(hand->tls);
	int r = tls_conn_handshake(hand->tls);
	assert_true(r == 0 || r == TLS_BLOCKED);
	return r == 0;
}

// True when the connection has come to its end, in whatever way.
static inline bool hand_is_over(void *owner)
{
	struct hand *hand = owner;
	uint8_t bytes[256];
	size_t got;
	tls_conn_readable(hand->tls);
	int r = tls_conn_is_ready(hand->tls) ? tls_conn_recv(hand->tls, bytes, sizeof bytes, &got)
	                                     : tls_conn_handshake(hand->tls);
	return r != 0 && r != TLS_BLOCKED;
}

static inline void hand_fini(struct hand *hand)
{
	tls_conn_free(&hand->tls);
	tls_profile_free(&hand->profile);
}
