// What proxy listens on, and who may come in there.

#include "cmd/proxy_internal.h"
#include "cmd/tunnel.h"
#include "core/counter.h"
#include "core/log.h"
#include "net/socket.h"
#include "node/mail.h"

#include <errno.h>
#include <stdlib.h>

struct arrival {
	struct proxy_worker *worker;
	int fd;
	struct address peer;
};

static void on_arrival(void *contents)
{
	struct arrival *arrival = contents;
	if (arrival->worker->sidecars)
		sidecars_take(arrival->worker->sidecars, &arrival->fd, &arrival->peer);
	socket_close(&arrival->fd);
}

uint64_t proxy_open(const struct proxy *proxy)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < proxy->worker_count; i++)
		sum += sidecars_open(proxy->worker[i].sidecars);
	return sum;
}

static bool admits(struct proxy *proxy, const struct address *peer)
{
	const struct config_of_proxy *config = &proxy->config->proxy;
	char text[ADDRESS_TEXT_BYTES];
	uint64_t now = loop_now_ms(workers_loop(proxy->node.workers, 0));
	if (cidr_list_allows(config->allowed_source_ips, config->allowed_source_count, &peer->any))
		return true;
	uint64_t held = brake_sum(&proxy->refusals, now);
	counter_add(COUNTER_ADMISSION_SOURCE, 1);
	address_format(peer, text);
	if (held > 0)
		log_warn("proxy", "%llu more connections of such addresses were refused", (unsigned long long)held);
	if (brake_passes(&proxy->refusals, now))
		log_warn("proxy", "%s refused: it is not in proxy.connection_filter.allowed_source_ips", text);
	return false;
}

static uint32_t load_of(void *owner, unsigned index)
{
	const struct proxy *proxy = owner;
	return sidecars_open(proxy->worker[index].sidecars);
}

static void on_accept(void *owner, int fd, const struct address *peer)
{
	struct proxy *proxy = ((struct proxy_door *)owner)->proxy;
	if (!admits(proxy, peer)) {
		socket_reset(&fd);
		return;
	}
	unsigned best = workers_lightest(proxy->node.workers, load_of, proxy, &proxy->turn);
	struct arrival arrival = {.worker = &proxy->worker[best], .fd = fd, .peer = *peer};
	if (!mail_send(arrival.worker->loop, on_arrival, &arrival, sizeof arrival))
		socket_reset(&fd);
}

// Clients of this address would be refused for ever: a supervisor must see it.
static void on_broken(void *owner)
{
	struct proxy_door *door = owner;
	process_fail(door->proxy->node.process, 1);
}

static int door_open(struct proxy *proxy, struct proxy_door *door, const char *text)
{
	const struct config_of_proxy *config = &proxy->config->proxy;
	struct address address;
	char bound[ADDRESS_TEXT_BYTES];
	door->proxy = proxy;
	if (address_parse(text, &address) != 0) { // the schema has checked it
		log_error("proxy", "proxy.listen \"%s\" is not an address", text);
		return 2;
	}
	int r = listener_open(workers_loop(proxy->node.workers, 0), &address, on_accept, door, &door->listener);
	if (r < 0) {
		log_error("proxy", "cannot listen on %s (proxy.listen): %s", text, tunnel_listen_problem(&address, r));
		return 1;
	}
	listener_on_broken(door->listener, on_broken);
	address_format(&address, bound);
	log_info("proxy", "listening on %s for %s", bound,
	         config->mode == CONFIG_PROXY_CLIENT ? "plain connections" : "TLS connections");
	return 0;
}

int proxy_doors_open(struct proxy *proxy)
{
	const struct config_of_proxy *config = &proxy->config->proxy;
	int worst = 0;
	proxy->doors = calloc(config->listen_count, sizeof *proxy->doors);
	if (!proxy->doors) {
		log_error("proxy", "cannot listen: %s", outcome_text(-ENOMEM));
		return 1;
	}
	proxy->door_count = config->listen_count;
	// All of them are tried, so that every taken port is named.
	for (size_t i = 0; i < config->listen_count; i++) {
		int r = door_open(proxy, &proxy->doors[i], config->listen[i]);
		worst = r > worst ? r : worst;
	}
	return worst;
}

void proxy_doors_close(struct proxy *proxy)
{
	for (size_t i = 0; i < proxy->door_count; i++)
		listener_close(&proxy->doors[i].listener);
}
