// Reading the configuration again while the tunnel runs. The session goes on; key, cipher and timeouts are for the next
// handshake.

#include "cmd/psk_internal.h"

#include "cmd/psk_key.h"
#include "cmd/tunnel.h"
#include "cmd/tunnel_reload.h"
#include "core/log.h"

#include <stdio.h>
#include <string.h>

_Static_assert(TUNNEL_RELOAD_PROBLEM_BYTES >= PSK_KEY_PROBLEM_BYTES, "a problem of the key is a problem of the reload");

static int load_key(struct psk *psk, struct config *next, struct secret *key, char *problem)
{
	const char *now = psk->config->psk.key_fd, *wanted = next->psk.key_fd;
	// What came through a descriptor cannot be read twice.
	if (wanted && now && strcmp(wanted, now) == 0)
		return secret_set(key, psk->key.bytes, psk->key.length) < 0;
	if (wanted) {
		snprintf(problem, PSK_KEY_PROBLEM_BYTES,
		         "psk.key_fd: a descriptor is read once, at the start; use psk.key_file for a key that changes");
		return 1;
	}
	return psk_key_load(next, key, problem);
}

static void put_into_force(struct psk *psk, struct config **next, struct secret *key)
{
	bool is_other_key = !secret_is_equal(psk->key.bytes, key->bytes, key->length);
	pthread_mutex_lock(&psk->lock);
	struct config *old = psk->config;
	psk->config = *next;
	*next = NULL;
	pthread_mutex_unlock(&psk->lock);
	secret_move(&psk->key, key);
	psk_device_set(psk);
	tunnel_log(psk->config);
	if (is_other_key)
		log_info("reload", "the key has changed: the next handshake uses it, the session there is goes on");
	config_free(&old);
}

static int take(void *owner, struct config **next, struct identity **identity,
                char problem[TUNNEL_RELOAD_PROBLEM_BYTES])
{
	struct psk *psk = owner;
	struct secret key = {0};
	(void)identity;
	int result = load_key(psk, *next, &key, problem);
	if (result == 0)
		result = psk_routes_set(psk, *next, problem);
	if (result == 0)
		put_into_force(psk, next, &key);
	secret_fini(&key);
	return result;
}

bool psk_reload(struct psk *psk, struct config_reload *outcome)
{
	struct tunnel_reload reload = {.command = psk->is_server ? CONFIG_PSK_SERVER : CONFIG_PSK_CLIENT,
	                               .argc = psk->words.argc,
	                               .argv = psk->words.argv,
	                               .running = psk->config,
	                               .has_own_files = true,
	                               .owner = psk,
	                               .take = take};
	return tunnel_reload(&reload, outcome);
}
