// Source: who may begin an association, and how it begins.

#include "core/block.h"
#include "core/log.h"
#include "flow/udp_flow_internal.h"
#include "policy/bucket.h"

#include <stdio.h>
#include <string.h>

// Header and first bytes must fit the early data (LIMIT_EARLY_DATA_BYTES).
#define FIRST_BYTES (LIMIT_EARLY_DATA_BYTES - LIMIT_STREAM_HEADER_BYTES)

_Static_assert(LIMIT_UDP_NEW_AT_ONCE + LIMIT_DIALS <= LIMIT_PENDING_PER_WORKER, "a burst fits one worker of dest");

void udp_flow_say_refused(struct udp_flows *flows, const struct address *client, const char *reason)
{
	char text[ADDRESS_TEXT_BYTES];
	if (!udp_flow_may_log(flows))
		return;
	address_format(client, text);
	log_warn("udp_flow", "%s: an association was refused: %s", text, reason);
}

// Hostile: addresses of datagrams are easily invented, so a newcomer costs no more than these questions until the rate
// lets it have a handshake. The rate comes last: who is refused for another reason takes nothing from it.
static bool charge(struct udp_flow *flow, const struct address *client)
{
	struct udp_flows *flows = flow->flows;
	struct udp_shares *shares = flows->settings.shares;
	quota_key_of_address(&client->any, &flow->charge);
	flow->charged = quota_enter(shares->clients, &flow->charge, flows->settings.client_max) == 0;
	if (!flow->charged) {
		counter_add(COUNTER_ASSOCIATION_CLIENT_LIMIT, 1);
		udp_flow_say_refused(flows, client, "this client has udp.max_associations_per_client open");
		return false;
	}
	if (!bucket_take(shares->fresh, loop_now_ms(flows->settings.loop) * 1000)) {
		counter_add(COUNTER_ASSOCIATION_RATE, 1);
		udp_flow_say_refused(flows, client, "too many new associations in a second");
		return false;
	}
	return true;
}

static uint16_t port_of(const struct address *client)
{
	return client->any.sa_family == AF_INET6 ? client->in6.sin6_port : client->in4.sin_port;
}

struct udp_flow *udp_flow_admit(struct udp_flows *flows, const struct address *client, size_t datagrams)
{
	const struct udp_flows_settings *settings = &flows->settings;
	if (!cidr_list_allows(settings->allowed, settings->allowed_count, &client->any)) {
		counter_add(COUNTER_ASSOCIATION_NOT_ALLOWED, 1);
		counter_add(COUNTER_DATAGRAM_STRANGER, datagrams);
		udp_flow_say_refused(flows, client, "it is not in source.connection_filter.allowed_source_ips");
		return NULL;
	}
	// Hostile: UDP allows it, and means "do not answer". An answer would be refused with EINVAL, which a port takes for a
	// sign that it cannot segment.
	if (port_of(client) == 0) {
		counter_add(COUNTER_DATAGRAM_STRANGER, datagrams);
		return NULL;
	}
	if (flows->draining || !pool_is_ready(settings->pool)) {
		counter_add(COUNTER_DATAGRAM_NO_LINK, datagrams);
		return NULL;
	}
	struct udp_flow *flow = udp_flow_make(flows);
	if (!flow)
		udp_flow_say_refused(flows, client, "udp.max_associations are open");
	if (flow && charge(flow, client)) {
		flow->client = *client;
		return flow;
	}
	if (flow)
		udp_flow_close(flow);
	counter_add(COUNTER_DATAGRAM_NO_ASSOCIATION, datagrams);
	return NULL;
}

void udp_flow_ask(struct udp_flow *flow, size_t length, size_t count)
{
	struct udp_flows *flows = flow->flows;
	char origin[ADDRESS_TEXT_BYTES];
	address_format(&flow->client, origin);
	snprintf(flow->header.origin, sizeof flow->header.origin, "%.*s", (int)sizeof flow->header.origin - 1, origin);
	size_t first = 0, taken = 0;
	while (taken < count) {
		size_t size = 2 + ((size_t)flows->unit[first] << 8 | flows->unit[first + 1]);
		if (first + size > FIRST_BYTES)
			break;
		first += size;
		taken++;
	}
	flow->phase = UDP_ASKING;
	flow->until_ms = loop_now_ms(flows->settings.loop) + flows->settings.answer_ms;
	struct stream_opening opening = {.header = &flow->header,
	                                 .first = flows->unit,
	                                 .first_length = first,
	                                 .ops = &udp_flow_stream_ops,
	                                 .owner = flow};
	int r = pool_open(flows->settings.pool, &opening, &flow->stream);
	if (r != 0) {
		counter_add(COUNTER_DATAGRAM_NO_LINK, count);
		udp_flow_close(flow);
		return;
	}
	counter_add(COUNTER_DATAGRAM_OUTWARD, taken);
	link_count_datagrams(stream_link(flow->stream), &(struct link_datagrams){.outward = taken});
	stream_want_read(flow->stream, true);
	if (taken < count)
		udp_flow_keep(flow, flows->unit + first, length - first, count - taken);
	udp_flow_step(flow);
}

void udp_flow_on_refused(void *owner, const struct header_answer *answer)
{
	struct udp_flow *flow = owner;
	struct udp_flows *flows = flow->flows;
	char reason[LIMIT_REASON_BYTES + 64], service[LIMIT_SERVICE_NAME_BYTES + 16];
	snprintf(reason, sizeof reason, "%s%s%s", header_status_name(answer->status), *answer->reason ? ": " : "",
	         answer->reason);
	link_set_error(stream_link(flow->stream), reason);
	counter_add(COUNTER_ASSOCIATION_REFUSED, 1);
	if (udp_flow_may_log(flows))
		log_warn("udp_flow", "%s: %s refused: %s", flow->header.origin, udp_flow_wanted(&flow->header, service),
		         reason);
	udp_flow_drop(flow, COUNTER_DATAGRAM_REFUSED, flow->waiting_count);
	stream_close(&flow->stream);
	flow->waiting_count = flow->waiting_length = 0;
	block_give(&flow->waiting);
	flow->phase = UDP_REFUSED;
	flow->until_ms = loop_now_ms(flows->settings.loop) + LIMIT_UDP_REFUSED_MS;
}
