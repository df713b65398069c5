#include "link/link.h"

#include "core/clock.h"
#include "link/indices.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// TLS_AES_256_GCM_SHA384, the one suite of data connections.
#define SUITE 0x1302

struct epoch_keys {
	uint32_t number; // 0: none
	struct secret data;
	struct indices burnt;    // responder
	uint64_t next_index;     // initiator
	uint64_t valid_until_ms; // 0: no end yet
};

struct link {
	_Atomic uint32_t references;
	struct link_settings settings;
	struct link_peer peer;
	char *texts;         // of peer
	struct grant *grant; // of peer, or NULL
	char name[9];
	_Atomic bool up;
	_Atomic uint32_t epoch;
	_Atomic uint32_t connections, connections_max;
	_Atomic uint64_t streams_open, streams_total, bytes_outward, bytes_inward;
	struct {
		_Atomic uint64_t outward, inward, congested, refused, broken, malformed, undelivered;
	} datagrams;
	_Atomic uint64_t epoch_bytes, epoch_streams; // carried, begun since the last epoch
	_Atomic bool epoch_wanted;
	_Atomic uint32_t rtt_us;
	_Atomic uint64_t epoch_since_ms, heard_ms;
	uint64_t up_since_ms;

	pthread_mutex_t lock; // everything below
	struct epoch_keys current, previous;
	uint8_t legs;
	char error[LINK_ERROR_BYTES];
	bool is_cut; // error says why
	struct loop *epoch_loop;
	struct loop_task *epoch_task;
};

static void keys_fini(struct epoch_keys *keys)
{
	secret_fini(&keys->data);
	indices_fini(&keys->burnt);
	*keys = (struct epoch_keys){0};
}

// The texts of a peer, one behind the other; NULL without memory.
static char *pack(struct link_peer *peer)
{
	const char **const texts[] = {&peer->node_name,
	                              &peer->device,
	                              &peer->address,
	                              &peer->services,
	                              &peer->certificate.subject,
	                              &peer->certificate.issuer,
	                              &peer->certificate.common_name,
	                              &peer->certificate.fingerprint,
	                              &peer->tls.version,
	                              &peer->tls.group,
	                              &peer->tls.cipher,
	                              &peer->tls.signature_own,
	                              &peer->tls.signature_peer};
	size_t length = 0;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		length += (*texts[i] ? strlen(*texts[i]) : 0) + 1;
	char *packed = malloc(length), *at = packed;
	for (size_t i = 0; packed && i < COUNT_OF(texts); i++) {
		size_t size = (*texts[i] ? strlen(*texts[i]) : 0) + 1;
		memcpy(at, *texts[i] ? *texts[i] : "", size);
		*texts[i] = at;
		at += size;
	}
	return packed;
}

// Few links have any, and it is large.
static bool keep_grant(struct link *link, const struct grant *grant)
{
	static const struct grant none;
	link->peer.grant = &none;
	if (!grant || !grant->is_given)
		return true;
	link->grant = malloc(sizeof *link->grant);
	if (!link->grant)
		return false;
	*link->grant = *grant;
	link->peer.grant = link->grant;
	return true;
}

int link_new(const struct link_settings *settings, const struct link_peer *peer, struct link **out)
{
	struct link *link = calloc(1, sizeof *link);
	if (!link)
		return -ENOMEM;
	link->references = 1;
	link->settings = *settings;
	link->connections_max = settings->connections_max;
	link->peer = *peer;
	link->texts = pack(&link->peer);
	if (!link->texts || !keep_grant(link, peer->grant)) {
		free(link->texts);
		free(link);
		return -ENOMEM;
	}
	if (peer->x509)
		link->peer.x509 = identity_keep(peer->x509);
	link->peer.chain = identity_keep_chain(peer->chain);
	for (unsigned i = 0; i < 4; i++)
		snprintf(link->name + 2 * i, 3, "%02x", settings->id[i]);
	link->up_since_ms = clock_ms();
	link->heard_ms = link->up_since_ms;
	pthread_mutex_init(&link->lock, NULL);
	*out = link;
	return 0;
}

struct link *link_ref(struct link *link)
{
	atomic_fetch_add_explicit(&link->references, 1, memory_order_relaxed);
	return link;
}

void link_unref(struct link **slot)
{
	struct link *link = *slot;
	*slot = NULL;
	if (!link || atomic_fetch_sub_explicit(&link->references, 1, memory_order_acq_rel) != 1)
		return;
	keys_fini(&link->current);
	keys_fini(&link->previous);
	identity_drop(&link->peer.x509);
	identity_drop_chain(&link->peer.chain);
	pthread_mutex_destroy(&link->lock);
	free(link->texts);
	free(link->grant);
	free(link);
}

// ---- keys ----------------------------------------------------------------------------------------------------------

void link_add_epoch(struct link *link, uint32_t epoch, uint8_t legs, struct secret *data, uint64_t now_ms)
{
	pthread_mutex_lock(&link->lock);
	keys_fini(&link->previous);
	link->previous = link->current;
	link->previous.valid_until_ms = now_ms + link->settings.overlap_ms;
	link->current = (struct epoch_keys){.number = epoch};
	secret_move(&link->current.data, data);
	link->legs = legs;
	pthread_mutex_unlock(&link->lock);
	atomic_store(&link->epoch_since_ms, now_ms);
	atomic_store(&link->epoch_bytes, 0);
	atomic_store(&link->epoch_streams, 0);
	atomic_store(&link->epoch, epoch);
	atomic_store(&link->up, true);
}

static int derive(const struct link *link, const struct epoch_keys *keys, struct psk_identity *identity,
                  struct secret *psk)
{
	memcpy(identity->link_id, link->settings.id, LINK_ID_BYTES);
	return schedule_psk(&keys->data, identity, SUITE, psk);
}

// Called with the lock held. The task is queued once at a time.
static void want_epoch(struct link *link)
{
	if (!link->epoch_task || atomic_exchange(&link->epoch_wanted, true))
		return;
	atomic_store(&link->epoch_bytes, 0);
	atomic_store(&link->epoch_streams, 0);
	loop_post(link->epoch_loop, link->epoch_task);
}

int link_next_psk(struct link *link, struct psk_identity *identity, struct secret *psk)
{
	pthread_mutex_lock(&link->lock);
	struct epoch_keys *keys = &link->current;
	int r = LINK_NO_KEYS;
	if (atomic_load(&link->up) && keys->number != 0 && keys->next_index < LIMIT_EPOCH_INDICES) {
		identity->epoch = keys->number;
		identity->index = keys->next_index++;
		r = derive(link, keys, identity, psk);
		if (keys->next_index == LIMIT_EPOCH_INDICES / 2)
			want_epoch(link);
	}
	pthread_mutex_unlock(&link->lock);
	return r;
}

// Called with the lock held. The previous epoch's keys are wiped as soon as somebody notices that their time is over.
static struct epoch_keys *keys_of(struct link *link, uint32_t epoch, uint64_t now_ms)
{
	if (link->previous.number != 0 && now_ms >= link->previous.valid_until_ms)
		keys_fini(&link->previous);
	if (!atomic_load(&link->up) || epoch == 0)
		return NULL;
	if (epoch == link->current.number)
		return &link->current;
	return epoch == link->previous.number ? &link->previous : NULL;
}

int link_find_psk(struct link *link, const struct psk_identity *identity, uint64_t now_ms, struct secret *psk)
{
	pthread_mutex_lock(&link->lock);
	int r = TLS_FAILURE_PSK_UNKNOWN_EPOCH;
	struct epoch_keys *keys = keys_of(link, identity->epoch, now_ms);
	if (keys) {
		struct psk_identity copy = *identity;
		r = derive(link, keys, &copy, psk) == 0 ? TLS_FAILURE_NONE : TLS_FAILURE_INTERNAL;
	}
	pthread_mutex_unlock(&link->lock);
	return r;
}

int link_burn_psk(struct link *link, const struct psk_identity *identity, uint64_t now_ms)
{
	pthread_mutex_lock(&link->lock);
	int r = TLS_FAILURE_PSK_UNKNOWN_EPOCH;
	struct epoch_keys *keys = keys_of(link, identity->epoch, now_ms);
	if (keys) {
		int burnt = indices_burn(&keys->burnt, identity->index);
		r = burnt == 0                      ? TLS_FAILURE_NONE
		    : burnt == INDICES_USED         ? TLS_FAILURE_PSK_REPLAYED
		    : burnt == INDICES_OUT_OF_RANGE ? TLS_FAILURE_PSK_MALFORMED
		                                    : TLS_FAILURE_INTERNAL;
	}
	pthread_mutex_unlock(&link->lock);
	return r;
}

void link_shut(struct link *link)
{
	pthread_mutex_lock(&link->lock);
	atomic_store(&link->up, false);
	keys_fini(&link->current);
	keys_fini(&link->previous);
	link->epoch_task = NULL;
	pthread_mutex_unlock(&link->lock);
}

// ---- questions -----------------------------------------------------------------------------------------------------

bool link_is_up(const struct link *link)
{
	return atomic_load_explicit(&link->up, memory_order_acquire);
}

uint32_t link_epoch(const struct link *link)
{
	return atomic_load_explicit(&link->epoch, memory_order_relaxed);
}

enum control_role link_role(const struct link *link)
{
	return link->settings.role;
}

bool link_is_reverse(const struct link *link)
{
	return link->settings.is_reverse;
}

const uint8_t *link_id(const struct link *link)
{
	return link->settings.id;
}

const char *link_name(const struct link *link)
{
	return link->name;
}

const struct address *link_data_address(const struct link *link)
{
	return &link->settings.data_address;
}

const struct link_peer *link_peer(const struct link *link)
{
	return &link->peer;
}

uint64_t link_key_update_bytes(const struct link *link)
{
	return link->settings.key_update_bytes ? link->settings.key_update_bytes : LIMIT_TLS_KEY_BYTES;
}

uint32_t link_silence_ms(const struct link *link)
{
	return link->settings.silence_ms;
}

// ---- what it carries -----------------------------------------------------------------------------------------------

void link_limit_connections(struct link *link, uint32_t most)
{
	atomic_store(&link->connections_max, most);
}

bool link_enter_connection(struct link *link)
{
	if (atomic_fetch_add(&link->connections, 1) < atomic_load(&link->connections_max))
		return true;
	atomic_fetch_sub(&link->connections, 1);
	return false;
}

void link_leave_connection(struct link *link)
{
	atomic_fetch_sub(&link->connections, 1);
}

void link_begin_stream(struct link *link)
{
	atomic_fetch_add_explicit(&link->streams_open, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&link->streams_total, 1, memory_order_relaxed);
	uint32_t limit = link->settings.rotation_streams;
	if (limit == 0)
		return;
	uint64_t now = atomic_fetch_add_explicit(&link->epoch_streams, 1, memory_order_relaxed);
	if (now + 1 < limit || atomic_load_explicit(&link->epoch_wanted, memory_order_relaxed))
		return;
	pthread_mutex_lock(&link->lock);
	want_epoch(link);
	pthread_mutex_unlock(&link->lock);
}

void link_end_stream(struct link *link)
{
	atomic_fetch_sub_explicit(&link->streams_open, 1, memory_order_relaxed);
}

static void add_to(_Atomic uint64_t *sum, uint64_t amount)
{
	if (amount)
		atomic_fetch_add_explicit(sum, amount, memory_order_relaxed);
}

void link_count(struct link *link, uint64_t outward, uint64_t inward)
{
	add_to(&link->bytes_outward, outward);
	add_to(&link->bytes_inward, inward);
	uint64_t limit = link->settings.rotation_bytes;
	if (limit == 0)
		return;
	uint64_t now = atomic_fetch_add_explicit(&link->epoch_bytes, outward + inward, memory_order_relaxed);
	if (now + outward + inward < limit || atomic_load_explicit(&link->epoch_wanted, memory_order_relaxed))
		return;
	pthread_mutex_lock(&link->lock);
	want_epoch(link);
	pthread_mutex_unlock(&link->lock);
}

void link_count_datagrams(struct link *link, const struct link_datagrams *more)
{
	add_to(&link->datagrams.outward, more->outward);
	add_to(&link->datagrams.inward, more->inward);
	add_to(&link->datagrams.congested, more->congested);
	add_to(&link->datagrams.refused, more->refused);
	add_to(&link->datagrams.broken, more->broken);
	add_to(&link->datagrams.malformed, more->malformed);
	add_to(&link->datagrams.undelivered, more->undelivered);
}

bool link_set_epoch_task(struct link *link, struct loop *loop, struct loop_task *task)
{
	pthread_mutex_lock(&link->lock);
	link->epoch_loop = loop;
	link->epoch_task = task;
	bool on_its_way = atomic_load(&link->epoch_wanted);
	pthread_mutex_unlock(&link->lock);
	return on_its_way;
}

void link_epoch_task_ran(struct link *link)
{
	atomic_store(&link->epoch_wanted, false);
}

void link_set_rtt(struct link *link, uint32_t rtt_us)
{
	atomic_store_explicit(&link->rtt_us, rtt_us, memory_order_relaxed);
}

const char *link_legs_text(uint8_t legs)
{
	static const char *const texts[] = {
		[LEG_X25519] = "X25519",
		[LEG_X25519 | LEG_MLKEM768] = "X25519+ML-KEM-768",
		[LEG_X25519 | LEG_MCELIECE] = "X25519+McEliece-460896",
		[LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE] = "X25519+ML-KEM-768+McEliece-460896",
	};
	return legs < COUNT_OF(texts) && texts[legs] ? texts[legs] : "none";
}

void link_set_error(struct link *link, const char *text)
{
	pthread_mutex_lock(&link->lock);
	if (!link->is_cut)
		snprintf(link->error, sizeof link->error, "%s", text);
	pthread_mutex_unlock(&link->lock);
}

void link_set_cut(struct link *link, const char *text)
{
	pthread_mutex_lock(&link->lock);
	if (!link->is_cut)
		snprintf(link->error, sizeof link->error, "%s", text);
	link->is_cut = true;
	pthread_mutex_unlock(&link->lock);
}

void link_set_heard(struct link *link, uint64_t now_ms)
{
	atomic_store_explicit(&link->heard_ms, now_ms, memory_order_relaxed);
}

void link_read(struct link *link, struct link_state *state)
{
	pthread_mutex_lock(&link->lock);
	*state = (struct link_state){
		.up = atomic_load(&link->up),
		.is_cut = link->is_cut,
		.epoch = link_epoch(link),
		.legs = link->legs,
		.epoch_since_ms = atomic_load(&link->epoch_since_ms),
		.up_since_ms = link->up_since_ms,
		.streams_open = atomic_load(&link->streams_open),
		.streams_total = atomic_load(&link->streams_total),
		.bytes_outward = atomic_load(&link->bytes_outward),
		.bytes_inward = atomic_load(&link->bytes_inward),
		.datagrams = {.outward = atomic_load(&link->datagrams.outward),
	                  .inward = atomic_load(&link->datagrams.inward),
	                  .congested = atomic_load(&link->datagrams.congested),
	                  .refused = atomic_load(&link->datagrams.refused),
	                  .broken = atomic_load(&link->datagrams.broken),
	                  .malformed = atomic_load(&link->datagrams.malformed),
	                  .undelivered = atomic_load(&link->datagrams.undelivered)},
		.rtt_us = atomic_load(&link->rtt_us),
		.heard_ms = atomic_load(&link->heard_ms),
	};
	snprintf(state->error, sizeof state->error, "%s", link->error);
	pthread_mutex_unlock(&link->lock);
}
