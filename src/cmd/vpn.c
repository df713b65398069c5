#include "cmd/vpn.h"

#include "cmd/tunnel.h"
#include "cmd/tunnel_socket.h"
#include "cmd/vpn_internal.h"
#include "config/flags.h"
#include "core/clock.h"
#include "core/log.h"
#include "node/mail.h"
#include "node/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A refusal that is repeated is said again so often.
#define SAY_AGAIN_MS 30000

static const char usage[] =
	"usage: qanat vpn server [--ipv4 192.168.3.1/24] [flags]\n"
	"       qanat vpn client --server HOST [--ipv4 192.168.3.2/24] [flags]\n"
	"       qanat vpn release\n\n"
	"A layer-3 tunnel between two hosts over TLS 1.3, with certificates on both sides.\n"
	"`qanat vpn server --help` and `qanat vpn client --help` list all flags.\n"
	"`qanat vpn release` makes networks reachable again that the kill switch of a killed process\n"
	"(of `vpn` or `psk`) left unreachable.\n";

// ---- what server and client share

// True: the server is asked for it.
static bool say_address(const char *text, struct grant_network *address)
{
	if (!text || !text[0])
		return false;
	if (strcmp(text, "auto") == 0)
		return true;
	(void)!grant_parse(text, address); // has been checked with the configuration
	return false;
}

struct control_settings vpn_control(const struct vpn *vpn, const struct config *config, enum control_role role)
{
	struct control_settings settings = tunnel_control(config, role);
	settings.hello.terms = (struct terms){.is_given = true,
	                                      .streams = (uint16_t)config->vpn.stream_count,
	                                      .mtu = config->vpn.mtu,
	                                      .takes_super = config->vpn.offload};
	if (role == CONTROL_INITIATOR) {
		struct grant *grant = &settings.hello.grant;
		grant->asks4 = say_address(config->vpn.ipv4, &grant->ipv4);
		grant->asks6 = say_address(config->vpn.ipv6, &grant->ipv6);
		grant->is_given = grant->asks4 || grant->asks6 || grant->ipv4.version || grant->ipv6.version;
	}
	snprintf(settings.hello.build_id, sizeof settings.hello.build_id, "%s", config->vpn.build_id);
	(void)vpn;
	return settings;
}

void vpn_note_refusal(struct vpn *vpn, const char *reason)
{
	uint64_t now = clock_ms();
	pthread_mutex_lock(&vpn->lock);
	bool is_new = strncmp(vpn->last_refusal, reason, sizeof vpn->last_refusal - 1) != 0 ||
	              now - vpn->refused_ms >= SAY_AGAIN_MS;
	snprintf(vpn->last_refusal, sizeof vpn->last_refusal, "%s", reason);
	if (is_new)
		vpn->refused_ms = now;
	pthread_mutex_unlock(&vpn->lock);
	if (is_new)
		log_warn("vpn", "no data connection: %s", reason);
}

void vpn_tell_all(struct vpn *vpn, void (*open)(void *contents), struct link *link)
{
	for (unsigned i = 0; i < vpn->worker_count; i++) {
		struct vpn_news news = {.worker = &vpn->worker[i], .link = link ? link_ref(link) : NULL};
		mail_send_surely(vpn->worker[i].loop, open, &news, sizeof news);
	}
}

void vpn_on_cut(void *contents)
{
	struct vpn_news *news = contents;
	stream_cut_all(news->link);
	link_unref(&news->link);
}

static void on_fail(void *contents)
{
	struct vpn *vpn = *(struct vpn **)contents;
	log_error("vpn", "the device has been deleted: nothing passes any more");
	process_fail(vpn->process, 1);
}

static void on_gone(void *owner)
{
	struct vpn *vpn = owner;
	mail_send_surely(workers_loop(vpn->workers, 0), on_fail, &vpn, sizeof vpn);
}

static void on_refused(void *owner, struct link *link, const char *reason)
{
	(void)link;
	vpn_note_refusal(owner, reason);
}

static const struct lanes_ops lanes_ops = {.on_gone = on_gone, .on_refused = on_refused};

// ---- the process

static void on_drain(void *owner)
{
	struct vpn *vpn = owner;
	atomic_store(&vpn->draining, true);
	if (vpn->is_server)
		vpn_server_drain(vpn);
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
	(void)vpn_reload(owner, &outcome);
	config_reload_fini(&outcome);
}

static const struct process_ops process_ops = {.on_drain = on_drain, .is_busy = is_busy, .on_reload = on_reload};

static void on_ask_reload(void *owner, reload_answer_fn answer, void *to)
{
	struct config_reload outcome;
	bool ok = vpn_reload(owner, &outcome);
	tunnel_socket_report(ok, &outcome, answer, to);
	config_reload_fini(&outcome);
}

static bool on_ask_drain(void *owner)
{
	struct vpn *vpn = owner;
	return process_drain(vpn->process, "asked to on the control socket");
}

static const struct control_socket_ops control_socket_ops = {.status = vpn_fill_status,
                                                             .reload = on_ask_reload,
                                                             .drain = on_ask_drain};

static const struct control_socket_ops control_socket_ops_of_many = {.status = vpn_fill_status,
                                                                     .reload = on_ask_reload,
                                                                     .drain = on_ask_drain,
                                                                     .devices = vpn_clients_answer_devices,
                                                                     .kick = vpn_clients_answer_kick};

// ---- start and stop

static int start_worker(void *owner, unsigned index, struct loop *loop)
{
	struct vpn *vpn = owner;
	struct vpn_worker *worker = &vpn->worker[index];
	*worker = (struct vpn_worker){.vpn = vpn, .index = index, .loop = loop};
	int r = lanes_open(vpn->lanes, index, loop);
	return r == 0 && vpn->is_server ? vpn_server_worker(worker) : r;
}

static int stop_worker(void *owner, unsigned index, struct loop *loop)
{
	struct vpn *vpn = owner;
	(void)loop;
	lanes_close(vpn->lanes, index);
	responder_free(&vpn->worker[index].responder, CONTROL_REASON_SHUTDOWN);
	return 0;
}

struct lanes_dialling vpn_dialling(const struct config *config)
{
	struct lanes_dialling dialling = {.keepalive_ms = config->link.keep_alive_interval_ms,
	                                  .handshake_ms = config->link.handshake_timeout_ms};
	snprintf(dialling.congestion, sizeof dialling.congestion, "%s", config->link.congestion);
	return dialling;
}

static int open_lanes(struct vpn *vpn)
{
	const struct config *config = vpn->config;
	struct lanes_settings settings = {
		.tun = tun_device_tun(vpn->device),
		.workers = vpn->worker_count,
		.count = config->vpn.stream_count,
		.takes_super = config->vpn.offload,
		.has_table = vpn->clients != NULL,
		.clamp = config->vpn.clamp_mss ? config->vpn.mtu : 0,
		.dialling = vpn_dialling(config),
	};
	int r = lanes_new(&settings, &lanes_ops, vpn, &vpn->lanes);
	if (r == 0)
		lanes_set_joins(vpn->lanes, config->vpn.client_to_client);
	if (r == 0 && !vpn->clients)
		lanes_peer_set_limit(lanes_only(vpn->lanes), config->vpn.bandwidth_limit);
	return r;
}

static int start_workers(struct vpn *vpn)
{
	int r = open_lanes(vpn);
	if (r == 0)
		r = workers_each(vpn->workers, start_worker, vpn);
	if (r == 0)
		r = process_open(workers_loop(vpn->workers, 0), vpn->config->node.drain_timeout_seconds * 1000, &process_ops,
		                 vpn, &vpn->process);
	if (r == 0)
		r = watchdog_open(vpn->workers, notify_watchdog_ms(), notify_alive, &vpn->watchdog);
	return r;
}

// The kernel does the other half of the work, on whatever core is left to it.
static unsigned count_workers(const struct config *config)
{
	unsigned some = workers_cores() / 2;
	if (config->node.workers > 0)
		return config->node.workers;
	return some > 0 ? some : 1;
}

static int start(struct vpn *vpn)
{
	int r = tunnel_identity(vpn->config, vpn->is_server ? IDENTITY_SERVER : IDENTITY_CLIENT, &vpn->identity);
	if (r != 0)
		return r;
	r = workers_new(count_workers(vpn->config), &vpn->workers);
	if (r == 0) {
		vpn->worker_count = workers_count(vpn->workers);
		vpn->worker = calloc(vpn->worker_count, sizeof *vpn->worker);
		r = vpn->worker ? 0 : -ENOMEM;
	}
	if (r == 0 && vpn->is_server)
		r = vpn_server_tables(vpn, vpn->config);
	if (r == 0 && vpn->is_server && vpn_clients_are_for(vpn->config))
		r = vpn_clients_open(vpn);
	if (r == 0 && (vpn_device_open(vpn) != 0 || (vpn->clients && vpn_clients_routes(vpn) != 0)))
		return 1;
	if (r == 0)
		r = start_workers(vpn);
	if (r < 0) {
		log_error("vpn", "cannot start: %s", outcome_text(r));
		return 1;
	}
	r = vpn->is_server ? vpn_server_doors(vpn) : vpn_client_start(vpn);
	if (r == 0)
		r = tunnel_socket_open(vpn->config, vpn->is_server ? "vpn-server" : "vpn-client", workers_loop(vpn->workers, 0),
		                       vpn->clients ? &control_socket_ops_of_many : &control_socket_ops, vpn,
		                       &vpn->control_socket);
	// Last: who hears of /health may count on all the rest.
	if (r == 0)
		r = tunnel_http(vpn->config, vpn_fill_status, vpn, &vpn->http);
	return r;
}

static void stop(struct vpn *vpn)
{
	if (vpn->http)
		http_stop(&vpn->http);
	control_socket_close(&vpn->control_socket);
	for (unsigned i = 0; i < COUNT_OF(vpn->doors); i++)
		listener_close(&vpn->doors[i]);
	if (vpn->lanes)
		(void)!workers_each(vpn->workers, stop_worker, vpn);
	initiator_free(&vpn->initiator, CONTROL_REASON_SHUTDOWN);
	watchdog_close(&vpn->watchdog);
	process_close(&vpn->process);
	link_unref(&vpn->link);
	workers_free(&vpn->workers);
	vpn_clients_close(vpn);
	lanes_free(&vpn->lanes);
	vpn_device_close(vpn);
	keyserver_free(&vpn->keyserver);
	registry_free(&vpn->registry);
	gate_free(&vpn->gate);
	keycache_free(&vpn->keycache);
	if (vpn->identity)
		identity_unref(&vpn->identity);
	free(vpn->worker);
}

static int run(bool is_server, int argc, char **argv)
{
	struct vpn vpn = {.is_server = is_server,
	                  .argc = argc,
	                  .argv = argv,
	                  .lock = PTHREAD_MUTEX_INITIALIZER,
	                  .started_ms = clock_ms()};
	int r = config_load(is_server ? CONFIG_VPN_SERVER : CONFIG_VPN_CLIENT, argc, argv, stdout, stderr, &vpn.config);
	if (r != 0)
		return r == CONFIG_HELP ? 0 : r == CONFIG_BAD ? 2 : 1;
	tunnel_log(vpn.config);
	int status = process_start() != 0;
	if (status == 0)
		status = start(&vpn);
	if (status == 0)
		status = process_confine_here() != 0;
	if (status == 0) {
		tun_routes_settle(vpn.routes);
		notify_ready();
		notify_status(is_server ? "waiting for the client" : "dialling the server");
		log_info("vpn", "qanat %s is running as %s with %u workers", QANAT_VERSION, is_server ? "server" : "client",
		         vpn.worker_count);
		status = workers_run(vpn.workers) < 0 ? 1 : process_exit_code(vpn.process);
		if (status != 0)
			tun_routes_leave_guards(vpn.routes);
	}
	stop(&vpn);
	config_free(&vpn.config);
	return status;
}

static int vpn_release(int argc)
{
	struct netlink_swept swept;
	if (argc > 0) {
		fputs(usage, stderr);
		return 2;
	}
	int result = netlink_release(&swept);
	if (result < 0) {
		fprintf(stderr, "qanat vpn release: %s\n", outcome_text(result));
		return 1;
	}
	printf("%u networks are no longer held by a kill switch; %u routes past a device are taken back\n", swept.guards,
	       swept.pins);
	return swept.left > 0;
}

// The word moves in front of global options: "vpn -c FILE server" is "vpn server -c FILE".
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

int vpn_command(int argc, char **argv)
{
	const char *word = argc > 1 ? take_word(argc - 1, argv + 1) : NULL;
	if (word && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)) {
		fputs(usage, stdout);
		return 0;
	}
	if (word && strcmp(word, "release") == 0)
		return vpn_release(argc - 2);
	// The seed's words for this transport mean the same.
	bool is_server = word && (strcmp(word, "server") == 0 || strcmp(word, "tcpserver") == 0);
	bool is_client = word && (strcmp(word, "client") == 0 || strcmp(word, "tcpclient") == 0);
	if (is_server || is_client)
		return run(is_server, argc - 2, argv + 2);
	fputs(usage, stderr);
	return 2;
}
