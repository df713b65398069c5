// Many agents in one process, each with a link of its own and parked connections, to see what a fleet costs a hub and
// how it comes back:
//
//   fleet CA CERT KEY HOST PORT COUNT [--parked 1] [--prefix d]
//
// Device names are PREFIX and a number. Prints "N up after S s" whenever the number of links has doubled, is complete
// or has changed by a tenth; ends at SIGTERM. All of them share one certificate, so the hub must take claimed names.
// A stream that the hub opens hears back what it says.

#include "core/clock.h"
#include "core/log.h"
#include "link/hello.h"
#include "link/initiator.h"
#include "link/pool.h"
#include "node/process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fleet;

struct device {
	struct fleet *fleet;
	struct initiator *initiator;
	struct pool *pool;
	struct link *link;
};

struct fleet {
	struct loop *loop;
	struct device *devices;
	unsigned count, up, told;
	uint64_t since_ms;
	uint64_t lost_ms;
};

static void tell(struct fleet *fleet)
{
	unsigned step = fleet->count / 10 + 1,
			 moved = fleet->up > fleet->told ? fleet->up - fleet->told : fleet->told - fleet->up;
	if (moved < step && fleet->up != fleet->count && fleet->up != 0)
		return;
	fleet->told = fleet->up;
	printf("%u up after %.1f s\n", fleet->up, (double)(clock_ms() - fleet->since_ms) / 1000);
}

static void on_up(void *owner, struct link *link)
{
	struct device *device = owner;
	device->fleet->up += device->link == NULL;
	link_unref(&device->link);
	device->link = link_ref(link);
	if (pool_set_link(device->pool, link) < 0)
		abort();
	tell(device->fleet);
}

static void on_draining(void *owner, struct link *link)
{
	(void)owner;
	(void)link;
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct device *device = owner;
	if (cut)
		stream_cut_all(link);
	if (link != device->link)
		return;
	if (device->fleet->up == device->fleet->count)
		device->fleet->since_ms = clock_ms(); // from here on they come back
	device->fleet->up--;
	(void)!pool_set_link(device->pool, NULL);
	link_unref(&device->link);
	tell(device->fleet);
}

static void on_given_up(void *owner, const char *reason)
{
	(void)owner;
	(void)reason;
}

static void on_open(void *owner, struct link *link, const struct control_open *open)
{
	struct device *device = owner;
	struct header_answer answer = {.status = HEADER_LIMIT, .reason = "too many"};
	if (pool_claim(device->pool, link, open) != 0)
		initiator_open_failed(device->initiator, link, open->token, &answer);
}

static void on_claim_lost(void *owner, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                          const struct header_answer *answer)
{
	struct device *device = owner;
	initiator_open_failed(device->initiator, link, token, answer);
}

static const struct initiator_ops ops = {
	.on_up = on_up, .on_draining = on_draining, .on_down = on_down, .on_open = on_open, .on_given_up = on_given_up};

// ---- streams -------------------------------------------------------------------------------------------------------

static void echo_on(void *owner, int events)
{
	(void)events;
	struct stream **slot = owner;
	static uint8_t bytes[16384];
	size_t got;
	int r = STREAM_BLOCKED;
	while (stream_has_room(*slot) && (r = stream_recv(*slot, bytes, sizeof bytes, &got)) == 0)
		if (stream_send(*slot, bytes, got) != 0)
			break;
	if (r != STREAM_END && r != STREAM_FAILED && !stream_is_broken(*slot))
		return;
	if (r == STREAM_END)
		(void)!stream_finish(*slot);
	stream_close(slot);
	free(slot);
}

static const struct stream_ops echo_ops = {.on_ready = echo_on};

static void on_header(void *owner, struct stream *stream, const struct header *header)
{
	(void)owner;
	(void)header;
	struct stream **slot = malloc(sizeof *slot);
	if (!slot)
		abort();
	*slot = stream;
	stream_own(stream, &echo_ops, slot);
	if (stream_confirm(stream) == 0)
		stream_want_read(stream, true);
}

static void on_signal(void *owner, int number)
{
	(void)number;
	loop_stop(((struct fleet *)owner)->loop);
}

static void on_trim(void *owner)
{
	(void)owner;
	stream_trim_idle();
}

static void check(int r, const char *what)
{
	if (r == 0)
		return;
	fprintf(stderr, "fleet: %s: %s\n", what, r < 0 ? outcome_text(r) : "refused");
	exit(1);
}

static void start_device(struct fleet *fleet, unsigned index, struct initiator_settings *settings, unsigned parked,
                         const char *prefix)
{
	struct device *device = &fleet->devices[index];
	device->fleet = fleet;
	struct pool_settings pool = {.loop = fleet->loop,
	                             .size = parked,
	                             .handshake_ms = 30000,
	                             .on_header = on_header,
	                             .on_claim_lost = on_claim_lost,
	                             .owner = device};
	check(pool_new(&pool, &device->pool), "pool");
	snprintf(settings->control.hello.device, sizeof settings->control.hello.device, "%.32s%05u", prefix, index);
	check(initiator_new(settings, &ops, device, &device->initiator), "initiator");
}

int main(int argc, char **argv)
{
	static struct fleet fleet;
	unsigned parked = 1;
	const char *prefix = "d";
	setvbuf(stdout, NULL, _IOLBF, 0);
	log_set(LOG_ERROR, LOG_FORMAT_PLAIN, false);
	check(process_start(), "process");
	if (argc < 7)
		check(1, "usage: fleet CA CERT KEY HOST PORT COUNT [--parked N] [--prefix TEXT]");
	for (int i = 7; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--parked") == 0)
			parked = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else
			prefix = argv[i + 1];
	}
	struct identity_files paths = {.ca_path = argv[1],
	                               .cert_path = argv[2],
	                               .key_path = argv[3],
	                               .usage = IDENTITY_CLIENT};
	struct initiator_settings settings = {.pq = TLS_PQ_REQUIRE,
	                                      .host = argv[4],
	                                      .port = (uint16_t)strtoul(argv[5], NULL, 10),
	                                      .handshake_ms = 30000,
	                                      .reconnect = true,
	                                      .full_jitter = true,
	                                      .delay_first_ms = 1000,
	                                      .delay_max_ms = 30000,
	                                      .control = {.role = CONTROL_INITIATOR,
	                                                  .hello = {.version = 1,
	                                                            .features = HELLO_REVERSE,
	                                                            .legs = LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE,
	                                                            .carriers = 1,
	                                                            .heartbeat_ms = 15000,
	                                                            .rotation_s = 3600,
	                                                            .node_name = "fleet"},
	                                                  .rotation_ms = 3600 * 1000,
	                                                  .heartbeat_ms = 15000,
	                                                  .heartbeat_timeout_ms = 15000,
	                                                  .missed_pongs_max = 3},
	                                      .link = {.overlap_ms = 60000, .connections_max = 1000}};
	char problem[IDENTITY_PROBLEM_BYTES];
	int r = identity_load(&paths, &settings.identity, problem);
	check(r, r > 0 ? problem : "certificates");
	check(loop_new(&fleet.loop), "loop");
	settings.loop = fleet.loop;
	check(keycache_new(2, &settings.keycache), "keycache");
	fleet.count = (unsigned)strtoul(argv[6], NULL, 10);
	fleet.devices = calloc(fleet.count, sizeof *fleet.devices);
	check(fleet.devices ? 0 : -12, "devices");
	fleet.since_ms = clock_ms();
	struct loop_timer *trim;
	check(loop_timer_open(fleet.loop, on_trim, NULL, &trim), "timer");
	loop_timer_arm(trim, 1000, 1000);
	struct loop_signal *signal;
	check(loop_signal_open(fleet.loop, SIGTERM, on_signal, &fleet, &signal), "signal");
	for (unsigned i = 0; i < fleet.count; i++)
		start_device(&fleet, i, &settings, parked, prefix);
	check(loop_run(fleet.loop), "loop");
	return 0;
}
