#include "cmd/psk.h"

#include "cmd/psk_internal.h"
#include "cmd/psk_key.h"
#include "cmd/tunnel.h"
#include "cmd/tunnel_socket.h"
#include "config/flags.h"
#include "core/clock.h"
#include "core/log.h"
#include "net/socket.h"
#include "node/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: qanat psk server -k KEY [-l :20203] [flags]\n"
							"       qanat psk client -k KEY -s HOST:20203 [flags]\n"
							"       qanat psk genkey\n\n"
							"A layer-3 tunnel between two hosts with a pre-shared key, on the wire of ttun.\n"
							"`qanat psk server --help` and `qanat psk client --help` list all flags.\n";

// ---- the process

static void on_drain(void *owner)
{
	struct psk *psk = owner;
	pthread_mutex_lock(&psk->lock);
	psk->is_draining = true;
	pthread_mutex_unlock(&psk->lock);
}

// Packets are not finished, they are sent again: there is nothing to wait for.
static bool is_busy(void *owner)
{
	(void)owner;
	return false;
}

static void on_reload(void *owner)
{
	struct config_reload outcome;
	(void)psk_reload(owner, &outcome);
	config_reload_fini(&outcome);
}

static const struct process_ops process_ops = {.on_drain = on_drain, .is_busy = is_busy, .on_reload = on_reload};

// ---- the control socket

static void on_ask_reload(void *owner, reload_answer_fn answer, void *to)
{
	struct config_reload outcome;
	bool ok = psk_reload(owner, &outcome);
	tunnel_socket_report(ok, &outcome, answer, to);
	config_reload_fini(&outcome);
}

static bool on_ask_drain(void *owner)
{
	struct psk *psk = owner;
	return process_drain(psk->process, "asked to on the control socket");
}

static const struct control_socket_ops control_socket_ops = {.status = psk_fill_status,
                                                             .reload = on_ask_reload,
                                                             .drain = on_ask_drain};

// The wire has one order of frames in each direction, and the kernel's own part of the work wants a core as well: by
// default a second thread where there are four cores, and no more than four.
static unsigned count_workers(const struct config *config)
{
	unsigned some = workers_cores() / 2;
	if (config->node.workers > 0)
		return config->node.workers;
	return some < 1 ? 1 : some > 4 ? 4 : some;
}

static int start(struct psk *psk)
{
	char problem[PSK_KEY_PROBLEM_BYTES] = "";
	enum config_psk_mptcp mptcp = psk->config->psk.mptcp;
	if (psk_key_load(psk->config, &psk->key, problem) != 0) {
		log_error("psk", "%s", problem);
		return 2;
	}
	if (workers_new(count_workers(psk->config), &psk->workers) < 0)
		return 1;
	psk->loop = workers_loop(psk->workers, 0);
	if (process_open(psk->loop, 0, &process_ops, psk, &psk->process) < 0 ||
	    watchdog_open(psk->workers, notify_watchdog_ms(), notify_alive, &psk->watchdog) < 0)
		return 1;
	socket_prefer_mptcp(mptcp != CONFIG_MPTCP_OFF, mptcp == CONFIG_MPTCP_ON);
	int result = psk_session_prepare(psk) < 0;
	if (result == 0)
		result = psk_device_open(psk);
	if (result == 0)
		result = psk->is_server ? psk_server_start(psk) : psk_client_start(psk);
	if (result == 0)
		result = tunnel_socket_open(psk->config, psk->is_server ? "psk-server" : "psk-client", psk->loop,
		                            &control_socket_ops, psk, &psk->control_socket);
	if (result == 0)
		result = tunnel_http(psk->config, psk_fill_status, psk, &psk->http);
	return result;
}

static void stop(struct psk *psk)
{
	if (psk->http)
		http_stop(&psk->http);
	control_socket_close(&psk->control_socket);
	psk_server_stop(psk);
	psk_client_stop(psk);
	psk_session_cancel_greetings(psk);
	psk_device_stop(psk);
	process_close(&psk->process);
	watchdog_close(&psk->watchdog);
	workers_free(&psk->workers);
	psk_device_close(psk);
	secret_fini(&psk->key);
	free(psk->hellos);
	psk->hellos = NULL;
}

static int run(bool is_server, struct psk_words *words)
{
	struct psk psk = {.is_server = is_server,
	                  .words = *words,
	                  .lock = PTHREAD_MUTEX_INITIALIZER,
	                  .started_ms = clock_ms()};
	enum config_command command = is_server ? CONFIG_PSK_SERVER : CONFIG_PSK_CLIENT;
	int r = config_load(command, words->argc, words->argv, stdout, stderr, &psk.config);
	if (r != 0)
		return r == CONFIG_HELP ? 0 : r == CONFIG_BAD ? 2 : 1;
	tunnel_log(psk.config);
	if (words->has_key)
		log_warn("psk",
		         "the key was on the command line, where other users of this machine could see it until now; prefer "
		         "--key-file, --key-fd or QANAT_PSK_KEY");
	if (words->ignored)
		log_warn("psk", "%s is for the other side and does nothing here, as in ttun", words->ignored);
	int status = process_start() < 0;
	if (status == 0)
		status = start(&psk);
	if (status == 0)
		status = process_confine_here() != 0;
	if (status == 0) {
		tun_routes_settle(psk.routes);
		notify_ready();
		notify_status(is_server ? "waiting for the client" : "dialling the server");
		log_info("psk", "qanat %s is running as %s", QANAT_VERSION, is_server ? "server" : "client");
		status = workers_run(psk.workers) < 0 ? 1 : process_exit_code(psk.process);
		if (status != 0)
			tun_routes_leave_guards(psk.routes);
	}
	stop(&psk);
	config_free(&psk.config);
	return status;
}

// The word moves in front of global options: "psk -c FILE server" is "psk server -c FILE".
static const char *take_word(int argc, char **argv)
{
	int globals = flags_count_global(argc, argv);
	if (globals >= argc)
		return NULL;
	char *word = argv[globals];
	memmove(argv + 1, argv, (size_t)globals * sizeof *argv);
	argv[0] = word;
	return word;
}

int psk_command(int argc, char **argv)
{
	const char *word = argc > 1 ? take_word(argc - 1, argv + 1) : NULL;
	if (word && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)) {
		fputs(usage, stdout);
		return 0;
	}
	if (word && strcmp(word, "genkey") == 0)
		return psk_key_generate(argc - 2, argv + 2);
	bool is_server = word && strcmp(word, "server") == 0;
	if (!is_server && !(word && strcmp(word, "client") == 0)) {
		fputs(usage, stderr);
		return 2;
	}
	struct psk_words words;
	if (psk_words_take(is_server, argc - 2, argv + 2, &words) < 0)
		return 1;
	int status = run(is_server, &words);
	psk_words_fini(&words);
	return status;
}
