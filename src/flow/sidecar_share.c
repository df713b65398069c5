#include "flow/sidecar_share.h"

#include "limits.h"
#include "policy/admission.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct named_tally {
	struct named_tally *next;
	struct tally tally;
	char name[];
};

struct sidecar_shares {
	_Atomic uint32_t open, handshakes;
	_Atomic uint32_t connections_max, client_max, handshakes_max;
	struct quota *clients;
	pthread_mutex_t lock;       // of what follows
	struct admission *rates;    // NULL: no limit
	struct sidecar_limits made; // what `rates` was made for
	struct named_tally *tallies;
	size_t tally_count;
};

int sidecar_shares_new(const struct sidecar_limits *limits, uint64_t seed, struct sidecar_shares **out)
{
	struct sidecar_shares *shares = calloc(1, sizeof *shares);
	if (!shares)
		return -ENOMEM;
	pthread_mutex_init(&shares->lock, NULL);
	int r = quota_new(LIMIT_QUOTA_KEYS, seed, &shares->clients);
	if (r == 0)
		r = sidecar_shares_set(shares, limits);
	if (r == 0 && !sidecar_tally(shares, ""))
		r = -ENOMEM;
	if (r < 0)
		sidecar_shares_free(&shares);
	else
		*out = shares;
	return r;
}

static int make_rates(const struct sidecar_limits *limits, struct admission **rates)
{
	struct admission_limits wanted = {.in_flight = UINT32_MAX,
	                                  .per_address = limits->rate_max,
	                                  .window_ms = limits->rate_window_ms,
	                                  .table = LIMIT_ADDRESS_TABLE};
	return limits->rate_max == 0 ? 0 : admission_new(&wanted, rates);
}

int sidecar_shares_set(struct sidecar_shares *shares, const struct sidecar_limits *limits)
{
	struct admission *fresh = NULL, *old = NULL;
	bool is_same = limits->rate_max == shares->made.rate_max && limits->rate_window_ms == shares->made.rate_window_ms;
	int r = is_same ? 0 : make_rates(limits, &fresh);
	if (r < 0)
		return r;
	atomic_store(&shares->connections_max, limits->connections_max);
	atomic_store(&shares->client_max, limits->client_max);
	atomic_store(&shares->handshakes_max, limits->handshakes_max);
	pthread_mutex_lock(&shares->lock);
	if (!is_same) {
		old = shares->rates;
		shares->rates = fresh;
	}
	shares->made = *limits;
	pthread_mutex_unlock(&shares->lock);
	admission_free(&old);
	return 0;
}

void sidecar_shares_free(struct sidecar_shares **slot)
{
	struct sidecar_shares *shares = *slot;
	*slot = NULL;
	if (!shares)
		return;
	while (shares->tallies) {
		struct named_tally *tally = shares->tallies;
		shares->tallies = tally->next;
		free(tally);
	}
	quota_free(&shares->clients);
	admission_free(&shares->rates);
	pthread_mutex_destroy(&shares->lock);
	free(shares);
}

// ---- places --------------------------------------------------------------------------------------------------------

static bool take_place(_Atomic uint32_t *count, _Atomic uint32_t *limit)
{
	uint32_t most = atomic_load_explicit(limit, memory_order_relaxed);
	uint32_t before = atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
	if (most == 0 || before < most)
		return true;
	atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
	return false;
}

bool sidecar_share_enter(struct sidecar_shares *shares)
{
	return take_place(&shares->open, &shares->connections_max);
}

void sidecar_share_leave(struct sidecar_shares *shares)
{
	atomic_fetch_sub_explicit(&shares->open, 1, memory_order_relaxed);
}

uint32_t sidecar_shares_open(const struct sidecar_shares *shares)
{
	return atomic_load_explicit(&shares->open, memory_order_relaxed);
}

bool sidecar_share_charge(struct sidecar_shares *shares, const struct quota_key *key, bool *charged)
{
	uint32_t most = atomic_load_explicit(&shares->client_max, memory_order_relaxed);
	*charged = most > 0 && quota_enter(shares->clients, key, most) == 0;
	return most == 0 || *charged;
}

void sidecar_share_discharge(struct sidecar_shares *shares, const struct quota_key *key)
{
	quota_leave(shares->clients, key);
}

bool sidecar_share_begin(struct sidecar_shares *shares)
{
	return take_place(&shares->handshakes, &shares->handshakes_max);
}

void sidecar_share_end(struct sidecar_shares *shares)
{
	atomic_fetch_sub_explicit(&shares->handshakes, 1, memory_order_relaxed);
}

bool sidecar_share_allows(struct sidecar_shares *shares, const struct sockaddr *address, uint64_t now_ms)
{
	pthread_mutex_lock(&shares->lock);
	int answer = shares->rates ? admission_enter(shares->rates, address, now_ms) : ADMISSION_OK;
	// Only the rate is of interest here; how many there are at once is counted above.
	if (shares->rates && answer == ADMISSION_OK)
		admission_leave(shares->rates, address);
	pthread_mutex_unlock(&shares->lock);
	return answer == ADMISSION_OK;
}

// ---- tallies -------------------------------------------------------------------------------------------------------

static struct named_tally *make_tally(struct sidecar_shares *shares, const char *target)
{
	size_t size = strlen(target) + 1;
	struct named_tally *made = shares->tally_count < LIMIT_TALLIES ? calloc(1, sizeof *made + size) : NULL;
	if (!made)
		return NULL;
	memcpy(made->name, target, size);
	made->next = shares->tallies;
	shares->tallies = made;
	shares->tally_count++;
	return made;
}

struct tally *sidecar_tally(struct sidecar_shares *shares, const char *target)
{
	pthread_mutex_lock(&shares->lock);
	struct named_tally *found = shares->tallies;
	while (found && strcmp(found->name, target) != 0)
		found = found->next;
	if (!found)
		found = make_tally(shares, target);
	pthread_mutex_unlock(&shares->lock);
	return found ? &found->tally : NULL;
}
