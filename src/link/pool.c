#include "link/pool.h"

#include "core/counter.h"
#include "core/log.h"
#include "wire/tls_profile.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How often old connections are looked for and the store is trimmed.
#define CARE_MS 1000
#define GROWTH 8
// Failed dials rest the pool a moment, so a dest that is gone is not hammered.
#define REST_MS 500

struct slot {
	struct pool *pool;
	struct stream *stream; // parked, or still being dialled
	bool parked;
	bool is_claim;   // for one OPEN: beside what is parked
	uint64_t due_ms; // of a claim
	uint8_t token[STREAM_TOKEN_BYTES];
	struct slot *next;
};

struct pool {
	struct pool_settings settings;
	struct link *link;
	struct tls_profile *profile;
	struct slot *slots;
	unsigned parked, dialling, claims, wanted;
	uint64_t missed_ms, rest_until_ms;
	struct loop_timer *care;
};

static void fill(struct pool *pool);

static void slot_unlist(struct slot *slot)
{
	struct slot **at = &slot->pool->slots;
	while (*at != slot)
		at = &(*at)->next;
	*at = slot->next;
	if (slot->is_claim)
		slot->pool->claims--;
	else if (slot->parked)
		slot->pool->parked--;
	else
		slot->pool->dialling--;
}

static void slot_free(struct slot *slot)
{
	struct pool *pool = slot->pool;
	slot_unlist(slot);
	stream_close(&slot->stream);
	assert(pool->slots != slot);
	free(slot);
}

// It goes. Was it for an OPEN, its responder is told, so that it need not wait for its deadline. The owner may give up
// the link, and with it all slots, while it is told: that is last, and this slot is out of the list by then.
static void lose(struct slot *slot, struct link *link, enum header_status status, const char *reason)
{
	struct pool *pool = slot->pool;
	struct header_answer answer = {.status = status};
	uint8_t token[STREAM_TOKEN_BYTES];
	bool is_told = slot->is_claim && pool->settings.on_claim_lost && link;
	memcpy(token, slot->token, sizeof token);
	slot_free(slot);
	if (!is_told)
		return;
	snprintf(answer.reason, sizeof answer.reason, "%s", reason);
	struct link *kept = link_ref(link);
	pool->settings.on_claim_lost(pool->settings.owner, kept, token, &answer);
	link_unref(&kept);
}

static void on_parked_ready(void *owner, int events)
{
	(void)events;
	struct slot *slot = owner;
	struct pool *pool = slot->pool;
	if (!slot->is_claim)
		pool->rest_until_ms = loop_now_ms(pool->settings.loop) + REST_MS;
	lose(slot, pool->link, HEADER_INTERNAL, "the device's data connection broke");
}

// Reverse links: one of ours has been taken into use; another takes its place.
static void on_taken(void *owner, struct stream *stream, const struct header *header)
{
	struct slot *slot = owner;
	struct pool *pool = slot->pool;
	counter_add(slot->is_claim ? COUNTER_POOL_MISS : COUNTER_POOL_HIT, 1);
	slot_unlist(slot);
	free(slot);
	fill(pool);
	pool->settings.on_header(pool->settings.owner, stream, header);
}

static void on_parked_lost(void *owner, const struct header_answer *answer)
{
	(void)answer;
	on_parked_ready(owner, 0);
}

static const struct stream_ops parked_ops = {.on_ready = on_parked_ready, .on_refused = on_parked_lost};

static void on_parked(void *owner, struct stream *stream, const char *problem)
{
	struct slot *slot = owner;
	struct pool *pool = slot->pool;
	if (!stream) {
		log_debug("pool", "data connection failed: %s", problem);
		slot->stream = NULL; // closed itself
		char reason[LIMIT_REASON_BYTES + 1];
		snprintf(reason, sizeof reason, "the device's data connection failed: %.100s", problem);
		pool->rest_until_ms = loop_now_ms(pool->settings.loop) + REST_MS;
		lose(slot, pool->link, HEADER_INTERNAL, reason);
		return;
	}
	if (!slot->is_claim) {
		pool->dialling--;
		pool->parked++;
	}
	slot->parked = true;
	if (pool->settings.on_header)
		stream_lend(stream, on_taken, &parked_ops, slot);
	else
		stream_own(stream, &parked_ops, slot);
}

static const struct header park = {.kind = HEADER_PARK};

static struct stream_dial how(const struct pool *pool)
{
	struct stream_dial dial = {.loop = pool->settings.loop,
	                           .profile = pool->profile,
	                           .keepalive_ms = pool->settings.keepalive_ms,
	                           .timeout_ms = pool->settings.handshake_ms,
	                           .offer = pool->settings.on_header ? &park : NULL};
	snprintf(dial.congestion, sizeof dial.congestion, "%s",
	         pool->settings.congestion ? pool->settings.congestion : "auto");
	return dial;
}

static void fill(struct pool *pool)
{
	if (!pool->link || !link_is_up(pool->link) || loop_now_ms(pool->settings.loop) < pool->rest_until_ms)
		return;
	struct stream_dial dial = how(pool);
	while (pool->parked + pool->dialling < pool->wanted) {
		struct slot *slot = calloc(1, sizeof *slot);
		if (!slot)
			return;
		slot->pool = pool;
		if (stream_dial_parked(&dial, pool->link, on_parked, slot, &slot->stream) < 0) {
			free(slot);
			pool->rest_until_ms = loop_now_ms(pool->settings.loop) + REST_MS;
			return;
		}
		slot->next = pool->slots;
		pool->slots = slot;
		pool->dialling++;
	}
}

// Spec: protocol.md 3, "replaced before their epoch expires": those of an older epoch go, and newer ones take their place.
static void on_care(void *owner)
{
	struct pool *pool = owner;
	uint64_t now = loop_now_ms(pool->settings.loop);
	if (pool->wanted > pool->settings.size && now - pool->missed_ms > 10 * CARE_MS)
		pool->wanted--;
	struct slot *slot = pool->slots;
	while (slot) {
		struct slot *next = slot->next;
		bool old = !slot->is_claim && pool->link && slot->parked &&
		           stream_epoch(slot->stream) != link_epoch(pool->link);
		// Hostile: a claim that the responder does not take into use has its end too.
		if (old || (slot->is_claim && now >= slot->due_ms) ||
		    (!slot->is_claim && slot->parked && pool->parked > pool->wanted))
			slot_free(slot);
		slot = next;
	}
	fill(pool);
}

int pool_new(const struct pool_settings *settings, struct pool **out)
{
	struct pool *pool = calloc(1, sizeof *pool);
	if (!pool)
		return -ENOMEM;
	pool->settings = *settings;
	pool->wanted = settings->size;
	int r = loop_timer_open(settings->loop, on_care, pool, &pool->care);
	if (r < 0) {
		free(pool);
		return r;
	}
	loop_timer_arm(pool->care, CARE_MS, CARE_MS);
	*out = pool;
	return 0;
}

void pool_set(struct pool *pool, const struct pool_settings *settings)
{
	struct pool_settings old = pool->settings;
	struct loop *loop = old.loop;
	pool->settings = *settings;
	pool->settings.loop = loop;
	pool->settings.on_header = old.on_header;
	pool->settings.on_claim_lost = old.on_claim_lost;
	pool->settings.owner = old.owner;
	if (pool->wanted < settings->size || pool->wanted > settings->size * GROWTH)
		pool->wanted = settings->size;
	fill(pool);
}

static void drop_all(struct pool *pool)
{
	// First: nothing is dialled on it from within what is told.
	struct link *link = pool->link;
	pool->link = NULL;
	while (pool->slots) // lose takes it out of the list. NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
		lose(pool->slots, link, HEADER_DRAINING, "the device gives up this link");
	tls_profile_free(&pool->profile);
	link_unref(&link);
}

void pool_free(struct pool **slot)
{
	struct pool *pool = *slot;
	*slot = NULL;
	if (!pool)
		return;
	loop_timer_close(&pool->care);
	drop_all(pool);
	free(pool);
}

int pool_set_link(struct pool *pool, struct link *link)
{
	drop_all(pool);
	pool->rest_until_ms = 0;
	if (!link)
		return 0;
	int r = tls_profile_data(link_peer(link)->tls.group, &pool->profile);
	if (r < 0)
		return r;
	pool->link = link_ref(link);
	fill(pool);
	return 0;
}

static struct slot *take(struct pool *pool)
{
	for (struct slot *slot = pool->slots; slot; slot = slot->next)
		if (slot->parked) // those taken before are out of the list. NOLINT(clang-analyzer-unix.Malloc)
			return slot;
	return NULL;
}

static void grow(struct pool *pool)
{
	pool->missed_ms = loop_now_ms(pool->settings.loop);
	if (pool->wanted < pool->settings.size * GROWTH)
		pool->wanted++;
}

int pool_claim(struct pool *pool, struct link *link, const struct control_open *open)
{
	if (pool->link != link || !link_is_up(link))
		return POOL_NO_LINK;
	// Hostile: the responder sets the pace of these; it may have no more than this of us.
	if (pool->claims >= LIMIT_CLAIMS)
		return POOL_FULL;
	struct header claim = {.kind = HEADER_CLAIM};
	memcpy(claim.token, open->token, sizeof claim.token);
	uint32_t deadline_ms = open->deadline_ms < LIMIT_OPEN_MS ? open->deadline_ms : LIMIT_OPEN_MS;
	struct stream_dial dial = how(pool);
	dial.offer = &claim;
	struct slot *slot = calloc(1, sizeof *slot);
	if (!slot)
		return -ENOMEM;
	*slot = (struct slot){.pool = pool, .is_claim = true, .due_ms = loop_now_ms(pool->settings.loop) + deadline_ms};
	memcpy(slot->token, open->token, sizeof slot->token);
	int r = stream_dial_parked(&dial, pool->link, on_parked, slot, &slot->stream);
	if (r < 0) {
		free(slot);
		return r;
	}
	slot->next = pool->slots;
	pool->slots = slot;
	pool->claims++;
	grow(pool);
	return 0;
}

int pool_open(struct pool *pool, const struct stream_opening *opening, struct stream **stream)
{
	if (!pool->link || !link_is_up(pool->link))
		return POOL_NO_LINK;
	// One that dest has dropped meanwhile costs nothing but a look: the next one is asked.
	struct slot *slot;
	int r = STREAM_UNSENT;
	while (r == STREAM_UNSENT && (slot = take(pool)) != NULL) {
		*stream = slot->stream;
		slot_unlist(slot);
		free(slot);
		r = stream_open_parked(*stream, opening);
		if (r != 0)
			stream_close(stream);
	}
	counter_add(r == STREAM_UNSENT ? COUNTER_POOL_MISS : COUNTER_POOL_HIT, 1);
	if (r != STREAM_UNSENT) {
		fill(pool);
		return r;
	}
	grow(pool);
	struct stream_dial dial = how(pool);
	return stream_dial_open(&dial, pool->link, opening, stream);
}

bool pool_is_ready(const struct pool *pool)
{
	return pool->link && link_is_up(pool->link);
}
