// Reading the configuration again while the tunnel runs. The session goes on; key, cipher and timeouts are for the next
// handshake.

#include "cmd/psk_internal.h"

#include "cmd/psk_key.h"
#include "cmd/tunnel.h"
#include "config/reload.h"
#include "core/counter.h"
#include "core/log.h"
#include "node/notify.h"

#include <string.h>

static int load_key(struct psk *psk, struct config *next, struct secret *key, char problem[PSK_KEY_PROBLEM_BYTES])
{
	// What came through a descriptor cannot be read twice.
	if (next->psk.key_fd)
		return secret_set(key, psk->key.bytes, psk->key.length) < 0;
	return psk_key_load(next, key, problem);
}

static void take(struct psk *psk, struct config **next, struct secret *key)
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

void psk_reload(struct psk *psk)
{
	struct config_reload outcome;
	struct secret key = {0};
	char problem[PSK_KEY_PROBLEM_BYTES] = "";
	enum config_command command = psk->is_server ? CONFIG_PSK_SERVER : CONFIG_PSK_CLIENT;
	notify_reloading();
	int result = config_reload(command, psk->words.argc, psk->words.argv, psk->config, &outcome);
	if (result == 0) {
		result = load_key(psk, outcome.next, &key, problem);
		if (result == 0)
			result = psk_device_set_routes(psk, outcome.next, problem, sizeof problem);
		if (result == 0)
			take(psk, &outcome.next, &key);
		else
			config_reload_add_problem(&outcome, problem);
	}
	secret_fini(&key);
	counter_add(result == 0 ? COUNTER_RELOAD_OK : COUNTER_RELOAD_REFUSED, 1);
	for (size_t i = 0; i < outcome.problems.count; i++)
		log_error("reload", "%s", outcome.problems.names[i]);
	for (size_t i = 0; result == 0 && i < outcome.changed.count; i++)
		log_info("reload", "%s has changed", outcome.changed.names[i]);
	for (size_t i = 0; result == 0 && i < outcome.needs_restart.count; i++)
		log_warn("reload", "%s has changed, but needs a restart: the old value stays", outcome.needs_restart.names[i]);
	if (result == 0)
		log_info("reload", "the configuration was read again: %zu keys have changed", outcome.changed.count);
	else
		log_error("reload", "the new configuration is refused (%zu problems); the old one serves on",
		          outcome.problems.count);
	config_reload_fini(&outcome);
	notify_ready();
}
