#include "link/initiator.h"

#include "core/counter.h"
#include "core/log.h"
#include "crypto/digest.h"
#include "link/verdict.h"
#include "net/dial.h"
#include "net/socket.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct initiator {
	struct initiator_settings settings;
	const struct initiator_ops *ops;
	void *owner;
	struct tls_profile *profile;
	uint8_t own_digest[DIGEST_BYTES];
	struct dial *dial;
	struct tls_conn *tls;
	struct loop_io *io;
	struct loop_timer *timer; // the handshake's deadline, or the pause before the next try
	enum { INITIATOR_PAUSE, INITIATOR_DIALING, INITIATOR_HANDSHAKE, INITIATOR_SESSION } phase;
	struct session *session;
	struct link *link; // while it is up
	struct address peer;
	uint32_t delay_ms;
	struct loop_task release;

	pthread_mutex_t lock;
	struct initiator_state state;
};

static void dial(struct initiator *initiator);

// ---- what people see -----------------------------------------------------------------------------------------------

static void show(struct initiator *initiator, const char *state)
{
	pthread_mutex_lock(&initiator->lock);
	initiator->state.state = state;
	pthread_mutex_unlock(&initiator->lock);
}

void initiator_read(struct initiator *initiator, struct initiator_state *state)
{
	pthread_mutex_lock(&initiator->lock);
	*state = initiator->state;
	pthread_mutex_unlock(&initiator->lock);
}

// ---- back-off ------------------------------------------------------------------------------------------------------

// Decorrelated jitter: uniform between the first delay and three times the last one, at most the maximum.
static uint32_t next_delay(struct initiator *initiator)
{
	uint32_t first = initiator->settings.delay_first_ms, most = initiator->settings.delay_max_ms, random;
	uint64_t ceiling = (uint64_t)initiator->delay_ms * 3;
	if (ceiling > most)
		ceiling = most;
	if (ceiling < first)
		ceiling = first;
	random_bytes(&random, sizeof random);
	initiator->delay_ms = first + (uint32_t)(random % (ceiling - first + 1));
	return initiator->delay_ms;
}

static void forget_connection(struct initiator *initiator)
{
	dial_cancel(&initiator->dial);
	loop_io_close(&initiator->io);
	tls_conn_free(&initiator->tls);
}

static void retry(struct initiator *initiator, const char *reason)
{
	forget_connection(initiator);
	initiator->phase = INITIATOR_PAUSE;
	pthread_mutex_lock(&initiator->lock);
	initiator->state.state = "connecting";
	initiator->state.attempts++;
	initiator->state.errors++;
	snprintf(initiator->state.last_error, sizeof initiator->state.last_error, "%s", reason);
	uint64_t attempts = initiator->state.attempts;
	pthread_mutex_unlock(&initiator->lock);
	const struct initiator_settings *settings = &initiator->settings;
	if (!settings->reconnect || (settings->attempts_max > 0 && attempts >= settings->attempts_max)) {
		log_error("initiator", "no link with %s:%u: %s; not trying again", settings->host, settings->port, reason);
		initiator->ops->on_given_up(initiator->owner, reason);
		return;
	}
	uint32_t delay = next_delay(initiator);
	log_warn("initiator", "no link with %s:%u: %s; next try in %u ms", settings->host, settings->port, reason, delay);
	loop_timer_arm(initiator->timer, delay, 0);
}

// ---- the session ---------------------------------------------------------------------------------------------------

static bool on_up(void *owner, struct link *link)
{
	struct initiator *initiator = owner;
	const struct link_peer *peer = link_peer(link);
	initiator->link = link_ref(link);
	initiator->delay_ms = 0;
	pthread_mutex_lock(&initiator->lock);
	initiator->state.state = "up";
	initiator->state.attempts = 0;
	pthread_mutex_unlock(&initiator->lock);
	struct link_state state;
	link_read(link, &state);
	log_info("initiator", "link %s with %s (%s, %s) is up: %s, %s, epoch %u of %s, services %s", link_name(link),
	         peer->node_name, peer->address, peer->certificate.subject, peer->tls.group, peer->tls.signature_peer,
	         state.epoch, link_legs_text(state.legs), peer->services);
	initiator->ops->on_up(initiator->owner, link);
	return true;
}

static void link_over(struct initiator *initiator, bool cut)
{
	if (!initiator->link)
		return;
	struct link *link = initiator->link;
	initiator->link = NULL;
	initiator->ops->on_down(initiator->owner, link, cut);
	link_unref(&link);
}

static void on_end(void *owner, struct link *link, bool cut, const char *reason)
{
	struct initiator *initiator = owner;
	initiator->session = NULL;
	if (link)
		log_warn("initiator", "link %s is down: %s", link_name(link), reason);
	else
		counter_add(COUNTER_LINK_DIAL_FAILED, 1);
	link_over(initiator, cut);
	retry(initiator, reason);
}

static void on_goaway(void *owner, struct link *link)
{
	struct initiator *initiator = owner;
	// New streams need a link that takes them; the live ones of this one go on until dest ends it.
	show(initiator, "draining");
	initiator->ops->on_draining(initiator->owner, link);
}

static const struct session_ops session_ops = {.on_up = on_up, .on_end = on_end, .on_goaway = on_goaway};

static int session_of(struct initiator *initiator)
{
	char peer[ADDRESS_TEXT_BYTES];
	address_format(&initiator->peer, peer);
	struct session_settings settings = {
		.loop = initiator->settings.loop,
		.control = initiator->settings.control,
		.link = initiator->settings.link,
		.own_certificate_digest = initiator->own_digest,
		.keycache = initiator->settings.keycache,
	};
	settings.link.data_address = initiator->peer;
	return session_start(&settings, &initiator->tls, peer, &session_ops, initiator, &initiator->session);
}

// ---- the handshake -------------------------------------------------------------------------------------------------

static void fail(struct initiator *initiator, const char *reason)
{
	counter_add(COUNTER_LINK_DIAL_FAILED, 1);
	retry(initiator, reason);
}

static void handshake_step(struct initiator *initiator)
{
	int r = tls_conn_flush(initiator->tls);
	if (r == 0 || r == TLS_BLOCKED)
		r = tls_conn_handshake(initiator->tls);
	if (r == TLS_BLOCKED) {
		loop_io_want(initiator->io, tls_conn_wants(initiator->tls));
		return;
	}
	if (r != 0) {
		char text[TLS_EXPLANATION_BYTES];
		verdict_count(tls_conn_failure(initiator->tls));
		tls_conn_explain(initiator->tls, text);
		fail(initiator, text);
		return;
	}
	counter_add(COUNTER_HANDSHAKE_CONTROL_OK, 1);
	loop_timer_disarm(initiator->timer);
	loop_io_close(&initiator->io);
	initiator->phase = INITIATOR_SESSION;
	if (session_of(initiator) < 0)
		fail(initiator, "out of memory");
}

static void on_io(void *owner, int events)
{
	struct initiator *initiator = owner;
	if (events & LOOP_READ)
		tls_conn_readable(initiator->tls);
	handshake_step(initiator);
}

static int judge(void *owner, X509 *certificate)
{
	struct initiator *initiator = owner;
	const struct initiator_settings *settings = &initiator->settings;
	for (size_t i = 0; i < settings->allowed_count; i++)
		if (identity_matches(certificate, settings->allowed_peers[i]))
			return TLS_FAILURE_NONE;
	return settings->allowed_count == 0 ? TLS_FAILURE_NONE : TLS_FAILURE_NOT_ALLOWED;
}

static void on_dialled(void *owner, const struct dial_result *result)
{
	struct initiator *initiator = owner;
	if (result->fd < 0) {
		fail(initiator, result->problem);
		return;
	}
	const struct initiator_settings *settings = &initiator->settings;
	int fd = result->fd;
	initiator->peer = result->peer;
	socket_tune(fd,
	            &(struct socket_options){.congestion = settings->congestion, .keepalive_ms = settings->keepalive_ms});
	struct tls_options options = {.peer_name = settings->peer_name ? settings->peer_name : settings->host,
	                              .judge = judge,
	                              .owner = initiator};
	int r = tls_conn_new(initiator->profile, &fd, &options, &initiator->tls);
	if (r == 0)
		r = loop_io_open(settings->loop, tls_conn_fd(initiator->tls), on_io, initiator, &initiator->io);
	socket_close(&fd);
	if (r < 0) {
		fail(initiator, outcome_text(r));
		return;
	}
	initiator->phase = INITIATOR_HANDSHAKE;
	show(initiator, "handshake");
	loop_timer_arm(initiator->timer, settings->handshake_ms, 0);
	handshake_step(initiator);
}

static void dial(struct initiator *initiator)
{
	const struct initiator_settings *settings = &initiator->settings;
	initiator->phase = INITIATOR_DIALING;
	show(initiator, "connecting");
	int r = dial_start(settings->loop, settings->host, settings->port, settings->handshake_ms, on_dialled, initiator,
	                   &initiator->dial);
	if (r < 0)
		fail(initiator, outcome_text(r));
}

static void on_timer(void *owner)
{
	struct initiator *initiator = owner;
	if (initiator->phase == INITIATOR_PAUSE)
		dial(initiator);
	else if (initiator->phase == INITIATOR_HANDSHAKE)
		fail(initiator, "dest did not finish the handshake in time");
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
	initiator->settings = *settings;
	initiator->ops = ops;
	initiator->owner = owner;
	initiator->release.run = release;
	pthread_mutex_init(&initiator->lock, NULL);
	initiator->state.state = "connecting";
	int r = identity_digest(identity_certificate(settings->identity), initiator->own_digest);
	if (r == 0)
		r = tls_profile_control(settings->identity, settings->pq, &initiator->profile);
	if (r == 0)
		r = loop_timer_open(settings->loop, on_timer, initiator, &initiator->timer);
	if (r < 0) {
		initiator_free(&initiator, CONTROL_REASON_SHUTDOWN);
		return r;
	}
	*out = initiator;
	dial(initiator);
	return 0;
}

int initiator_set(struct initiator *initiator, const struct initiator_settings *settings)
{
	struct tls_profile *profile = NULL;
	uint8_t digest[DIGEST_BYTES];
	int r = identity_digest(identity_certificate(settings->identity), digest);
	if (r == 0)
		r = tls_profile_control(settings->identity, settings->pq, &profile);
	if (r < 0)
		return r;
	tls_profile_free(&initiator->profile);
	initiator->profile = profile;
	memcpy(initiator->own_digest, digest, sizeof digest);
	struct loop *loop = initiator->settings.loop;
	struct keycache *keycache = initiator->settings.keycache;
	initiator->settings = *settings;
	initiator->settings.loop = loop;
	initiator->settings.keycache = keycache;
	return 0;
}

void initiator_free(struct initiator **slot, enum control_reason reason)
{
	struct initiator *initiator = *slot;
	*slot = NULL;
	if (!initiator)
		return;
	session_close(&initiator->session, reason, "source stops");
	forget_connection(initiator);
	loop_timer_close(&initiator->timer);
	tls_profile_free(&initiator->profile);
	link_unref(&initiator->link);
	loop_defer(initiator->settings.loop, &initiator->release);
}

void initiator_want_epoch(struct initiator *initiator)
{
	if (initiator->session)
		session_want_epoch(initiator->session);
}
