// The thread makes a pair, puts it in use, waits an interval and begins again. A pair is made without the lock, so
// nobody waits for it: the one in use stays in use until the new one is complete. Users of a pair hold it, because a
// decapsulation is not done under the lock either; the last to let go wipes it.

#include "link/keyserver.h"

#include "core/log.h"
#include "crypto/kem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	THREAD_STACK_BYTES = 2 * 1024 * 1024, // crypto/kem needs and wipes nearly half of it
	RETRY_MS = 1000,                      // after a failure to make a pair
};

struct pair {
	struct mceliece_key *key;
	unsigned holders; // guarded by the server's lock
};

struct keyserver {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed; // any of what follows
	_Atomic uint32_t rotation_ms;
	struct pair *current, *previous;
	int failure; // of the last attempt, 0 or negative
	bool is_rotation_wanted;
	bool is_stopping;
};

// ---- pairs

static int pair_new(struct pair **pair)
{
	struct pair *fresh = calloc(1, sizeof *fresh);
	if (!fresh)
		return -ENOMEM;
	int outcome = mceliece_generate(&fresh->key);
	if (outcome != 0) {
		free(fresh);
		return outcome;
	}
	fresh->holders = 1;
	*pair = fresh;
	return 0;
}

static void let_go(struct keyserver *server, struct pair *pair)
{
	if (!pair)
		return;
	pthread_mutex_lock(&server->lock);
	bool is_last = --pair->holders == 0;
	pthread_mutex_unlock(&server->lock);
	if (!is_last)
		return;
	mceliece_key_free(&pair->key);
	free(pair);
}

static bool has_digest(const struct pair *pair, const uint8_t digest[DIGEST_BYTES])
{
	return pair && memcmp(mceliece_digest(pair->key), digest, DIGEST_BYTES) == 0;
}

// The current pair, or the one with that digest; NULL when there is none.
static struct pair *hold(struct keyserver *server, const uint8_t *digest)
{
	pthread_mutex_lock(&server->lock);
	struct pair *pair = server->current;
	if (digest && !has_digest(pair, digest))
		pair = has_digest(server->previous, digest) ? server->previous : NULL;
	if (pair)
		pair->holders++;
	pthread_mutex_unlock(&server->lock);
	return pair;
}

// ---- the thread

static void install(struct keyserver *server, struct pair *fresh, int failure)
{
	pthread_mutex_lock(&server->lock);
	// Also without a new pair: the previous one has had its second interval.
	struct pair *expired = server->previous;
	server->previous = NULL;
	if (fresh) {
		server->previous = server->current;
		server->current = fresh;
	}
	server->failure = failure;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	let_go(server, expired);
}

// True when the next pair is due, false when the server stops.
static bool wait_for_turn(struct keyserver *server, uint32_t delay_ms)
{
	struct timespec due;
	clock_gettime(CLOCK_MONOTONIC, &due);
	due.tv_sec += delay_ms / 1000;
	due.tv_nsec += (long)(delay_ms % 1000) * 1000000;
	if (due.tv_nsec >= 1000000000) {
		due.tv_sec++;
		due.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&server->lock);
	int waited = 0;
	while (!server->is_stopping && !server->is_rotation_wanted && waited != ETIMEDOUT)
		waited = pthread_cond_timedwait(&server->changed, &server->lock, &due);
	server->is_rotation_wanted = false;
	bool is_stopping = server->is_stopping;
	pthread_mutex_unlock(&server->lock);
	return !is_stopping;
}

static void *run(void *argument)
{
	struct keyserver *server = argument;
	uint32_t delay_ms;
	do {
		struct pair *fresh = NULL;
		int outcome = pair_new(&fresh);
		if (outcome != 0)
			log_error("keyserver", "no McEliece key could be made: %s; trying again in %d ms", outcome_text(outcome),
			          RETRY_MS);
		install(server, fresh, outcome);
		delay_ms = outcome == 0 ? atomic_load(&server->rotation_ms) : RETRY_MS;
	} while (wait_for_turn(server, delay_ms));
	return NULL;
}

// Signals belong to the loops: the thread starts with all of them blocked.
static int start_thread(struct keyserver *server)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int error = pthread_attr_init(&attributes);
	if (error != 0)
		return -error;
	error = pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
	sigfillset(&all);
	if (error == 0)
		error = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (error == 0) {
		error = pthread_create(&server->thread, &attributes, run, server);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	pthread_attr_destroy(&attributes);
	return -error;
}

// ---- life

static int init_locks(struct keyserver *server)
{
	pthread_condattr_t attributes;
	int error = pthread_condattr_init(&attributes);
	if (error != 0)
		return -error;
	error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	if (error == 0)
		error = pthread_cond_init(&server->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	if (error != 0)
		return -error;
	error = pthread_mutex_init(&server->lock, NULL);
	if (error != 0)
		pthread_cond_destroy(&server->changed);
	return -error;
}

static void free_locks(struct keyserver *server)
{
	pthread_mutex_destroy(&server->lock);
	pthread_cond_destroy(&server->changed);
}

int keyserver_new(uint32_t rotation_ms, struct keyserver **server)
{
	if (rotation_ms == 0)
		return -EINVAL;
	struct keyserver *fresh = calloc(1, sizeof *fresh);
	if (!fresh)
		return -ENOMEM;
	fresh->rotation_ms = rotation_ms;
	int outcome = init_locks(fresh);
	if (outcome != 0) {
		free(fresh);
		return outcome;
	}
	outcome = start_thread(fresh);
	if (outcome != 0) {
		free_locks(fresh);
		free(fresh);
		return outcome;
	}
	*server = fresh;
	return 0;
}

void keyserver_free(struct keyserver **server)
{
	struct keyserver *old = *server;
	if (!old)
		return;
	pthread_mutex_lock(&old->lock);
	old->is_stopping = true;
	pthread_cond_broadcast(&old->changed);
	pthread_mutex_unlock(&old->lock);
	pthread_join(old->thread, NULL);
	let_go(old, old->current);
	let_go(old, old->previous);
	free_locks(old);
	free(old);
	*server = NULL;
}

int keyserver_wait(struct keyserver *server)
{
	pthread_mutex_lock(&server->lock);
	while (!server->current && server->failure == 0)
		pthread_cond_wait(&server->changed, &server->lock);
	int outcome = server->current ? 0 : server->failure;
	pthread_mutex_unlock(&server->lock);
	return outcome;
}

void keyserver_rotate(struct keyserver *server)
{
	pthread_mutex_lock(&server->lock);
	server->is_rotation_wanted = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

void keyserver_set(struct keyserver *server, uint32_t rotation_ms)
{
	if (rotation_ms == 0 || atomic_exchange(&server->rotation_ms, rotation_ms) == rotation_ms)
		return;
	keyserver_rotate(server);
}

// ---- use

bool keyserver_current(struct keyserver *server, uint8_t digest[DIGEST_BYTES])
{
	struct pair *pair = hold(server, NULL);
	if (!pair)
		return false;
	memcpy(digest, mceliece_digest(pair->key), DIGEST_BYTES);
	let_go(server, pair);
	return true;
}

bool keyserver_copy(struct keyserver *server, uint8_t *out, uint8_t digest[DIGEST_BYTES])
{
	struct pair *pair = hold(server, NULL);
	if (!pair)
		return false;
	memcpy(out, mceliece_public(pair->key), MCELIECE_KEY_BYTES);
	memcpy(digest, mceliece_digest(pair->key), DIGEST_BYTES);
	let_go(server, pair);
	return true;
}

int keyserver_decapsulate(struct keyserver *server, const uint8_t digest[DIGEST_BYTES], const uint8_t *ciphertext,
                          struct secret *shared)
{
	struct pair *pair = hold(server, digest);
	if (!pair)
		return KEYSERVER_GONE;
	int outcome = mceliece_decapsulate(pair->key, ciphertext, shared);
	let_go(server, pair);
	return outcome > 0 ? KEYSERVER_GONE : outcome;
}
