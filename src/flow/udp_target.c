// Dest: an association reaches the target of its service through a connected socket of its own, so the target tells
// clients apart by their ports, and what others send there does not come in.
//
// A target that is down is no reason to end an association: datagrams are lost meanwhile, as on any network. But a name
// with several addresses goes on to the next one as long as none has answered.

#include "core/log.h"
#include "flow/udp_flow_internal.h"

#include <errno.h>
#include <string.h>

#define NOT_HERE "dest exposes no such udp service"
#define NO_DESCRIPTOR "no file descriptor is left: raise the limit (ulimit -n, LimitNOFILE=)"

static void answer_no(struct udp_flow *flow, enum header_status status, enum counter counter, const char *reason,
                      const char *told)
{
	char service[LIMIT_SERVICE_NAME_BYTES + 16];
	struct link *link = stream_link(flow->stream);
	counter_add(counter, 1);
	if (flow->service)
		service_count_error(flow->service);
	link_set_error(link, reason);
	if (udp_flow_may_log(flow->flows))
		log_warn("udp_target", "link %s: udp %s asked by %s refused: %s", link_name(link),
		         udp_flow_wanted(&flow->header, service), flow->header.origin, reason);
	stream_refuse(&flow->stream, status, told);
	udp_flow_close(flow);
}

// ---- the socket ----------------------------------------------------------------------------------------------------

static void on_target(void *owner, int events);

static int open_target(struct udp_flow *flow)
{
	int r = -EDESTADDRREQ;
	for (unsigned i = 0; i < flow->target_count; i++) {
		r = datagram_connect(&flow->targets[(flow->target_at + i) % flow->target_count], &flow->target);
		if (r < 0)
			continue;
		flow->target_at = (flow->target_at + i) % flow->target_count;
		r = loop_io_open(flow->flows->settings.loop, flow->target.fd, on_target, flow, &flow->io);
		if (r == 0) {
			loop_io_want(flow->io, LOOP_READ);
			return 0;
		}
		datagram_close(&flow->target);
	}
	return r;
}

void udp_target_report(struct udp_flow *flow)
{
	counter_add(COUNTER_ICMP_REPORTS, 1);
	if (flow->answered || flow->target_count < 2)
		return;
	loop_io_close(&flow->io);
	datagram_close(&flow->target);
	flow->target_at = (flow->target_at + 1) % flow->target_count;
	int r = open_target(flow);
	if (r == 0)
		return;
	counter_add(COUNTER_ASSOCIATION_BROKEN, 1);
	if (udp_flow_may_log(flow->flows))
		log_warn("udp_target", "link %s: the target of %s is not reached any more: %s",
		         link_name(stream_link(flow->stream)), flow->service->name, outcome_text(r));
	udp_flow_close(flow);
}

static void on_target(void *owner, int events)
{
	struct udp_flow *flow = owner;
	(void)events;
	for (int i = 0; i < LIMIT_DATAGRAM_BATCHES_PER_TURN && !flow->closed; i++) {
		const struct datagram_run *runs;
		size_t count;
		if (!stream_has_room(flow->stream)) {
			loop_io_want(flow->io, 0);
			return;
		}
		int r = datagram_recv(&flow->target, &runs, &count);
		if (r == DATAGRAM_NONE)
			return;
		if (r == DATAGRAM_UNREACHABLE) {
			udp_target_report(flow);
			return;
		}
		if (r < 0) {
			counter_add(COUNTER_ASSOCIATION_BROKEN, 1);
			if (udp_flow_may_log(flow->flows))
				log_warn("udp_target", "link %s: an association with %s broke: %s",
				         link_name(stream_link(flow->stream)), flow->service->name, outcome_text(r));
			udp_flow_close(flow);
			return;
		}
		flow->answered = true;
		for (size_t k = 0; k < count; k++) {
			service_count_bytes(flow->service, 0, runs[k].length);
			udp_flow_gather(flow, &runs[k]);
			if (flow->closed)
				return;
		}
		udp_flow_flush(flow);
	}
}

void udp_target_resume(struct udp_flow *flow)
{
	if (stream_has_room(flow->stream))
		loop_io_want(flow->io, LOOP_READ);
}

void udp_target_close(struct udp_flow *flow)
{
	loop_lookup_cancel(&flow->lookup);
	if (flow->io)
		loop_io_close(&flow->io);
	datagram_close(&flow->target);
	if (flow->service)
		service_leave(flow->service);
	flow->service = NULL;
	service_table_unref(&flow->table);
}

// ---- how it begins -------------------------------------------------------------------------------------------------

static void begin(struct udp_flow *flow)
{
	int r = open_target(flow);
	if (r == -EMFILE || r == -ENFILE) {
		answer_no(flow, HEADER_LIMIT, COUNTER_ASSOCIATION_DESCRIPTORS, NO_DESCRIPTOR,
		          "dest can take no more associations now");
		return;
	}
	if (r < 0) {
		answer_no(flow, HEADER_REFUSED_TARGET, COUNTER_ASSOCIATION_NO_TARGET, outcome_text(r),
		          "the target cannot be reached");
		return;
	}
	flow->phase = UDP_OPEN;
	flow->moved_ms = loop_now_ms(flow->flows->settings.loop);
	if (stream_confirm(flow->stream) != 0) {
		counter_add(COUNTER_ASSOCIATION_BROKEN, 1);
		udp_flow_close(flow);
		return;
	}
	counter_add(COUNTER_ASSOCIATION_OPENED, 1);
	stream_want_read(flow->stream, true);
	udp_flow_step(flow);
}

static void on_addresses(void *owner, int error, const struct addrinfo *list)
{
	struct udp_flow *flow = owner;
	if (error != 0) {
		answer_no(flow, HEADER_REFUSED_TARGET, COUNTER_ASSOCIATION_NO_TARGET, gai_strerror(error),
		          "the target cannot be reached");
		return;
	}
	for (; list && flow->target_count < UDP_TARGETS_MAX; list = list->ai_next) {
		struct address *target = &flow->targets[flow->target_count];
		if (list->ai_addrlen > sizeof target->storage)
			continue;
		target->length = list->ai_addrlen;
		memcpy(&target->storage, list->ai_addr, list->ai_addrlen);
		if (target->any.sa_family == AF_INET)
			target->in4.sin_port = htons(flow->service->target_port);
		else if (target->any.sa_family == AF_INET6)
			target->in6.sin6_port = htons(flow->service->target_port);
		else
			continue;
		flow->target_count++;
	}
	begin(flow);
}

static void resolve(struct udp_flow *flow)
{
	const struct service *service = flow->service;
	struct loop *loop = flow->flows->settings.loop;
	if (address_from_ip(service->target_host, service->target_port, &flow->targets[0]) == 0) {
		flow->target_count = 1;
		begin(flow);
		return;
	}
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
	int r = loop_lookup_start(loop, service->target_host, NULL, &hints, on_addresses, flow, &flow->lookup);
	if (r < 0)
		answer_no(flow, HEADER_INTERNAL, COUNTER_ASSOCIATION_NO_TARGET, outcome_text(r), "dest cannot do that now");
}

// Hostile: charged before anything is opened. False: refused, the flow is gone.
static bool admit(struct udp_flow *flow)
{
	struct udp_flows *flows = flow->flows;
	const struct udp_flows_settings *settings = &flows->settings;
	const struct link_peer *peer = link_peer(stream_link(flow->stream));
	struct service *service = service_find(settings->services, &flow->header);
	const char *problem = service ? NULL : service_missing(settings->services, &flow->header);
	enum header_status status = service ? HEADER_LIMIT : HEADER_NO_SERVICE;
	enum counter counter = COUNTER_ASSOCIATION_UNKNOWN_SERVICE;
	if (service && !service_admits(service, peer->x509)) {
		problem = "the peer's certificate matches none of the service's allowed_clients";
		status = HEADER_NO_SERVICE;
		counter = COUNTER_ASSOCIATION_NOT_ALLOWED;
	}
	if (!problem && settings->peers && settings->peer_max > 0) {
		quota_key_of_fingerprint(peer->certificate.fingerprint, &flow->charge);
		flow->charged = quota_enter(settings->peers, &flow->charge, settings->peer_max) == 0;
		if (!flow->charged) {
			problem = "the peer has dest.max_connections_per_client open";
			counter = COUNTER_ASSOCIATION_CLIENT_LIMIT;
		}
	}
	if (!problem && !service_enter(service)) {
		service_count_error(service);
		problem = "the service has as many connections as it may have";
		counter = COUNTER_ASSOCIATION_LIMIT;
	}
	if (problem) {
		answer_no(flow, status, counter, problem, status == HEADER_LIMIT ? problem : NOT_HERE);
		return false;
	}
	flow->table = service_table_ref(settings->services);
	flow->service = service;
	return true;
}

void udp_flows_take_stream(struct udp_flows *flows, struct stream *stream, const struct header *header)
{
	struct udp_flow *flow = udp_flow_make(flows);
	if (!flow) {
		if (udp_flow_may_log(flows))
			log_warn("udp_target", "link %s: an association was refused: udp.max_associations are open",
			         link_name(stream_link(stream)));
		stream_refuse(&stream, HEADER_LIMIT, "dest has as many associations as it may have");
		return;
	}
	flow->stream = stream;
	flow->header = *header;
	flow->phase = UDP_RESOLVING;
	flow->until_ms = loop_now_ms(flows->settings.loop) + flows->settings.target_ms;
	stream_own(stream, &udp_flow_stream_ops, flow);
	if (admit(flow))
		resolve(flow);
}
