// The smallest hub there can be, for tests of `qanat agent` and of what idle devices cost: one loop, every link is
// taken, a local TCP port for each service of the device that came last.
//
//   small_hub CA CERT KEY [--port N] [SERVICE]...
//
// Prints "link PORT", then "service NAME PORT" for each; a line "up N" or "down N" when the number of links changes,
// "refused STATUS: REASON" when a local connection comes to nothing. Ends at SIGTERM with CLOSE to all.

#include "core/clock.h"
#include "core/log.h"
#include "edge/listener.h"
#include "flow/flow.h"
#include "link/hello.h"
#include "link/responder.h"
#include "net/socket.h"
#include "node/process.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hub;

struct door {
	struct hub *hub;
	struct listener *listener;
	const char *service;
};

struct hub {
	struct loop *loop;
	struct registry *registry;
	struct gate *gate;
	struct keyserver *keyserver;
	struct reverse *reverse;
	struct reverse_worker *worker;
	struct responder *responder;
	struct listener *listener;
	struct flows *flows;
	struct link *latest;
	struct door doors[16];
	unsigned door_count;
};

struct visit {
	struct door *door;
	int fd;
	struct address peer;
};

static bool on_up(void *owner, struct link *link)
{
	struct hub *hub = owner;
	link_unref(&hub->latest);
	hub->latest = link_ref(link);
	printf("up %zu %s\n", registry_count(hub->registry), link_peer(link)->device);
	return true;
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct hub *hub = owner;
	if (hub->latest == link)
		link_unref(&hub->latest);
	if (cut)
		stream_cut_all(link);
	else
		stream_drop_parked(link);
	printf("down %zu\n", registry_count(hub->registry));
}

static const struct responder_ops responder_ops = {.on_up = on_up, .on_down = on_down};

static void accept_link(void *owner, int fd, const struct address *peer)
{
	struct hub *hub = owner;
	responder_take(hub->responder, &fd, peer);
}

static void ask(struct visit *visit);

static void on_stream(void *owner, unsigned index, struct stream *stream)
{
	(void)index;
	struct visit *visit = owner;
	struct header header = {.kind = HEADER_TCP};
	snprintf(header.service, sizeof header.service, "%s", visit->door->service);
	struct flow_arrival arrival = {.fd = &visit->fd, .peer = &visit->peer, .header = &header};
	int r = flows_take_joined(visit->door->hub->flows, &arrival, &stream);
	if (r == FLOW_UNSENT) {
		ask(visit);
		return;
	}
	socket_close(&visit->fd);
	free(visit);
}

static void on_refused(void *owner, unsigned index, const struct header_answer *answer)
{
	(void)index;
	struct visit *visit = owner;
	printf("refused %s: %s\n", header_status_name(answer->status), answer->reason);
	socket_close(&visit->fd);
	free(visit);
}

static const struct reverse_ops reverse_ops = {.on_stream = on_stream, .on_refused = on_refused};

static void ask(struct visit *visit)
{
	struct hub *hub = visit->door->hub;
	struct reverse_wish wish = {.deadline_ms = LIMIT_OPEN_MS, .ops = &reverse_ops, .owner = visit};
	snprintf(wish.service, sizeof wish.service, "%s", visit->door->service);
	struct header_answer down = {.status = HEADER_DRAINING, .reason = "no link"};
	if (!hub->latest || reverse_open(hub->worker, hub->latest, &wish) != 0)
		on_refused(visit, 0, &down);
}

static void accept_local(void *owner, int fd, const struct address *peer)
{
	struct visit *visit = calloc(1, sizeof *visit);
	if (!visit)
		abort();
	*visit = (struct visit){.door = owner, .fd = fd, .peer = *peer};
	ask(visit);
}

static void on_signal(void *owner, int number)
{
	(void)number;
	struct hub *hub = owner;
	loop_stop(hub->loop);
}

static void check(int r, const char *what)
{
	if (r == 0)
		return;
	fprintf(stderr, "small_hub: %s: %s\n", what, r < 0 ? outcome_text(r) : "refused");
	exit(1);
}

static void make(struct hub *hub, char **files, uint16_t port)
{
	struct identity_files paths = {.ca_path = files[0],
	                               .cert_path = files[1],
	                               .key_path = files[2],
	                               .usage = IDENTITY_SERVER};
	struct identity *identity;
	char problem[IDENTITY_PROBLEM_BYTES];
	int r = identity_load(&paths, &identity, problem);
	check(r, r > 0 ? problem : "certificates");
	// Devices of a test all come from this machine.
	struct admission_limits limits = {.in_flight = 64, .per_address = 1000000, .window_ms = 1000, .table = 64};
	check(loop_new(&hub->loop), "loop");
	check(registry_new(&hub->registry), "registry");
	check(gate_new(&limits, NULL, 0, &hub->gate), "gate");
	check(keyserver_new(3600 * 1000, &hub->keyserver), "keyserver");
	check(keyserver_wait(hub->keyserver), "keyserver");
	check(reverse_new(1, &hub->reverse), "reverse");
	check(reverse_worker_new(hub->reverse, 0, hub->loop, &hub->worker), "reverse");
	struct flows_settings flows = {.loop = hub->loop, .wait_ms = 10000};
	check(flows_new(&flows, &hub->flows), "flows");
	struct responder_settings settings = {
		.loop = hub->loop,
		.identity = identity,
		.pq = TLS_PQ_REQUIRE,
		.handshake_ms = 10000,
		.registry = hub->registry,
		.gate = hub->gate,
		.keyserver = hub->keyserver,
		.reverse = hub->worker,
		.control = {.role = CONTROL_RESPONDER,
	                .hello = {.version = 1,
	                          .role = CONTROL_RESPONDER,
	                          .features = HELLO_REVERSE,
	                          .legs = LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE,
	                          .carriers = 1,
	                          .heartbeat_ms = 5000,
	                          .rotation_s = 3600,
	                          .node_name = "small-hub"},
	                .rotation_ms = 3600 * 1000,
	                .heartbeat_ms = 5000,
	                .heartbeat_timeout_ms = 5000,
	                .missed_pongs_max = 3},
		.link = {.overlap_ms = 60000, .silence_ms = 15000, .connections_max = 20000},
	};
	check(responder_new(&settings, &responder_ops, hub, &hub->responder), "responder");
	struct address address;
	check(address_from_ip("127.0.0.1", port, &address), "address");
	check(listener_open(hub->loop, &address, accept_link, hub, &hub->listener), "listen");
	printf("link %u\n", ntohs(address.in4.sin_port));
}

static void open_door(struct hub *hub, const char *service)
{
	struct door *door = &hub->doors[hub->door_count++];
	struct address address;
	*door = (struct door){.hub = hub, .service = service};
	check(address_from_ip("127.0.0.1", 0, &address), "address");
	check(listener_open(hub->loop, &address, accept_local, door, &door->listener), "listen");
	printf("service %s %u\n", service, ntohs(address.in4.sin_port));
}

int main(int argc, char **argv)
{
	static struct hub hub;
	uint16_t port = 0;
	int at = 4;
	setvbuf(stdout, NULL, _IOLBF, 0);
	log_set(LOG_WARN, LOG_FORMAT_PLAIN, false);
	check(process_start(), "process");
	if (argc < 4)
		check(1, "usage: small_hub CA CERT KEY [--port N] [SERVICE]...");
	if (argc > 5 && strcmp(argv[4], "--port") == 0) {
		port = (uint16_t)strtoul(argv[5], NULL, 10);
		at = 6;
	}
	make(&hub, argv + 1, port);
	for (; at < argc && hub.door_count < COUNT_OF(hub.doors); at++)
		open_door(&hub, argv[at]);
	struct loop_signal *signal;
	check(loop_signal_open(hub.loop, SIGTERM, on_signal, &hub, &signal), "signal");
	puts("ready");
	check(loop_run(hub.loop), "loop");
	for (unsigned i = 0; i < hub.door_count; i++)
		listener_close(&hub.doors[i].listener);
	listener_close(&hub.listener);
	flows_free(&hub.flows);
	responder_free(&hub.responder, CONTROL_REASON_SHUTDOWN);
	reverse_worker_free(&hub.worker);
	link_unref(&hub.latest);
	loop_signal_close(&signal);
	loop_free(&hub.loop);
	reverse_free(&hub.reverse);
	return 0;
}
