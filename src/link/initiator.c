// Theory of operation. A line is a control connection that stands. At most one of them is fresh (not up yet), at most
// one is in use (new streams go there), the others retire: they were in use, and are closed when their last stream has
// ended. Attempts at a new line (initiator_dial.c) go on, one at a time, while none is in use, and while the one in use
// is to be replaced (`wish`). When a fresh line comes up it is the one in use, and its predecessor retires.

#include "link/initiator.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "core/secret.h"
#include "link/initiator_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How often retiring links, fail-back and expiry are looked at.
#define CARE_MS 250
// A link that has a successor is kept at least so long: workers hear of it by mail, and what they begin meanwhile
// counts.
#define RETIRE_MS 1000
// A link that lived so long was no accident: with several dests the next one is tried at once.
#define SETTLED_MS 5000
// When the network has changed: so long a peer that stands may say nothing, or four round trips; and so long an attempt
// has gone on when it is not expected to find its way any more.
#define SIGN_OF_LIFE_MS 1500
#define STALE_MS 1000
// A peer's certificate is looked for anew so long before the old one expires, or when a tenth of its life is left.
#define EXPIRY_LEAD_S 600

static const char about_to_expire[] = "its certificate is about to expire";
static const char other_certificate[] = "we have another certificate";

// ---- lines ---------------------------------------------------------------------------------------------------------

unsigned initiator_retiring(const struct initiator *initiator)
{
	unsigned count = 0;
	for (const struct line *line = initiator->lines; line; line = line->next)
		count += line->link && line != initiator->in_use;
	return count;
}

static void line_drop(struct line *line)
{
	struct initiator *initiator = line->initiator;
	struct line **at = &initiator->lines;
	while (*at != line)
		at = &(*at)->next;
	*at = line->next;
	if (initiator->in_use == line)
		initiator->in_use = NULL;
	if (initiator->fresh == line)
		initiator->fresh = NULL;
	link_unref(&line->link);
	free(line);
}

static void retire(struct line *line)
{
	line->has_successor = true;
	line->retired_ms = loop_now_ms(line->initiator->settings.loop);
	if (line->initiator->in_use == line)
		line->initiator->in_use = NULL;
}

// A link that was to bring a newer certificate shows the old one: if it took over, its predecessor would be one of the
// few that may retire at once, for nothing.
static bool is_in_vain(const struct initiator *initiator, const struct link_peer *peer)
{
	return initiator->in_use && initiator->wish == about_to_expire &&
	       strcmp(link_peer(initiator->in_use->link)->certificate.fingerprint, peer->certificate.fingerprint) == 0;
}

static bool on_up(void *owner, struct link *link)
{
	struct line *line = owner;
	struct initiator *initiator = line->initiator;
	const struct link_peer *peer = link_peer(link);
	struct link_state state;
	link_read(link, &state);
	log_info("initiator", "link %s with %s (%s:%u, %s, %s) is up: %s, %s, epoch %u of %s, services %s", link_name(link),
	         peer->node_name, line->dest.host, line->dest.port, peer->address, peer->certificate.subject,
	         peer->tls.group, peer->tls.signature_peer, state.epoch, link_legs_text(state.legs), peer->services);
	line->link = link_ref(link);
	initiator->fresh = NULL;
	initiator->phase = INITIATOR_IDLE;
	uint32_t delay_ms = initiator->delay_ms;
	initiator->delay_ms = 0;
	if (is_in_vain(initiator, peer)) {
		log_info("initiator", "link %s is not needed: its peer has no newer certificate yet", link_name(link));
		initiator->wish = NULL;
		retire(line);
		initiator_show(initiator);
		return true;
	}
	struct line *before = initiator->in_use;
	if (before) {
		log_info("initiator", "link %s takes over from link %s (%s)", link_name(link), link_name(before->link),
		         initiator->wish ? initiator->wish : "renewed");
		counter_add(COUNTER_LINKS_RENEWED, 1);
		retire(before);
	}
	initiator->in_use = line;
	initiator->wish = NULL;
	initiator->wished_ms = loop_now_ms(initiator->settings.loop);
	initiator->probed_ms = 0;
	destinations_take(&initiator->dests);
	pthread_mutex_lock(&initiator->lock);
	initiator->state.attempts = 0;
	pthread_mutex_unlock(&initiator->lock);
	initiator_show(initiator);
	initiator->is_refused = false;
	initiator->ops->on_up(initiator->owner, link);
	if (initiator->is_refused)
		initiator->delay_ms = delay_ms;
	return !initiator->is_refused;
}

void initiator_refuse(struct initiator *initiator)
{
	initiator->is_refused = true;
}

// The one in use is lost.
static void reconnect(struct initiator *initiator, uint64_t lived_ms)
{
	bool at_once = initiator->dests.count > 1 && lived_ms >= SETTLED_MS && initiator->settings.reconnect;
	if (!initiator->settings.reconnect) {
		if (initiator->lines)
			return; // until the last one is over
		log_error("initiator", "the link is lost and source.reconnection_enabled is false");
		initiator->ops->on_given_up(initiator->owner, "the link is lost");
		return;
	}
	initiator->is_failback = false;
	initiator_begin(initiator, at_once ? 0 : initiator_pause(initiator));
}

static void note_loss(struct initiator *initiator, const char *reason)
{
	pthread_mutex_lock(&initiator->lock);
	initiator->state.errors++;
	snprintf(initiator->state.last_error, sizeof initiator->state.last_error, "%s", reason);
	pthread_mutex_unlock(&initiator->lock);
}

static void on_line_lost(struct line *line, bool cut, const char *reason)
{
	struct initiator *initiator = line->initiator;
	bool was_in_use = line == initiator->in_use;
	struct link *link = link_ref(line->link);
	struct link_state state;
	link_read(link, &state);
	if (was_in_use)
		log_warn("initiator", "link %s is down: %s", link_name(link), reason);
	else
		log_info("initiator", "link %s is down, it had a successor or none was wanted: %s", link_name(link), reason);
	if (!cut)
		cut = !leftovers_add(&initiator->left, link, line->dest.host, loop_now_ms(initiator->settings.loop),
		                     control_patience_ms(&initiator->settings.control));
	line_drop(line);
	if (was_in_use)
		note_loss(initiator, reason);
	initiator->ops->on_down(initiator->owner, link, cut);
	link_unref(&link);
	bool is_waiting = initiator->phase == INITIATOR_IDLE || (was_in_use && initiator->phase == INITIATOR_PAUSE);
	if (!initiator->in_use && is_waiting)
		reconnect(initiator, clock_ms() - state.up_since_ms);
	initiator_show(initiator);
}

// A hub takes no second link under this name with another key than that of the first, and it was our new certificate
// that asked: our link with the old one makes room. What runs over it goes on.
static void give_way(struct initiator *initiator)
{
	log_info("initiator", "link %s makes room for one with our new key", link_name(initiator->in_use->link));
	initiator->delay_ms = 0;
	session_end(initiator->in_use->session, CONTROL_REASON_SHUTDOWN, "its name is for the new key of the device");
}

static void on_end(void *owner, struct link *link, bool cut, const char *reason)
{
	struct line *line = owner;
	struct initiator *initiator = line->initiator;
	bool is_taken = session_peer_reason(line->session) == CONTROL_REASON_TAKEN;
	line->session = NULL;
	if (link) {
		on_line_lost(line, cut, reason);
		return;
	}
	line_drop(line);
	initiator_fail(initiator, reason);
	if (is_taken && initiator->in_use && initiator->wish == other_certificate)
		give_way(initiator);
}

static void on_goaway(void *owner, struct link *link)
{
	struct line *line = owner;
	struct initiator *initiator = line->initiator;
	if (line != initiator->in_use)
		return; // it takes nothing new anyway
	retire(line);
	initiator->ops->on_draining(initiator->owner, link);
	// New streams need a link that takes them; the live ones of this one go on until they end, or dest ends it.
	bool is_waiting = initiator->phase == INITIATOR_IDLE || initiator->phase == INITIATOR_PAUSE;
	if (initiator->settings.reconnect && is_waiting) {
		uint64_t now = loop_now_ms(initiator->settings.loop);
		// Hostile: a dest that sends each link away at once sets no pace but ours.
		bool at_once = initiator->hurried_ms == 0 || now - initiator->hurried_ms >= SETTLED_MS;
		initiator->is_failback = false;
		initiator->hurried_ms = at_once ? now : initiator->hurried_ms;
		initiator_begin(initiator, at_once ? 0 : initiator_pause(initiator));
	}
	initiator_show(initiator);
}

static void on_open(void *owner, struct link *link, const struct control_open *open)
{
	struct line *line = owner;
	line->initiator->ops->on_open(line->initiator->owner, link, open);
}

static const struct session_ops session_ops = {.on_up = on_up,
                                               .on_end = on_end,
                                               .on_goaway = on_goaway,
                                               .on_open = on_open};

int initiator_establish(struct initiator *initiator)
{
	char peer[ADDRESS_TEXT_BYTES];
	struct line *line = calloc(1, sizeof *line);
	if (!line)
		return -ENOMEM;
	address_format(&initiator->peer, peer);
	line->initiator = initiator;
	line->dest = *destinations_now(&initiator->dests);
	line->peer = initiator->peer;
	line->next = initiator->lines;
	initiator->lines = initiator->fresh = line;
	struct session_settings settings = {
		.loop = initiator->settings.loop,
		.control = initiator->settings.control,
		.link = initiator->settings.link,
		.own_certificate_digest = initiator->own_digest,
		.keycache = initiator->settings.keycache,
	};
	settings.link.data_address = initiator->peer;
	if (settings.link.data_port)
		address_set_port(&settings.link.data_address, settings.link.data_port);
	int r = session_start(&settings, &initiator->tls, peer, &session_ops, line, &line->session);
	if (r < 0)
		line_drop(line);
	return r;
}

// ---- renewal -------------------------------------------------------------------------------------------------------

// Begins what is wished for, unless too many earlier links still carry streams: then it waits for one of them to end.
static void grant(struct initiator *initiator)
{
	if (!initiator->wish || !initiator->in_use || initiator->phase != INITIATOR_IDLE ||
	    initiator_retiring(initiator) >= LIMIT_RETIRING_LINKS)
		return;
	if (!initiator->is_failback)
		log_info("initiator", "a new link is made beside link %s: %s", link_name(initiator->in_use->link),
		         initiator->wish);
	initiator_begin(initiator, 0);
}

void initiator_renew(struct initiator *initiator, const char *reason)
{
	if (!initiator->in_use)
		return;
	// What a person asked for is more than a fail-back, which goes over the better dests only.
	if (initiator->is_failback && initiator->phase == INITIATOR_PAUSE)
		initiator->phase = INITIATOR_IDLE;
	if (initiator->phase == INITIATOR_IDLE)
		initiator->is_failback = false;
	initiator->wish = reason;
	grant(initiator);
}

static void close_the_empty(struct initiator *initiator)
{
	uint64_t now = loop_now_ms(initiator->settings.loop);
	for (struct line *line = initiator->lines, *next; line; line = next) {
		struct link_state state;
		next = line->next;
		if (!line->link || !line->has_successor || now - line->retired_ms < RETIRE_MS)
			continue;
		link_read(line->link, &state);
		if (state.streams_open > 0)
			continue;
		session_end(line->session, CONTROL_REASON_SHUTDOWN, "its streams are done");
	}
}

static void look_for_better(struct initiator *initiator, uint64_t now)
{
	uint32_t failback_ms = initiator->settings.failback_ms;
	if (failback_ms == 0 || initiator->wish || now - initiator->wished_ms < failback_ms ||
	    initiator->dests.order != DESTINATIONS_PRIORITY || initiator->dests.used == 0)
		return;
	initiator->wished_ms = now;
	initiator->is_failback = true;
	initiator->wish = "a dest before it in the list answers again";
}

// The peer may have a newer certificate by now: a link made with that lives on when the old one expires.
static void look_at_expiry(struct initiator *initiator, uint64_t now)
{
	const struct link_peer *peer = link_peer(initiator->in_use->link);
	int64_t left_s = peer->certificate.not_after - clock_wall_s();
	int64_t lead_s = (peer->certificate.not_after - peer->certificate.not_before) / 10;
	if (lead_s > EXPIRY_LEAD_S)
		lead_s = EXPIRY_LEAD_S;
	lead_s -= lead_s * initiator->spread / (2 * UINT16_MAX); // so that a fleet does not come at once
	// Again when half of what was left has passed.
	if (initiator->wish || left_s > lead_s || left_s < 0 ||
	    now - initiator->wished_ms < (uint64_t)(left_s > 4 ? left_s : 4) * 500)
		return;
	initiator->wished_ms = now;
	initiator->is_failback = false;
	initiator->wish = about_to_expire;
}

static void on_left_cut(void *owner, struct link *link)
{
	struct initiator *initiator = owner;
	initiator->ops->on_down(initiator->owner, link, true);
}

static const struct leftovers_ops left_ops = {.cut = on_left_cut};

// A second link beside it rather than an end: if it was a slow moment only, nothing is lost.
static void look_for_life(struct initiator *initiator)
{
	struct link_state state;
	uint64_t now = clock_ms();
	link_read(initiator->in_use->link, &state);
	uint64_t patience_ms = 4 * state.rtt_us / 1000;
	if (patience_ms < SIGN_OF_LIFE_MS)
		patience_ms = SIGN_OF_LIFE_MS;
	if (state.heard_ms < initiator->probed_ms && now - initiator->probed_ms < patience_ms)
		return;
	bool is_silent = state.heard_ms < initiator->probed_ms;
	initiator->probed_ms = 0;
	if (is_silent && !initiator->wish)
		initiator_renew(initiator, "the network has changed, and it does not answer");
}

static void on_care(void *owner)
{
	struct initiator *initiator = owner;
	uint64_t now = loop_now_ms(initiator->settings.loop);
	close_the_empty(initiator);
	leftovers_sift(&initiator->left, now, &left_ops, initiator);
	if (initiator->in_use && initiator->probed_ms > 0)
		look_for_life(initiator);
	if (initiator->in_use && initiator->phase == INITIATOR_IDLE) {
		look_for_better(initiator, now);
		look_at_expiry(initiator, now);
		grant(initiator);
	}
}

// ---- new settings --------------------------------------------------------------------------------------------------

// False: the line is over, and may be gone.
static bool judge(struct initiator *initiator, struct line *line)
{
	const struct initiator_settings *settings = &initiator->settings;
	struct tls_options wanted = {.peer_name = settings->peer_name ? settings->peer_name : line->dest.host,
	                             .judge = initiator_judge,
	                             .owner = initiator};
	const char *problem = NULL;
	if (!initiator_allows(initiator, &line->peer.any))
		problem = "source.allowed_outbound does not list its address any more";
	else if (!tls_pq_allows(settings->pq, link_peer(line->link)->tls.group))
		problem = tls_pq_demand(settings->pq);
	if (!problem)
		return session_judge(line->session, settings->identity, &wanted);
	counter_add(COUNTER_LINKS_REJUDGED, 1);
	session_end(line->session, CONTROL_REASON_PEER_POLICY, problem);
	return false;
}

static bool judge_left(void *owner, const struct leftover *leftover, char text[TLS_EXPLANATION_BYTES])
{
	struct initiator *initiator = owner;
	const struct initiator_settings *settings = &initiator->settings;
	const struct link_peer *peer = link_peer(leftover->link);
	struct tls_options wanted = {.peer_name = settings->peer_name ? settings->peer_name : leftover->name,
	                             .judge = initiator_judge,
	                             .owner = initiator};
	if (!tls_pq_allows(settings->pq, peer->tls.group))
		snprintf(text, TLS_EXPLANATION_BYTES, "%s", tls_pq_demand(settings->pq));
	else if (!initiator_allows(initiator, &link_data_address(leftover->link)->any))
		snprintf(text, TLS_EXPLANATION_BYTES, "source.allowed_outbound does not list its address any more");
	else
		return tls_judge_certificate(peer->x509, peer->chain, IDENTITY_SERVER, settings->identity, &wanted, text) ==
		       TLS_FAILURE_NONE;
	return false;
}

static const struct leftovers_ops judging_ops = {.judge = judge_left, .cut = on_left_cut};

// What was begun with the old settings is begun again.
static void start_over(struct initiator *initiator)
{
	if (initiator->phase == INITIATOR_IDLE)
		return;
	bool was_failback = initiator->is_failback && initiator->in_use;
	initiator_forget(initiator);
	if (initiator->fresh) {
		session_close(&initiator->fresh->session, CONTROL_REASON_SHUTDOWN, "begun anew");
		line_drop(initiator->fresh);
	}
	initiator->is_failback = false;
	initiator->phase = INITIATOR_IDLE;
	loop_timer_disarm(initiator->timer);
	if (was_failback)
		initiator->wish = NULL; // at its next time
	else
		initiator_begin(initiator, 0);
}

static const char *reason_to_renew(const struct initiator *initiator, const struct identity *before, uint8_t legs)
{
	if (!initiator->in_use)
		return NULL;
	if (!identity_shows_same(before, initiator->settings.identity))
		return other_certificate;
	if (!destinations_has(&initiator->dests, &initiator->in_use->dest))
		return "its dest is not listed any more";
	if (legs != initiator->settings.control.hello.legs)
		return "crypto.kem_mode has changed";
	return NULL;
}

int initiator_set(struct initiator *initiator, const struct initiator_settings *settings)
{
	struct identity *before = identity_ref(initiator->settings.identity);
	uint8_t legs = initiator->settings.control.hello.legs;
	int r = initiator_settings_take(initiator, settings);
	if (r < 0) {
		identity_unref(&before);
		return r;
	}
	start_over(initiator);
	for (struct line *line = initiator->lines, *next; line; line = next) {
		next = line->next;
		if (line->link)
			(void)judge(initiator, line);
	}
	leftovers_sift(&initiator->left, loop_now_ms(initiator->settings.loop), &judging_ops, initiator);
	const char *reason = reason_to_renew(initiator, before, legs);
	identity_unref(&before);
	if (reason)
		initiator_renew(initiator, reason);
	initiator_show(initiator);
	return 0;
}

// ---- life ----------------------------------------------------------------------------------------------------------

static void release(struct loop_task *task)
{
	struct initiator *initiator = CONTAINER_OF(task, struct initiator, release);
	pthread_mutex_destroy(&initiator->lock);
	free(initiator);
}

int initiator_new(const struct initiator_settings *settings, const struct initiator_ops *ops, void *owner,
                  struct initiator **out)
{
	struct initiator *initiator = calloc(1, sizeof *initiator);
	if (!initiator)
		return -ENOMEM;
	initiator->ops = ops;
	initiator->owner = owner;
	initiator->release.run = release;
	pthread_mutex_init(&initiator->lock, NULL);
	initiator->state.state = "connecting";
	random_bytes(&initiator->spread, sizeof initiator->spread);
	int r = initiator_settings_take(initiator, settings);
	if (r == 0)
		r = loop_timer_open(settings->loop, initiator_on_timer, initiator, &initiator->timer);
	if (r == 0)
		r = loop_timer_open(settings->loop, on_care, initiator, &initiator->care);
	if (r < 0) {
		initiator->settings.loop = settings->loop;
		initiator_free(&initiator, CONTROL_REASON_SHUTDOWN);
		return r;
	}
	loop_timer_arm(initiator->care, CARE_MS, CARE_MS);
	*out = initiator;
	initiator_begin(initiator, 0);
	return 0;
}

void initiator_free(struct initiator **slot, enum control_reason reason)
{
	struct initiator *initiator = *slot;
	*slot = NULL;
	if (!initiator)
		return;
	struct loop *loop = initiator->settings.loop;
	while (initiator->lines) {
		session_close(&initiator->lines->session, reason, initiator->ops->on_open ? "agent stops" : "source stops");
		line_drop(initiator->lines);
	}
	leftovers_drop(&initiator->left);
	initiator_forget(initiator);
	loop_timer_close(&initiator->timer);
	loop_timer_close(&initiator->care);
	initiator_settings_drop(initiator);
	loop_defer(loop, &initiator->release);
}

void initiator_open_failed(struct initiator *initiator, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                           const struct header_answer *answer)
{
	for (struct line *line = initiator->lines; line; line = line->next)
		if (line->link == link && line->session) {
			session_open_failed(line->session, token, answer);
			return;
		}
}

void initiator_network_changed(struct initiator *initiator)
{
	bool is_trying = initiator->phase == INITIATOR_DIALING || initiator->phase == INITIATOR_HANDSHAKE ||
	                 initiator->phase == INITIATOR_SESSION;
	if (initiator->in_use) {
		session_probe(initiator->in_use->session);
		initiator->probed_ms = clock_ms();
	}
	if (initiator->is_failback && initiator->in_use)
		return; // nobody waits for that
	if (initiator->phase == INITIATOR_PAUSE) {
		initiator->delay_ms = 0;
		initiator_begin(initiator, 0);
	} else if (is_trying && loop_now_ms(initiator->settings.loop) - initiator->tried_ms >= STALE_MS) {
		initiator->delay_ms = 0;
		start_over(initiator);
	}
}

void initiator_want_epoch(struct initiator *initiator)
{
	if (initiator->in_use)
		session_want_epoch(initiator->in_use->session);
}
