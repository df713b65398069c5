#include "link/session.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "crypto/digest.h"
#include "link/hello.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How long the last messages may take to leave.
#define FAREWELL_MS 1000

// What is needed until the link is there.
struct beginning {
	struct control_settings control;
	struct link_settings link;
	struct link_peer peer; // its texts are in the following ones, and in the peer's HELLO while that is judged
	struct identity_text certificate;
	struct tls_text tls;
	struct grant grant;
	char address[ADDRESS_TEXT_BYTES];
};

struct session {
	struct loop *loop;
	struct keyserver *keyserver;
	struct keycache *keycache;
	enum control_role role;
	bool is_reverse;
	struct beginning *beginning;
	struct tls_conn *tls;
	struct loop_io *io;
	struct loop_timer *timer;
	struct control *control;
	struct link *link; // from on_hello
	const struct session_ops *ops;
	void *owner;
	struct loop_task epoch_task, release;
	bool up, ended, cut, leaving;
	bool stepping; // the engine is at work: its owner may call from within, and what that leads to waits until it is
	               // done
	enum control_reason peer_reason;
	enum control_reason wanted_end; // said while stepping: CLOSE with this reason and text
	char *wanted_text;
	char *reason;   // why it ends; NULL until then
	uint8_t *queue; // frames that wait for room
	size_t queue_at, queue_length, queue_size;
};

static uint64_t now_us(void)
{
	return clock_ns() / 1000;
}

static const char *role_of(const struct session *session)
{
	if (session->role == CONTROL_INITIATOR)
		return session->is_reverse ? "agent" : "source";
	return session->is_reverse ? "hub" : "dest";
}

// ---- the end -------------------------------------------------------------------------------------------------------

static void release(struct loop_task *task)
{
	struct session *session = CONTAINER_OF(task, struct session, release);
	free(session);
}

static void free_session(struct session *session)
{
	bool task_on_its_way = session->link && link_set_epoch_task(session->link, NULL, NULL);
	if (session->link)
		link_unref(&session->link);
	loop_io_close(&session->io);
	loop_timer_close(&session->timer);
	control_free(&session->control);
	tls_conn_free(&session->tls);
	free(session->queue);
	session->queue = NULL;
	free(session->beginning);
	session->beginning = NULL;
	free(session->reason);
	free(session->wanted_text);
	session->reason = session->wanted_text = NULL;
	// A worker may have posted the epoch task already: then the memory goes when that has run.
	if (!task_on_its_way)
		loop_defer(session->loop, &session->release);
}

// Tells the owner, once, and goes. The keys are wiped first, so nothing new can start on a link that is over.
static void finish(struct session *session)
{
	session->ended = true; // for an owner that says something from within on_end
	if (session->link)
		link_shut(session->link);
	if (session->link && session->cut)
		link_set_cut(session->link, session->reason);
	if (session->up)
		counter_add(COUNTER_LINKS_CLOSED, 1);
	const struct session_ops *ops = session->ops;
	session->ops = NULL;
	if (ops)
		ops->on_end(session->owner, session->up ? session->link : NULL, session->cut,
		            session->reason ? session->reason : "no memory for the reason");
	free_session(session);
}

static void set_reason(struct session *session, const char *text)
{
	if (!session->reason)
		session->reason = strdup(text);
}

// ---- out -----------------------------------------------------------------------------------------------------------

static void want(struct session *session)
{
	bool out = session->queue_length > 0 || (tls_conn_wants(session->tls) & LOOP_WRITE);
	// Once it is over nobody reads any more, and what still comes must not keep the loop awake.
	loop_io_want(session->io, (session->leaving ? 0 : LOOP_READ) | (out ? LOOP_WRITE : 0));
}

static int push(struct session *session)
{
	int r = tls_conn_flush(session->tls);
	while (r == 0 && session->queue_length > 0 && tls_conn_has_room(session->tls)) {
		size_t n = session->queue_length < LIMIT_UNIT_BYTES ? session->queue_length : LIMIT_UNIT_BYTES;
		r = tls_conn_send(session->tls, session->queue + session->queue_at, n);
		session->queue_at += n;
		session->queue_length -= n;
	}
	if (session->queue_length == 0) {
		free(session->queue);
		session->queue = NULL;
		session->queue_at = session->queue_size = 0;
	}
	return r == TLS_BLOCKED ? 0 : r;
}

static void on_send(void *owner, const uint8_t *frame, size_t length)
{
	struct session *session = owner;
	size_t end = session->queue_at + session->queue_length;
	// Hostile: a peer that does not read gets no more than this queued; the link ends at the next step.
	if (session->queue_length + length > LIMIT_CONTROL_QUEUE_BYTES) {
		set_reason(session, "the peer does not read its control connection");
		session->ended = true;
		return;
	}
	if (end + length > session->queue_size) {
		size_t size = session->queue_length + length + 4096;
		uint8_t *larger = malloc(size);
		if (!larger) {
			set_reason(session, "out of memory");
			session->ended = true;
			return;
		}
		if (session->queue_length > 0)
			memcpy(larger, session->queue + session->queue_at, session->queue_length);
		free(session->queue);
		session->queue = larger;
		session->queue_size = size;
		session->queue_at = 0;
		end = session->queue_length;
	}
	memcpy(session->queue + end, frame, length);
	session->queue_length += length;
}

// ---- what the engine asks and tells --------------------------------------------------------------------------------

static int on_export(void *owner, const uint8_t context[DIGEST_BYTES], struct secret *chain)
{
	struct session *session = owner;
	return tls_conn_export(session->tls, "EXPORTER-qanat-link", context, DIGEST_BYTES, chain);
}

// Lent as long as that HELLO.
static void take_names(struct link_peer *to, const struct control_hello *peer)
{
	to->node_name = peer->node_name;
	to->services = peer->services;
	to->device = peer->device;
}

static void drop_names(struct link_peer *to)
{
	to->node_name = to->services = to->device = "";
}

static enum control_reason judge_peer(void *owner, const struct control_hello *peer, struct grant *ours,
                                      char text[LIMIT_REASON_BYTES + 1])
{
	struct session *session = owner;
	struct link_peer *to = &session->beginning->peer;
	enum control_reason reason = CONTROL_REASON_NONE;
	take_names(to, peer);
	if (session->ops && session->ops->may_link)
		reason = session->ops->may_link(session->owner, to, text);
	bool is_initiator = session->role == CONTROL_INITIATOR;
	if (reason == CONTROL_REASON_NONE && !is_initiator && session->ops && session->ops->grant)
		reason = session->ops->grant(session->owner, to, ours, text);
	session->beginning->grant = is_initiator ? peer->grant : *ours;
	to->grant = &session->beginning->grant;
	drop_names(to);
	return reason;
}

static void on_hello(void *owner, const struct control_hello *peer, const uint8_t link_id[LINK_ID_BYTES])
{
	struct session *session = owner;
	struct beginning *beginning = session->beginning;
	memcpy(beginning->link.id, link_id, LINK_ID_BYTES);
	beginning->link.role = session->role;
	beginning->link.is_reverse = session->is_reverse;
	beginning->peer.terms = peer->terms;
	take_names(&beginning->peer, peer);
	int r = link_new(&beginning->link, &beginning->peer, &session->link);
	drop_names(&beginning->peer);
	if (r < 0) {
		set_reason(session, "out of memory");
		session->ended = true;
		return;
	}
	free(session->beginning);
	session->beginning = NULL;
}

static void on_epoch(void *owner, uint32_t epoch, uint8_t legs, struct secret *data)
{
	struct session *session = owner;
	if (!session->link)
		return;
	link_add_epoch(session->link, epoch, legs, data, loop_now_ms(session->loop));
	log_debug("session", "link %s: keys of epoch %u", link_name(session->link), epoch);
	if (session->up)
		return;
	session->up = true;
	counter_add(COUNTER_LINKS_OPENED, 1);
	(void)link_set_epoch_task(session->link, session->loop, &session->epoch_task);
	// The responder must know the link before its peer can dial on it: before EPOCH_ACCEPT leaves.
	if (!session->ops || !session->ops->on_up(session->owner, session->link)) {
		set_reason(session, "the link cannot be taken");
		session->ended = true;
	}
}

static void on_epoch_confirmed(void *owner, uint32_t epoch)
{
	struct session *session = owner;
	if (session->link && epoch > 1)
		log_info("session", "link %s: epoch %u is in use", link_name(session->link), epoch);
}

static void on_goaway(void *owner, enum control_reason reason, uint32_t deadline_ms)
{
	struct session *session = owner;
	log_info("session", "link %s: the peer takes no new streams (%s, ends within %u ms)",
	         session->link ? link_name(session->link) : "-", control_reason_name(reason), deadline_ms);
	if (session->up && session->ops)
		session->ops->on_goaway(session->owner, session->link);
}

static void on_open(void *owner, const struct control_open *open)
{
	struct session *session = owner;
	if (session->up && session->ops && !session->ended)
		session->ops->on_open(session->owner, session->link, open);
}

static void on_open_failed(void *owner, const uint8_t token[STREAM_TOKEN_BYTES], const struct header_answer *answer)
{
	struct session *session = owner;
	if (session->up && session->ops && !session->ended)
		session->ops->on_open_failed(session->owner, session->link, token, answer);
}

static void on_close(void *owner, enum control_reason reason, const char *text, bool by_peer)
{
	struct session *session = owner;
	char line[LIMIT_REASON_BYTES + 64];
	snprintf(line, sizeof line, "%s: %s%s%s", by_peer ? "closed by the peer" : "closed", control_reason_name(reason),
	         *text ? ": " : "", text);
	set_reason(session, line);
	session->ended = true;
	session->peer_reason = by_peer ? reason : CONTROL_REASON_NONE;
	// A peer that stops has waited for its streams or resets them itself; what it has sent must still be read to its
	// end. Streams of a peer that fell silent hang with it: their clients are told.
	session->cut = reason != CONTROL_REASON_SHUTDOWN;
}

static bool key_current(void *owner, uint8_t digest[DIGEST_BYTES])
{
	struct session *session = owner;
	return session->keyserver && keyserver_current(session->keyserver, digest);
}

static bool key_copy(void *owner, uint8_t *out, uint8_t digest[DIGEST_BYTES])
{
	struct session *session = owner;
	return session->keyserver && keyserver_copy(session->keyserver, out, digest);
}

static int key_decapsulate(void *owner, const uint8_t digest[DIGEST_BYTES], const uint8_t *ciphertext,
                           struct secret *shared)
{
	struct session *session = owner;
	if (!session->keyserver)
		return CONTROL_KEY_GONE;
	int r = keyserver_decapsulate(session->keyserver, digest, ciphertext, shared);
	return r == KEYSERVER_GONE ? CONTROL_KEY_GONE : r;
}

static const uint8_t *cache_lookup(void *owner, const uint8_t digest[DIGEST_BYTES])
{
	struct session *session = owner;
	return session->keycache ? keycache_lookup(session->keycache, digest) : NULL;
}

static bool cache_last(void *owner, uint8_t digest[DIGEST_BYTES])
{
	struct session *session = owner;
	return session->keycache && keycache_last(session->keycache, digest);
}

static void cache_store(void *owner, const uint8_t digest[DIGEST_BYTES], const uint8_t *key)
{
	struct session *session = owner;
	if (session->keycache)
		keycache_store(session->keycache, digest, key);
}

static const struct control_ops engine_ops = {
	.send = on_send,
	.export_chain = on_export,
	.judge_peer = judge_peer,
	.on_hello = on_hello,
	.on_epoch = on_epoch,
	.on_epoch_confirmed = on_epoch_confirmed,
	.on_goaway = on_goaway,
	.on_open = on_open,
	.on_open_failed = on_open_failed,
	.on_close = on_close,
	.key_current = key_current,
	.key_copy = key_copy,
	.key_decapsulate = key_decapsulate,
	.cache_lookup = cache_lookup,
	.cache_last = cache_last,
	.cache_store = cache_store,
};

// ---- steps ---------------------------------------------------------------------------------------------------------

static void rearm(struct session *session)
{
	uint64_t now = now_us(), due = control_deadline(session->control);
	loop_timer_arm(session->timer, due > now ? (due - now + 999) / 1000 : 0, 0);
}

// The link is over for us: what is queued (CLOSE) may still leave, then we go.
static void leave(struct session *session)
{
	if (!session->leaving) {
		session->leaving = true;
		if (session->link)
			link_shut(session->link);
		loop_timer_arm(session->timer, FAREWELL_MS, 0);
	}
	int r = push(session);
	// Behind CLOSE goes close_notify: without it the socket would be reset, and what is on its way with it.
	if (r == 0 && session->queue_length == 0)
		r = tls_conn_finish(session->tls);
	if (r == 0 && (session->queue_length > 0 || (tls_conn_wants(session->tls) & LOOP_WRITE))) {
		want(session);
		return;
	}
	finish(session);
}

// The end is said at once, or by the step that is under way: the engine lets go of what it works on when it is closed.
static void close_engine(struct session *session, enum control_reason reason, const char *text)
{
	if (!session->stepping) {
		control_close(session->control, reason, text);
	} else if (session->wanted_end == CONTROL_REASON_NONE) {
		session->wanted_end = reason;
		session->wanted_text = strdup(text);
	}
}

static void end_step(struct session *session)
{
	session->stepping = false;
	if (session->wanted_end != CONTROL_REASON_NONE)
		control_close(session->control, session->wanted_end, session->wanted_text ? session->wanted_text : "");
}

static void after_engine(struct session *session, int r)
{
	// From within a callback of the engine: sending may fail and free the session under it. The step sends it.
	if (session->stepping)
		return;
	if (r < 0)
		set_reason(session, outcome_text(r));
	if (session->ended || r < 0) {
		leave(session);
		return;
	}
	if (push(session) != 0) {
		set_reason(session, "connection lost");
		finish(session);
		return;
	}
	if (session->link) {
		struct control_state state;
		control_read(session->control, &state);
		link_set_rtt(session->link, state.rtt_us);
	}
	// A control connection says little and is open for long: its buffers (some 35 KiB) are made again when needed.
	if (session->queue_length == 0 && !(tls_conn_wants(session->tls) & LOOP_WRITE))
		tls_conn_trim(session->tls);
	rearm(session);
	want(session);
}

static int receive(struct session *session)
{
	uint8_t bytes[16384];
	for (;;) {
		size_t got;
		int r = tls_conn_recv(session->tls, bytes, sizeof bytes, &got);
		if (r == TLS_BLOCKED)
			return 0;
		if (r != 0) {
			char detail[TLS_EXPLANATION_BYTES] = "ended without CLOSE", text[TLS_EXPLANATION_BYTES + 32];
			if (r != TLS_END)
				tls_conn_explain(session->tls, detail);
			snprintf(text, sizeof text, "control connection lost: %s", detail);
			set_reason(session, text);
			return -ECONNRESET;
		}
		if (session->link)
			link_set_heard(session->link, loop_now_ms(session->loop));
		r = control_receive(session->control, bytes, got, now_us());
		if (r != 0)
			return r == CONTROL_ENDED ? 0 : r;
	}
}

// Spec: docs/protocol.md, "Data connections": an expired certificate ends what it opened, noticed at a heartbeat.
// Hostile: also whenever something comes, because each frame of a peer that answers no PING puts the timer off.
static void end_if_expired(struct session *session)
{
	if (!session->ended && clock_wall_s() > session_peer(session)->certificate.not_after)
		control_close(session->control, CONTROL_REASON_EXPIRED, "the peer's certificate has expired");
}

static void on_io(void *owner, int events)
{
	struct session *session = owner;
	if (session->leaving) {
		leave(session);
		return;
	}
	int r = 0;
	end_if_expired(session);
	if (events & LOOP_READ && !session->ended) {
		tls_conn_readable(session->tls);
		session->stepping = true;
		r = receive(session);
		end_step(session);
	}
	if (r == -ECONNRESET && !session->ended) {
		finish(session);
		return;
	}
	after_engine(session, r);
}

static void on_timer(void *owner)
{
	struct session *session = owner;
	if (session->leaving) {
		finish(session);
		return;
	}
	end_if_expired(session);
	session->stepping = true;
	int r = control_tick(session->control, now_us());
	end_step(session);
	after_engine(session, r == CONTROL_ENDED ? 0 : r);
}

static void on_epoch_task(struct loop_task *task)
{
	struct session *session = CONTAINER_OF(task, struct session, epoch_task);
	if (!session->tls) {
		free(session); // closed while the task was on its way
		return;
	}
	link_epoch_task_ran(session->link);
	session_want_epoch(session);
}

// ---- life ----------------------------------------------------------------------------------------------------------

static void describe_peer(struct beginning *beginning)
{
	const struct identity_text *certificate = &beginning->certificate;
	const struct tls_text *tls = &beginning->tls;
	beginning->peer = (struct link_peer){.address = beginning->address,
	                                     .certificate = {.subject = certificate->subject,
	                                                     .issuer = certificate->issuer,
	                                                     .common_name = certificate->common_name,
	                                                     .fingerprint = certificate->fingerprint,
	                                                     .not_before = certificate->not_before,
	                                                     .not_after = certificate->not_after},
	                                     .tls = {.version = tls->version,
	                                             .group = tls->group,
	                                             .cipher = tls->cipher,
	                                             .signature_own = tls->signature_own,
	                                             .signature_peer = tls->signature_peer}};
	drop_names(&beginning->peer);
}

static int prepare(struct session *session, const struct session_settings *settings, const char *peer_address)
{
	X509 *x509 = tls_conn_peer_certificate(session->tls);
	struct beginning *beginning = calloc(1, sizeof *beginning);
	if (!beginning)
		return -ENOMEM;
	session->beginning = beginning;
	beginning->control = settings->control;
	beginning->link = settings->link;
	identity_describe(x509, &beginning->certificate);
	tls_conn_describe(session->tls, &beginning->tls);
	snprintf(beginning->address, sizeof beginning->address, "%s", peer_address);
	describe_peer(beginning);
	beginning->peer.x509 = x509; // lives as long as the connection; the link takes a reference
	beginning->peer.chain = tls_conn_peer_chain(session->tls); // likewise
	struct control_settings *control = &beginning->control;
	bool is_initiator = session->role == CONTROL_INITIATOR;
	memcpy(is_initiator ? control->cert_i_digest : control->cert_r_digest, settings->own_certificate_digest,
	       DIGEST_BYTES);
	return identity_digest(x509, is_initiator ? control->cert_r_digest : control->cert_i_digest);
}

int session_start(const struct session_settings *settings, struct tls_conn **tls, const char *peer_address,
                  const struct session_ops *ops, void *owner, struct session **out)
{
	struct session *session = calloc(1, sizeof *session);
	if (!session)
		return -ENOMEM;
	session->loop = settings->loop;
	session->keyserver = settings->keyserver;
	session->keycache = settings->keycache;
	session->role = settings->control.role;
	session->is_reverse = settings->control.hello.features & HELLO_REVERSE;
	session->tls = *tls;
	session->ops = ops;
	session->owner = owner;
	session->release.run = release;
	session->epoch_task.run = on_epoch_task;
	*out = session;
	int r = prepare(session, settings, peer_address);
	if (r == 0)
		r = control_new(&session->beginning->control, &engine_ops, session, &session->control);
	if (r == 0)
		r = loop_timer_open(settings->loop, on_timer, session, &session->timer);
	if (r == 0)
		r = loop_io_open(settings->loop, tls_conn_fd(session->tls), on_io, session, &session->io);
	if (r < 0) {
		session->tls = NULL;
		free_session(session);
		*out = NULL;
		return r;
	}
	*tls = NULL;
	tls_conn_set_owner(session->tls, session);
	log_debug("session", "control connection with %s stands as %s", peer_address, role_of(session));
	r = control_start(session->control, now_us());
	// Never from within this call: an engine that fails at once is finished by its timer.
	if (r != 0 || session->ended) {
		set_reason(session, "the engine did not start");
		session->ended = true;
		loop_timer_arm(session->timer, 0, 0);
		want(session);
		return 0;
	}
	if (push(session) != 0)
		session->ended = true;
	rearm(session);
	want(session);
	return 0;
}

void session_close(struct session **slot, enum control_reason reason, const char *text)
{
	struct session *session = *slot;
	*slot = NULL;
	if (!session)
		return;
	session->ops = NULL;
	if (!session->ended)
		close_engine(session, reason, text);
	session->ended = true;
	if (!session->leaving && !session->stepping)
		leave(session);
}

void session_goaway(struct session *session, uint32_t deadline_ms)
{
	control_goaway(session->control, CONTROL_REASON_SHUTDOWN, deadline_ms);
	after_engine(session, 0);
}

enum control_reason session_peer_reason(const struct session *session)
{
	return session->peer_reason;
}

void session_end(struct session *session, enum control_reason reason, const char *text)
{
	if (session->leaving || session->ended)
		return;
	// First: the peer may end its streams before it is told here.
	if (session->link && reason != CONTROL_REASON_SHUTDOWN)
		link_set_cut(session->link, text);
	close_engine(session, reason, text);
	after_engine(session, 0);
}

bool session_judge(struct session *session, struct identity *identity, const struct tls_options *wanted)
{
	char text[TLS_EXPLANATION_BYTES];
	int failure = tls_conn_judge_again(session->tls, identity, wanted, text);
	if (failure == TLS_FAILURE_NONE)
		return true;
	if (session->leaving || session->ended) {
		session->cut = true; // it is over already, but its streams may not go on
		return true;
	}
	counter_add(COUNTER_LINKS_REJUDGED, 1);
	session_end(session,
	            failure == TLS_FAILURE_REVOKED   ? CONTROL_REASON_REVOKED
	            : failure == TLS_FAILURE_EXPIRED ? CONTROL_REASON_EXPIRED
	                                             : CONTROL_REASON_PEER_POLICY,
	            text);
	return false;
}

void session_open(struct session *session, const struct control_open *open)
{
	if (session->leaving || session->ended)
		return;
	control_open(session->control, open);
	after_engine(session, 0);
}

void session_open_failed(struct session *session, const uint8_t token[STREAM_TOKEN_BYTES],
                         const struct header_answer *answer)
{
	if (session->leaving || session->ended)
		return;
	control_open_failed(session->control, token, answer);
	after_engine(session, 0);
}

void session_probe(struct session *session)
{
	if (session->leaving || session->ended)
		return;
	control_probe(session->control, now_us());
	after_engine(session, 0);
}

void session_want_epoch(struct session *session)
{
	if (session->leaving || session->ended)
		return;
	control_want_epoch(session->control, now_us());
	after_engine(session, 0);
}

const struct link_peer *session_peer(const struct session *session)
{
	return session->link ? link_peer(session->link) : &session->beginning->peer;
}

struct link *session_link(const struct session *session)
{
	return session->up ? session->link : NULL;
}
