#include "link/responder.h"

#include "core/counter.h"
#include "core/log.h"
#include "crypto/digest.h"
#include "link/leftovers.h"
#include "link/responder_line.h"
#include "link/verdict.h"
#include "net/socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// How often streams that outlived their link are looked at.
#define CARE_MS 500
// Refused strangers shown in the log per second and worker; the rest is only counted.
#define REFUSALS_LOGGED_PER_S 10
_Static_assert(4 * LIMIT_LINKS < LIMIT_SECRETS, "the keys of as many links fit");

struct visitor {
	struct responder *responder;
	struct address peer;
	int fd; // until the first byte
	struct tls_conn *tls;
	struct loop_io *io;
	bool admitted;           // holds a place in the gate
	struct line_place place; // in line for one
	bool too_late;           // has waited in vain
	bool has_greeted;        // its ClientHello was read
	unsigned age;            // of the responder's settings when its handshake began
	bool leaving;            // refused: waits, until its deadline, for the peer to have read the alert and gone
	uint64_t due_ms;
	struct link *link; // of the PSK it presented
	struct psk_identity psk;
	struct visitor *older, *newer;
	struct loop_task release;
};

struct guest { // a control connection that stands
	struct responder *responder;
	struct session *session;
	bool is_refused; // its owner would not take the link
	struct guest *next;
};

struct responder {
	struct responder_settings settings;
	const struct responder_ops *ops;
	void *owner;
	struct tls_profile *profile;
	uint8_t own_digest[DIGEST_BYTES];
	unsigned age; // counts responder_set
	struct visitor *oldest, *newest;
	struct visitor *quiet; // none that is older has yet to greet
	unsigned pending;
	struct line line; // of them
	struct loop_timer *timer, *turn;
	struct guest *guests;
	struct leftovers left;
	struct loop_timer *care; // while any are left
	uint64_t log_second;
	unsigned logged;
};

// ---- visitors ------------------------------------------------------------------------------------------------------

static void visitor_release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct visitor, release));
}

static void line_up(struct visitor *visitor)
{
	struct responder *responder = visitor->responder;
	line_join(&responder->line, &visitor->place, &visitor->peer.any, loop_now_ms(responder->settings.loop));
	if (responder->line.count == 1)
		loop_timer_arm(responder->turn, LIMIT_LINE_TURN_MS, LIMIT_LINE_TURN_MS);
}

static void visitor_drop(struct visitor *visitor)
{
	struct responder *responder = visitor->responder;
	if (visitor->older)
		visitor->older->newer = visitor->newer;
	else
		responder->oldest = visitor->newer;
	if (visitor->newer)
		visitor->newer->older = visitor->older;
	else
		responder->newest = visitor->older;
	if (responder->quiet == visitor)
		responder->quiet = visitor->newer;
	responder->pending--;
	line_leave(&responder->line, &visitor->place);
	if (visitor->admitted)
		gate_leave(responder->settings.gate, &visitor->peer.any);
	loop_io_close(&visitor->io);
	socket_close(&visitor->fd);
	tls_conn_free(&visitor->tls);
	link_unref(&visitor->link);
	loop_defer(responder->settings.loop, &visitor->release);
}

static bool may_log(struct responder *responder)
{
	uint64_t second = loop_now_ms(responder->settings.loop) / 1000;
	if (second != responder->log_second) {
		responder->log_second = second;
		responder->logged = 0;
	}
	return responder->logged++ < REFUSALS_LOGGED_PER_S;
}

static void log_refusal(struct visitor *visitor, const char *reason, const char *detail)
{
	if (may_log(visitor->responder)) {
		char peer[ADDRESS_TEXT_BYTES];
		address_format(&visitor->peer, peer);
		log_warn("responder", "refused %s: %s%s%s%s", peer, reason, *detail ? " (" : "", detail, *detail ? ")" : "");
	}
}

static void refuse(struct visitor *visitor, const char *reason, const char *detail)
{
	log_refusal(visitor, reason, detail);
	visitor_drop(visitor);
}

// ---- what the TLS listener asks ------------------------------------------------------------------------------------

static int on_hello(void *owner, struct tls_conn *conn, enum tls_kind kind)
{
	(void)conn;
	struct visitor *visitor = owner;
	struct responder *responder = visitor->responder;
	const struct sockaddr *peer = &visitor->peer.any;
	visitor->has_greeted = true;
	if (kind == TLS_DATA || visitor->admitted)
		return TLS_FAILURE_NONE;
	if (visitor->place.waits)
		return TLS_HELLO_LATER;
	if (visitor->too_late) {
		counter_add(COUNTER_ADMISSION_IN_FLIGHT, 1);
		return TLS_FAILURE_ADMISSION;
	}
	// Only certificates are expensive; a data connection costs its link, which is known by name.
	switch (gate_enter(responder->settings.gate, peer, line_state(&responder->line, peer),
	                   loop_now_ms(responder->settings.loop))) {
	case GATE_IN:
		visitor->admitted = true;
		return TLS_FAILURE_NONE;
	case GATE_LATER:
		line_up(visitor);
		return TLS_HELLO_LATER;
	default:
		return TLS_FAILURE_ADMISSION;
	}
}

static int find_psk(void *owner, struct tls_conn *conn, const uint8_t *identity, size_t length, struct secret *psk)
{
	(void)conn;
	struct visitor *visitor = owner;
	struct responder *responder = visitor->responder;
	if (psk_identity_decode(identity, length, &visitor->psk) != 0)
		return TLS_FAILURE_PSK_MALFORMED;
	link_unref(&visitor->link);
	visitor->link = registry_find(responder->settings.registry, visitor->psk.link_id);
	if (!visitor->link)
		return TLS_FAILURE_PSK_UNKNOWN_LINK;
	return link_find_psk(visitor->link, &visitor->psk, loop_now_ms(responder->settings.loop), psk);
}

static int burn_psk(void *owner, struct tls_conn *conn)
{
	(void)conn;
	struct visitor *visitor = owner;
	return link_burn_psk(visitor->link, &visitor->psk, loop_now_ms(visitor->responder->settings.loop));
}

static const struct tls_listener_ops listener_ops = {.on_hello = on_hello, .find_psk = find_psk, .burn_psk = burn_psk};

static int judge_by_name(void *owner, X509 *certificate)
{
	struct responder *responder = owner;
	const struct responder_settings *settings = &responder->settings;
	for (size_t i = 0; i < settings->allowed_count; i++)
		if (identity_matches(certificate, settings->allowed_peers[i]))
			return TLS_FAILURE_NONE;
	return settings->allowed_count == 0 ? TLS_FAILURE_NONE : TLS_FAILURE_NOT_ALLOWED;
}

static int judge(void *owner, X509 *certificate)
{
	struct visitor *visitor = owner;
	return judge_by_name(visitor->responder, certificate);
}

// ---- links ---------------------------------------------------------------------------------------------------------

static void guest_drop(struct guest *guest)
{
	struct guest **at = &guest->responder->guests;
	while (*at != guest)
		at = &(*at)->next;
	*at = guest->next;
	free(guest);
}

static enum control_reason may_link(void *owner, const struct link_peer *peer, char text[LIMIT_REASON_BYTES + 1])
{
	struct guest *guest = owner;
	struct responder *responder = guest->responder;
	if (!responder->ops->may_link)
		return CONTROL_REASON_NONE;
	return responder->ops->may_link(responder->owner, peer, text);
}

static enum control_reason grant(void *owner, const struct link_peer *peer, struct grant *given,
                                 char text[LIMIT_REASON_BYTES + 1])
{
	struct guest *guest = owner;
	struct responder *responder = guest->responder;
	if (!responder->ops->grant)
		return CONTROL_REASON_NONE;
	return responder->ops->grant(responder->owner, peer, given, text);
}

static void leave_tables(struct responder *responder, struct link *link)
{
	registry_remove(responder->settings.registry, link);
	if (responder->settings.reverse)
		reverse_link_down(responder->settings.reverse, link);
}

static bool on_up(void *owner, struct link *link)
{
	struct guest *guest = owner;
	struct responder *responder = guest->responder;
	const struct link_peer *peer = link_peer(link);
	// Hostile: links are bounded too, whoever's certificate they stand on.
	if (registry_count(responder->settings.registry) >= LIMIT_LINKS ||
	    registry_add(responder->settings.registry, link) != 0) {
		counter_add(COUNTER_ADMISSION_LINKS, 1);
		log_error("responder", "link %s refused: %zu links are open (at most %d)", link_name(link),
		          registry_count(responder->settings.registry), LIMIT_LINKS);
		return false;
	}
	struct link_state state;
	link_read(link, &state);
	log_info("responder", "link %s with %s (%s, %s) is up: %s, %s, epoch %u of %s", link_name(link), peer->node_name,
	         peer->address, peer->certificate.subject, peer->tls.group, peer->tls.signature_peer, state.epoch,
	         link_legs_text(state.legs));
	if (responder->settings.reverse && reverse_link_up(responder->settings.reverse, link, guest->session) < 0) {
		registry_remove(responder->settings.registry, link);
		return false;
	}
	if (responder->ops->on_up(responder->owner, link))
		return true;
	leave_tables(responder, link);
	guest->is_refused = true;
	return false;
}

static void on_left_cut(void *owner, struct link *link)
{
	struct responder *responder = owner;
	responder->ops->on_down(responder->owner, link, true);
}

static void on_care(void *owner)
{
	static const struct leftovers_ops ops = {.cut = on_left_cut};
	struct responder *responder = owner;
	leftovers_sift(&responder->left, loop_now_ms(responder->settings.loop), &ops, responder);
	if (!responder->left.first)
		loop_timer_disarm(responder->care);
}

// Spec: docs/protocol.md, "Limits and clocks", Standstill: no new keys for two intervals is the end.
static bool leave_behind(struct responder *responder, struct link *link)
{
	uint64_t patience_ms = control_patience_ms(&responder->settings.control);
	if (!leftovers_add(&responder->left, link, "", loop_now_ms(responder->settings.loop), patience_ms))
		return false;
	loop_timer_arm(responder->care, CARE_MS, CARE_MS);
	return true;
}

static void on_end(void *owner, struct link *link, bool cut, const char *reason)
{
	struct guest *guest = owner;
	struct responder *responder = guest->responder;
	bool was_refused = guest->is_refused;
	guest_drop(guest);
	if (!link) {
		counter_add(COUNTER_LINK_REFUSED, 1);
		log_warn("responder", "a control connection ended before its link was up: %s", reason);
		return;
	}
	log_info("responder", "link %s is down: %s", link_name(link), reason);
	link_set_error(link, reason);
	leave_tables(responder, link);
	if (was_refused)
		return;
	if (!cut)
		cut = !leave_behind(responder, link);
	responder->ops->on_down(responder->owner, link, cut);
}

static void on_goaway(void *owner, struct link *link)
{
	(void)owner;
	(void)link; // the initiator opens the streams: when it says it will not, there is nothing to stop
}

static void on_open_failed(void *owner, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                           const struct header_answer *answer)
{
	struct guest *guest = owner;
	reverse_on_failed(guest->responder->settings.reverse, link, token, answer);
}

static const struct session_ops session_ops = {.may_link = may_link,
                                               .grant = grant,
                                               .on_up = on_up,
                                               .on_end = on_end,
                                               .on_goaway = on_goaway,
                                               .on_open_failed = on_open_failed};

static int welcome_control(struct visitor *visitor)
{
	struct responder *responder = visitor->responder;
	struct guest *guest = calloc(1, sizeof *guest);
	if (!guest)
		return -ENOMEM;
	guest->responder = responder;
	guest->next = responder->guests;
	responder->guests = guest;
	char peer[ADDRESS_TEXT_BYTES];
	address_format(&visitor->peer, peer);
	socket_set_user_timeout(tls_conn_fd(visitor->tls), responder->settings.user_timeout_ms);
	struct session_settings settings = {
		.loop = responder->settings.loop,
		.control = responder->settings.control,
		.link = responder->settings.link,
		.own_certificate_digest = responder->own_digest,
		.keyserver = responder->settings.keyserver,
	};
	int r = session_start(&settings, &visitor->tls, peer, &session_ops, guest, &guest->session);
	if (r < 0)
		guest_drop(guest);
	return r;
}

// ---- steps ---------------------------------------------------------------------------------------------------------

// The visitor has proved who it is.
static void welcome(struct visitor *visitor)
{
	struct responder *responder = visitor->responder;
	loop_io_close(&visitor->io);
	// Hostile: a handshake held open over a reload was judged by the CAs and lists of before, and would stand for good.
	if (tls_conn_kind(visitor->tls) == TLS_CONTROL && visitor->age != responder->age) {
		counter_add(COUNTER_LINK_REFUSED, 1);
		refuse(visitor, "its handshake began before the configuration was read again", "");
		return;
	}
	int r;
	if (tls_conn_kind(visitor->tls) == TLS_DATA) {
		struct reverse_worker *reverse = responder->settings.reverse;
		r = reverse ? stream_accept(responder->settings.loop, &visitor->tls, visitor->link, reverse_on_header, reverse)
		            : stream_accept(responder->settings.loop, &visitor->tls, visitor->link, responder->ops->on_header,
		                            responder->owner);
	} else {
		counter_add(COUNTER_HANDSHAKE_CONTROL_OK, 1);
		r = welcome_control(visitor);
	}
	if (r < 0) {
		counter_add(COUNTER_ADMISSION_RESOURCES, 1);
		refuse(visitor, "cannot take the connection", outcome_text(r));
		return;
	}
	visitor_drop(visitor);
}

// The alert that says why is on its way, and the peer may have sent its HELLO already: closing now would answer that
// with a reset, which overtakes the alert. So what comes is thrown away until the peer goes, or its deadline comes.
static void turn_away(struct visitor *visitor)
{
	enum tls_failure failure = tls_conn_failure(visitor->tls);
	verdict_count(failure);
	log_refusal(visitor, tls_failure_name(failure),
	            failure == TLS_FAILURE_NO_GROUP ? tls_pq_demand(visitor->responder->settings.pq)
	                                            : tls_conn_problem(visitor->tls));
	if (tls_conn_kind(visitor->tls) != TLS_CONTROL || failure == TLS_FAILURE_CLOSED ||
	    shutdown(tls_conn_fd(visitor->tls), SHUT_WR) != 0) {
		visitor_drop(visitor);
		return;
	}
	if (visitor->admitted)
		gate_leave(visitor->responder->settings.gate, &visitor->peer.any);
	visitor->admitted = false;
	visitor->leaving = true;
	loop_io_want(visitor->io, LOOP_READ);
}

static void see_off(struct visitor *visitor)
{
	uint8_t ignored[16384];
	ssize_t n = recv(tls_conn_fd(visitor->tls), ignored, sizeof ignored, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		visitor_drop(visitor);
}

static void handshake_step(struct visitor *visitor)
{
	int r = tls_conn_flush(visitor->tls);
	if (r == 0 || r == TLS_BLOCKED)
		r = tls_conn_handshake(visitor->tls);
	if (r == 0 || (r == TLS_BLOCKED && tls_conn_is_proved(visitor->tls))) {
		welcome(visitor);
		return;
	}
	if (r == TLS_BLOCKED) {
		loop_io_want(visitor->io, tls_conn_wants(visitor->tls));
		return;
	}
	turn_away(visitor);
}

// The first ones of the line, as far as there are places. One that is let in may be gone afterwards, and the one behind
// it is known before.
static void on_turn(void *owner)
{
	struct responder *responder = owner;
	uint64_t now = loop_now_ms(responder->settings.loop);
	unsigned begun = 0;
	for (struct line_place *place = responder->line.first, *behind; place && begun < LIMIT_LINE_TURN; place = behind) {
		struct visitor *visitor = CONTAINER_OF(place, struct visitor, place);
		behind = place->behind;
		int r = line_turn(&responder->line, place, responder->settings.gate, now);
		if (r == LINE_STAYS)
			continue;
		if (r == LINE_STOPS)
			break;
		visitor->admitted = r == LINE_IN;
		visitor->too_late = r == LINE_TOO_LATE;
		begun++;
		handshake_step(visitor);
	}
	if (responder->line.count == 0)
		loop_timer_disarm(responder->turn);
}

// One that waits in line has nothing to say: it has hung up, or is no good.
static void look_at_waiting(struct visitor *visitor)
{
	uint8_t byte;
	ssize_t n = recv(tls_conn_fd(visitor->tls), &byte, 1, MSG_PEEK);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		counter_add(COUNTER_HANDSHAKE_CLOSED, 1);
		visitor_drop(visitor);
	} else if (n > 0) {
		loop_io_want(visitor->io, 0);
	}
}

static void on_io(void *owner, int events)
{
	struct visitor *visitor = owner;
	struct responder *responder = visitor->responder;
	if (visitor->leaving) {
		see_off(visitor);
		return;
	}
	if (visitor->place.waits) {
		look_at_waiting(visitor);
		return;
	}
	if (!visitor->tls) {
		// The first byte is there: only now is it worth a TLS state.
		struct tls_options options = {.owner = visitor, .judge = judge};
		visitor->age = responder->age;
		if (tls_conn_new(responder->profile, &visitor->fd, &options, &visitor->tls) < 0) {
			refuse(visitor, "out of memory", "");
			return;
		}
	}
	if (events & LOOP_READ)
		tls_conn_readable(visitor->tls);
	handshake_step(visitor);
}

static void arm(struct responder *responder)
{
	if (!responder->oldest) {
		loop_timer_disarm(responder->timer);
		return;
	}
	uint64_t now = loop_now_ms(responder->settings.loop), due = responder->oldest->due_ms;
	loop_timer_arm(responder->timer, due > now ? due - now : 0, 0);
}

// All visitors have the same deadline after their arrival, so the oldest one's is the next.
static void on_timer(void *owner)
{
	struct responder *responder = owner;
	uint64_t now = loop_now_ms(responder->settings.loop);
	while (responder->oldest && responder->oldest->due_ms <= now) {
		if (responder->oldest->leaving) {
			refuse(responder->oldest, "too many connections have proved nothing yet", "this is the oldest");
			continue;
		}
		counter_add(COUNTER_HANDSHAKE_TIMEOUT, 1);
		refuse(responder->oldest, "no handshake in time", "");
	}
	arm(responder);
}

// Hostile: a flood pushes out the oldest stranger that has not greeted, then the oldest of all: so an honest one that
// finishes at once always gets through, and mere connects push out none that waits in line.
static void make_room(struct responder *responder)
{
	while (responder->quiet && responder->quiet->has_greeted)
		responder->quiet = responder->quiet->newer;
	counter_add(COUNTER_ADMISSION_PENDING, 1);
	visitor_drop(responder->quiet ? responder->quiet : responder->oldest);
}

void responder_take(struct responder *responder, int *fd, const struct address *peer)
{
	if (!gate_allows_source(responder->settings.gate, &peer->any)) {
		socket_close(fd);
		return;
	}
	if (responder->pending >= LIMIT_PENDING_PER_WORKER)
		make_room(responder);
	struct visitor *visitor = calloc(1, sizeof *visitor);
	if (!visitor) {
		socket_close(fd);
		return;
	}
	socket_tune(*fd, &(struct socket_options){.congestion = responder->settings.congestion,
	                                          .keepalive_ms = responder->settings.keepalive_ms});
	visitor->responder = responder;
	visitor->peer = *peer;
	visitor->fd = *fd;
	visitor->release.run = visitor_release;
	visitor->due_ms = loop_now_ms(responder->settings.loop) + responder->settings.handshake_ms;
	visitor->older = responder->newest;
	if (responder->newest)
		responder->newest->newer = visitor;
	else
		responder->oldest = visitor;
	responder->newest = visitor;
	if (!responder->quiet)
		responder->quiet = visitor;
	responder->pending++;
	*fd = -1;
	if (loop_io_open(responder->settings.loop, visitor->fd, on_io, visitor, &visitor->io) < 0) {
		visitor_drop(visitor);
		return;
	}
	loop_io_want(visitor->io, LOOP_READ);
	if (responder->pending == 1)
		arm(responder);
}

// ---- life ----------------------------------------------------------------------------------------------------------

int responder_new(const struct responder_settings *settings, const struct responder_ops *ops, void *owner,
                  struct responder **out)
{
	struct responder *responder = calloc(1, sizeof *responder);
	if (!responder)
		return -ENOMEM;
	responder->settings = *settings;
	responder->ops = ops;
	responder->owner = owner;
	int r = identity_digest(identity_certificate(settings->identity), responder->own_digest);
	if (r == 0)
		r = tls_profile_listener(settings->identity, settings->pq, &listener_ops, &responder->profile);
	if (r == 0)
		r = loop_timer_open(settings->loop, on_timer, responder, &responder->timer);
	if (r == 0)
		r = loop_timer_open(settings->loop, on_turn, responder, &responder->turn);
	if (r == 0)
		r = loop_timer_open(settings->loop, on_care, responder, &responder->care);
	if (r < 0)
		responder_free(&responder, CONTROL_REASON_SHUTDOWN);
	else
		*out = responder;
	return r;
}

static void judge_guests(struct responder *responder)
{
	const struct responder_settings *settings = &responder->settings;
	struct tls_options wanted = {.judge = judge_by_name, .owner = responder};
	for (struct guest *guest = responder->guests, *next; guest; guest = next) {
		next = guest->next;
		if (!tls_pq_allows(settings->pq, session_peer(guest->session)->tls.group)) {
			counter_add(COUNTER_LINKS_REJUDGED, 1);
			session_end(guest->session, CONTROL_REASON_PEER_POLICY, tls_pq_demand(settings->pq));
		} else {
			(void)session_judge(guest->session, settings->identity, &wanted);
		}
	}
}

static bool judge_left(void *owner, const struct leftover *leftover, char text[TLS_EXPLANATION_BYTES])
{
	struct responder *responder = owner;
	const struct responder_settings *settings = &responder->settings;
	const struct link_peer *peer = link_peer(leftover->link);
	struct tls_options wanted = {.judge = judge_by_name, .owner = responder};
	if (tls_pq_allows(settings->pq, peer->tls.group))
		return tls_judge_certificate(peer->x509, peer->chain, IDENTITY_CLIENT, settings->identity, &wanted, text) ==
		       TLS_FAILURE_NONE;
	snprintf(text, TLS_EXPLANATION_BYTES, "%s", tls_pq_demand(settings->pq));
	return false;
}

static const struct leftovers_ops left_ops = {.judge = judge_left, .cut = on_left_cut};

int responder_set(struct responder *responder, const struct responder_settings *settings)
{
	struct tls_profile *profile = NULL;
	uint8_t digest[DIGEST_BYTES];
	int r = identity_digest(identity_certificate(settings->identity), digest);
	if (r == 0)
		r = tls_profile_listener(settings->identity, settings->pq, &listener_ops, &profile);
	if (r < 0)
		return r;
	tls_profile_free(&responder->profile);
	responder->profile = profile;
	memcpy(responder->own_digest, digest, sizeof digest);
	struct responder_settings old = responder->settings;
	responder->settings = *settings;
	responder->settings.loop = old.loop;
	responder->settings.registry = old.registry;
	responder->settings.gate = old.gate;
	responder->settings.reverse = old.reverse;
	responder->age++;
	judge_guests(responder);
	leftovers_sift(&responder->left, loop_now_ms(old.loop), &left_ops, responder);
	return 0;
}

void responder_free(struct responder **slot, enum control_reason reason)
{
	struct responder *responder = *slot;
	*slot = NULL;
	if (!responder)
		return;
	while (responder->oldest)
		visitor_drop(responder->oldest);
	stream_drop_unowned(); // their headers would have nobody to go to
	while (responder->guests) {
		struct guest *guest = responder->guests;
		responder->guests = guest->next;
		struct link *link = session_link(guest->session);
		if (link)
			leave_tables(responder, link);
		session_close(&guest->session, reason, responder->settings.reverse ? "hub stops" : "dest stops");
		free(guest);
	}
	leftovers_drop(&responder->left);
	loop_timer_close(&responder->timer);
	loop_timer_close(&responder->turn);
	loop_timer_close(&responder->care);
	tls_profile_free(&responder->profile);
	free(responder);
}

void responder_end_link(struct responder *responder, const struct link *link, enum control_reason reason,
                        const char *text)
{
	for (struct guest *guest = responder->guests; guest; guest = guest->next)
		if (session_link(guest->session) == link) {
			session_end(guest->session, reason, text);
			return;
		}
}

void responder_goaway(struct responder *responder, uint32_t deadline_ms)
{
	for (struct guest *guest = responder->guests, *next; guest; guest = next) {
		next = guest->next;
		session_goaway(guest->session, deadline_ms);
	}
}
