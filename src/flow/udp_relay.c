#include "flow/udp_relay.h"

#include "edge/socks.h"
#include "flow/udp_flow_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct udp_relay {
	struct udp_flows *flows;
	struct udp_port *port;
	struct udp_flow *listed;
	struct address client;
	bool has_port; // the client's port is known
	struct route_table *routes;
	struct udp_flow *flow[LIMIT_UDP_RELAY_SERVICES]; // NULL: free
	struct request asked[LIMIT_UDP_RELAY_SERVICES];  // how the client named it
};

// ---- one service ---------------------------------------------------------------------------------------------------

static bool is_asked(const struct request *a, const struct request *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

// Answers name the service as the client did.
static bool set_prefix(struct udp_flow *flow, const struct request *request)
{
	uint8_t bytes[SOCKS_DATAGRAM_BYTES];
	size_t length = socks_datagram_encode(request, bytes);
	flow->prefix.iov_base = malloc(length);
	if (!flow->prefix.iov_base)
		return false;
	memcpy(flow->prefix.iov_base, bytes, length);
	flow->prefix.iov_len = length;
	return true;
}

static struct udp_flow *begin(struct udp_relay *relay, const struct request *request)
{
	struct header header = {.kind = HEADER_UDP};
	size_t place = 0;
	int r = route_find(relay->routes, request, &header);
	if (r != 0) {
		counter_add(COUNTER_DATAGRAM_NOT_EXPOSED, 1);
		udp_flow_say_refused(relay->flows, &relay->client,
		                     r == ROUTE_NOT_OUTBOUND
		                         ? "source.allowed_outbound does not list the address it asked for"
		                         : "neither source.exposed_ports nor source.forwards expose what it asked for");
		return NULL;
	}
	while (place < LIMIT_UDP_RELAY_SERVICES && relay->flow[place])
		place++;
	if (place == LIMIT_UDP_RELAY_SERVICES) {
		counter_add(COUNTER_ASSOCIATION_CLIENT_LIMIT, 1);
		counter_add(COUNTER_DATAGRAM_NO_ASSOCIATION, 1);
		udp_flow_say_refused(relay->flows, &relay->client, "this relay has as many services as it may have");
		return NULL;
	}
	struct udp_flow *flow = udp_flow_admit(relay->flows, &relay->client, 1);
	if (!flow)
		return NULL;
	if (!set_prefix(flow, request)) {
		counter_add(COUNTER_DATAGRAM_NO_ASSOCIATION, 1);
		udp_flow_close(flow);
		return NULL;
	}
	flow->header = header;
	udp_flow_list(flow, relay->port, &relay->listed);
	flow->place = &relay->flow[place];
	relay->flow[place] = flow;
	relay->asked[place] = *request;
	return flow;
}

static struct udp_flow *find(struct udp_relay *relay, const struct request *request)
{
	for (size_t i = 0; i < LIMIT_UDP_RELAY_SERVICES; i++)
		if (relay->flow[i] && is_asked(&relay->asked[i], request))
			return relay->flow[i];
	return begin(relay, request);
}

// ---- what arrives --------------------------------------------------------------------------------------------------

static bool is_from_client(struct udp_relay *relay, const struct address *peer)
{
	if (!address_is_same_host(peer, &relay->client))
		return false;
	uint16_t port = peer->any.sa_family == AF_INET6 ? peer->in6.sin6_port : peer->in4.sin_port;
	uint16_t known = relay->client.any.sa_family == AF_INET6 ? relay->client.in6.sin6_port : relay->client.in4.sin_port;
	if (relay->has_port)
		return port == known;
	relay->has_port = true;
	relay->client = *peer;
	return true;
}

// What goes to the same service leaves together; *gathered is whose datagrams are in the unit.
static void take(struct udp_relay *relay, const uint8_t *bytes, size_t length, struct udp_flow **gathered)
{
	struct request request;
	size_t used;
	if (socks_datagram_decode(bytes, length, &request, &used) != 0) {
		counter_add(COUNTER_DATAGRAM_MALFORMED, 1);
		return;
	}
	struct udp_flow *flow = find(relay, &request);
	if (!flow)
		return;
	struct datagram_run run = {.bytes = bytes + used, .length = length - used, .each = length - used};
	if (*gathered && *gathered != flow)
		udp_flow_flush(*gathered);
	*gathered = flow;
	udp_flow_gather(flow, &run);
}

static void on_runs(void *owner, const struct datagram_run *runs, size_t count)
{
	struct udp_relay *relay = owner;
	struct udp_flow *gathered = NULL;
	for (size_t i = 0; i < count; i++) {
		const struct datagram_run *run = &runs[i];
		// Hostile: a relay is nobody's but its client's.
		if (!is_from_client(relay, &run->peer)) {
			counter_add(COUNTER_DATAGRAM_STRANGER, datagram_run_count(run));
			continue;
		}
		size_t at = 0;
		do {
			size_t left = run->length - at, size = left < run->each ? left : run->each;
			take(relay, run->bytes + at, size, &gathered);
			at += size;
		} while (at < run->length);
	}
	if (gathered)
		udp_flow_flush(gathered);
}

// ---- life ----------------------------------------------------------------------------------------------------------

static void set_port(struct address *address, uint16_t port)
{
	if (address->any.sa_family == AF_INET6)
		address->in6.sin6_port = htons(port);
	else
		address->in4.sin_port = htons(port);
}

int udp_relay_open(struct udp_flows *flows, const struct udp_relay_settings *settings, struct address *bound,
                   struct udp_relay **out)
{
	struct udp_relay *relay = calloc(1, sizeof *relay);
	if (!relay)
		return -ENOMEM;
	relay->flows = flows;
	relay->client = *settings->client;
	relay->has_port = settings->client_port != 0;
	set_port(&relay->client, settings->client_port);
	*bound = *settings->local;
	set_port(bound, 0);
	int r = udp_port_open(flows->settings.loop, bound, DATAGRAM_ALONE, on_runs, relay, &relay->port);
	if (r < 0) {
		free(relay);
		return r;
	}
	relay->routes = route_table_ref(settings->routes);
	*out = relay;
	return 0;
}

void udp_relay_set(struct udp_relay *relay, struct route_table *routes)
{
	struct route_table *old = relay->routes;
	relay->routes = route_table_ref(routes);
	route_table_unref(&old);
}

void udp_relay_close(struct udp_relay **slot)
{
	struct udp_relay *relay = *slot;
	*slot = NULL;
	if (!relay)
		return;
	udp_flow_close_listed(&relay->listed);
	udp_port_close(&relay->port);
	route_table_unref(&relay->routes);
	free(relay);
}
