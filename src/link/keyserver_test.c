#include "link/keyserver.h"

#include "core/clock.h"
#include "crypto/kem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NEVER_MS = 3600000, PATIENCE_MS = 60000 };

static struct keyserver *server_ready(uint32_t rotation_ms)
{
	struct keyserver *server = NULL;
	assert_int_equal(keyserver_new(rotation_ms, &server), 0);
	assert_int_equal(keyserver_wait(server), 0);
	return server;
}

// Until another key than this one is current, which then replaces it.
static void wait_for_change(struct keyserver *server, uint8_t digest[DIGEST_BYTES])
{
	uint64_t deadline_ms = clock_ms() + PATIENCE_MS;
	uint8_t now[DIGEST_BYTES];
	do {
		struct timespec pause = {.tv_nsec = 1000000};
		nanosleep(&pause, NULL);
		assert_true(keyserver_current(server, now));
		if (clock_ms() > deadline_ms)
			fail_msg("no new key within %d ms", PATIENCE_MS);
	} while (memcmp(now, digest, DIGEST_BYTES) == 0);
	memcpy(digest, now, DIGEST_BYTES);
}

struct sealed {
	uint8_t digest[DIGEST_BYTES];
	uint8_t ciphertext[MCELIECE_CIPHERTEXT_BYTES];
	struct secret shared;
};

static void seal(struct keyserver *server, struct sealed *sealed)
{
	uint8_t *key = malloc(MCELIECE_KEY_BYTES);
	assert_non_null(key);
	*sealed = (struct sealed){0};
	assert_true(keyserver_copy(server, key, sealed->digest));
	const struct digest_part part = {key, MCELIECE_KEY_BYTES};
	uint8_t digest[DIGEST_BYTES];
	digest_sha384(&part, 1, digest);
	assert_memory_equal(digest, sealed->digest, DIGEST_BYTES);
	assert_int_equal(mceliece_encapsulate(key, sealed->ciphertext, &sealed->shared), 0);
	free(key);
}

static void expect_opens(struct keyserver *server, const struct sealed *sealed)
{
	struct secret shared = {0};
	assert_int_equal(keyserver_decapsulate(server, sealed->digest, sealed->ciphertext, &shared), 0);
	assert_memory_equal(shared.bytes, sealed->shared.bytes, KEM_SECRET_BYTES);
	secret_fini(&shared);
}

static void expect_gone(struct keyserver *server, const struct sealed *sealed)
{
	struct secret shared = {0};
	assert_int_equal(keyserver_decapsulate(server, sealed->digest, sealed->ciphertext, &shared), KEYSERVER_GONE);
	assert_false(secret_is_set(&shared));
}

static void first_key_opens_what_was_sealed_for_it(void **state)
{
	(void)state;
	struct keyserver *server = server_ready(NEVER_MS);
	struct sealed sealed;
	uint8_t digest[DIGEST_BYTES];
	seal(server, &sealed);
	assert_true(keyserver_current(server, digest));
	assert_memory_equal(digest, sealed.digest, DIGEST_BYTES);
	expect_opens(server, &sealed);
	sealed.digest[0] ^= 1;
	expect_gone(server, &sealed);
	secret_fini(&sealed.shared);
	keyserver_free(&server);
	assert_null(server);
	keyserver_free(&server);
}

static void previous_key_is_kept_and_the_one_before_is_gone(void **state)
{
	(void)state;
	struct keyserver *server = server_ready(NEVER_MS);
	struct sealed first, second;
	uint8_t digest[DIGEST_BYTES];
	seal(server, &first);
	memcpy(digest, first.digest, DIGEST_BYTES);
	keyserver_rotate(server);
	wait_for_change(server, digest);
	seal(server, &second);
	expect_opens(server, &first);
	expect_opens(server, &second);
	keyserver_rotate(server);
	wait_for_change(server, digest);
	expect_gone(server, &first);
	expect_opens(server, &second);
	secret_fini(&first.shared);
	secret_fini(&second.shared);
	keyserver_free(&server);
}

static void key_changes_by_itself_after_the_interval(void **state)
{
	(void)state;
	struct keyserver *server = server_ready(50);
	struct sealed sealed;
	uint8_t digest[DIGEST_BYTES];
	seal(server, &sealed);
	memcpy(digest, sealed.digest, DIGEST_BYTES);
	wait_for_change(server, digest);
	wait_for_change(server, digest);
	expect_gone(server, &sealed);
	secret_fini(&sealed.shared);
	keyserver_free(&server);
}

static void stopping_waits_for_nothing_but_the_key_being_made(void **state)
{
	(void)state;
	struct keyserver *server = NULL;
	assert_true(keyserver_new(0, &server) < 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(keyserver_new(NEVER_MS, &server), 0);
		// At once, while the first key is being made; and while the thread sleeps.
		if (i % 2)
			assert_int_equal(keyserver_wait(server), 0);
		keyserver_free(&server);
	}
}

// ---- many users while keys change

struct user {
	pthread_t thread;
	struct keyserver *server;
	atomic_bool *stop;
	unsigned opened, gone, wrong;
};

static void *use(void *argument)
{
	struct user *user = argument;
	uint8_t *key = malloc(MCELIECE_KEY_BYTES);
	while (key && !atomic_load(user->stop)) {
		struct secret sent = {0}, received = {0};
		uint8_t digest[DIGEST_BYTES], ciphertext[MCELIECE_CIPHERTEXT_BYTES];
		if (!keyserver_copy(user->server, key, digest) || mceliece_encapsulate(key, ciphertext, &sent) != 0)
			user->wrong++;
		sched_yield();
		int outcome = keyserver_decapsulate(user->server, digest, ciphertext, &received);
		if (outcome == KEYSERVER_GONE)
			user->gone++;
		else if (outcome == 0 && secret_is_equal(sent.bytes, received.bytes, KEM_SECRET_BYTES))
			user->opened++;
		else
			user->wrong++;
		secret_fini(&sent);
		secret_fini(&received);
	}
	free(key);
	return NULL;
}

static void users_on_other_threads_never_meet_a_half_made_key(void **state)
{
	(void)state;
	struct keyserver *server = server_ready(NEVER_MS);
	atomic_bool stop = false;
	struct user users[3] = {0};
	uint8_t digest[DIGEST_BYTES];
	assert_true(keyserver_current(server, digest));
	for (size_t i = 0; i < COUNT_OF(users); i++) {
		users[i].server = server;
		users[i].stop = &stop;
		assert_int_equal(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
	}
	for (int i = 0; i < 10; i++) {
		keyserver_rotate(server);
		wait_for_change(server, digest);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < COUNT_OF(users); i++) {
		assert_int_equal(pthread_join(users[i].thread, NULL), 0);
		assert_int_equal(users[i].wrong, 0);
		assert_true(users[i].opened > 0);
	}
	keyserver_free(&server);
}

static int start(void **state)
{
	(void)state;
	return secret_start();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_key_opens_what_was_sealed_for_it),
		cmocka_unit_test(previous_key_is_kept_and_the_one_before_is_gone),
		cmocka_unit_test(key_changes_by_itself_after_the_interval),
		cmocka_unit_test(stopping_waits_for_nothing_but_the_key_being_made),
		cmocka_unit_test(users_on_other_threads_never_meet_a_half_made_key),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
