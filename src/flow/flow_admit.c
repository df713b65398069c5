// Dest: who may have a service, and what its target is told of them.

#include "edge/proxy_header.h"
#include "flow/flow_internal.h"

// A service that a peer may not use looks to it like one that does not exist.
#define NOT_HERE "no such service is exposed by dest"

static bool refuse(struct flow *flow, enum header_status status, enum counter counter, const char *reason)
{
	flow_answer_no(flow, status, counter, reason, status == HEADER_NO_SERVICE ? NOT_HERE : reason);
	return false;
}

bool flow_admit(struct flow *flow)
{
	struct flows *flows = flow->flows;
	const struct link_peer *peer = link_peer(stream_link(flow->stream));
	struct service *service = service_find(flows->settings.services, &flow->header);
	if (!service)
		return refuse(flow, HEADER_NO_SERVICE, COUNTER_FLOW_REFUSED_SERVICE,
		              service_missing(flows->settings.services, &flow->header));
	if (!service_admits(service, peer->x509))
		return refuse(flow, HEADER_NO_SERVICE, COUNTER_FLOW_REFUSED_CLIENT,
		              "the peer's certificate matches none of the service's allowed_clients");
	// Hostile: charged before anything is dialled, so nobody makes more of us than a limit allows.
	struct quota_key key;
	quota_key_of_fingerprint(peer->certificate.fingerprint, &key);
	if (!flow_charge(flow, &key))
		return refuse(flow, HEADER_LIMIT, COUNTER_FLOW_REFUSED_CLIENT_LIMIT,
		              "the peer has dest.max_connections_per_client open");
	if (!service_enter(service)) {
		service_count_error(service);
		return refuse(flow, HEADER_LIMIT, COUNTER_FLOW_REFUSED_LIMIT,
		              "the service has as many connections as it may have");
	}
	flow->table = service_table_ref(flows->settings.services);
	flow->service = service;
	return true;
}

bool flow_introduce(struct flow *flow, const struct address *target)
{
	uint8_t bytes[PROXY_HEADER_BYTES];
	if (!flow->service->introduces)
		return true;
	const struct link_peer *peer = link_peer(stream_link(flow->stream));
	const struct identity_text *own = &flow->flows->settings.own;
	struct proxy_tls tls = {
		.version = peer->tls.version,
		.cipher = peer->tls.cipher,
		.common_name = peer->certificate.common_name,
		.signature = own->signature,
		.key = own->key_type,
		.group = peer->tls.group,
		.scheme = peer->tls.signature_own,
	};
	struct proxy_header header = {.server = *target, .tls = &tls};
	if (address_parse(flow->header.origin, &header.client) != 0) {
		header.client = (struct address){.length = 0};
		header.origin = flow->header.origin[0] ? flow->header.origin : NULL;
	}
	return flow_say(flow, bytes, proxy_header_encode(&header, bytes));
}
