// How flows come about: on source from an accepted local socket, on dest from a stream's header.

#include "core/counter.h"
#include "core/log.h"
#include "flow/flow_internal.h"
#include "net/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

// Header and first bytes must fit the early data (LIMIT_EARLY_DATA_BYTES).
#define FIRST_BYTES (LIMIT_EARLY_DATA_BYTES - LIMIT_STREAM_HEADER_BYTES)

#define NO_DESCRIPTOR "no file descriptor is left: raise the limit (ulimit -n, LimitNOFILE=)"

const struct stream_ops flow_stream_ops = {.on_ready = flow_on_stream, .on_refused = flow_on_refused};

const char *flow_wanted(const struct header *header, char text[LIMIT_SERVICE_NAME_BYTES + 16])
{
	if (header->service[0] && strcmp(header->service, SERVICE_DEFAULT) != 0)
		snprintf(text, LIMIT_SERVICE_NAME_BYTES + 16, "service %s", header->service);
	else
		snprintf(text, LIMIT_SERVICE_NAME_BYTES + 16, "service on port %u", header->port);
	return text;
}

void flow_opened(const struct flow *flow)
{
	char service[LIMIT_SERVICE_NAME_BYTES + 16], name[FLOW_NAME_BYTES];
	counter_add(COUNTER_FLOW_OPENED, 1);
	log_debug("flow", "%s from %s: %s is open", flow_name(flow, name), flow->header.origin,
	          flow_wanted(&flow->header, service));
}

static void tune(const struct flow *flow)
{
	const struct flows_settings *settings = &flow->flows->settings;
	socket_tune(flow->joint.fd,
	            &(struct socket_options){.congestion = settings->congestion, .keepalive_ms = settings->keepalive_ms});
}

// ---- source --------------------------------------------------------------------------------------------------------

void flow_refuse(struct flow *flow, enum counter counter, enum reply_verdict verdict, const char *reason)
{
	char peer[ADDRESS_TEXT_BYTES], service[LIMIT_SERVICE_NAME_BYTES + 16], name[FLOW_NAME_BYTES];
	uint8_t answer[REPLY_BYTES];
	size_t length = reply_encode(flow->reply, verdict, answer);
	address_format(&flow->peer, peer);
	counter_add(counter, 1);
	if (flow_may_log(flow->flows))
		log_warn("flow", "%s from %s: %s refused: %s", flow_name(flow, name), peer, flow_wanted(&flow->header, service),
		         reason);
	loop_io_close(&flow->io);
	flow_ended(flow, reason);
	if (length > 0)
		farewell_say(flow->flows->farewells, &flow->joint.fd, answer, length);
	flow_close(flow);
}

// Nothing of it has left, so it may be asked for on another data connection; otherwise it would risk to be done twice.
static bool wait_again(struct flow *flow)
{
	const uint8_t *first;
	size_t length;
	if (flow->phase != FLOW_ASKING || stream_has_left(flow->stream))
		return false;
	stream_unsent(flow->stream, &first, &length);
	uint8_t *copy = length > 0 ? malloc(length) : NULL;
	if (length > 0 && !copy)
		return false;
	if (length > 0)
		memcpy(copy, first, length);
	free(flow->first);
	flow->first = copy;
	flow->first_length = length;
	counter_add(COUNTER_FLOW_ASKED_AGAIN, 1);
	loop_io_close(&flow->io);
	stream_close(&flow->stream);
	flow_rest(flow);
	flow_dial_ends(flow);
	return true;
}

void flow_on_refused(void *owner, const struct header_answer *answer)
{
	struct flow *flow = owner;
	char reason[LIMIT_REASON_BYTES + 64];
	if (stream_lacks_descriptor(flow->stream)) {
		flow_refuse(flow, COUNTER_FLOW_REFUSED_DESCRIPTORS, REPLY_LIMIT, NO_DESCRIPTOR);
		return;
	}
	if (wait_again(flow))
		return;
	snprintf(reason, sizeof reason, "%s%s%s", header_status_name(answer->status), *answer->reason ? ": " : "",
	         answer->reason);
	link_set_error(stream_link(flow->stream), reason);
	flow_refuse(flow, COUNTER_FLOW_REFUSED_PEER, reply_of_status(answer->status), reason);
}

static void on_timer(void *owner)
{
	struct flow *flow = owner;
	if (flow->phase == FLOW_WAITING || flow->phase == FLOW_RESTING)
		flow_refuse(flow, COUNTER_FLOW_REFUSED_NO_LINK, REPLY_NO_LINK,
		            pool_is_ready(flow->flows->settings.pool)
		                ? "too many connections are being opened"
		                : "there is no link with dest (see the log above for why)");
	else
		flow_refuse(flow, COUNTER_FLOW_REFUSED_PEER, REPLY_TIMED_OUT, "dest did not answer in time");
}

// What the client has said first, into the unit. What is in the socket stays there until a stream has it.
static bool look_at_first(struct flow *flow, size_t *length)
{
	uint8_t *unit = flow->flows->unit;
	size_t kept = flow->first_length;
	if (kept > 0)
		memcpy(unit, flow->first, kept);
	ssize_t n = kept < FIRST_BYTES ? recv(flow->joint.fd, unit + kept, FIRST_BYTES - kept, MSG_PEEK) : -1;
	if (kept == FIRST_BYTES)
		errno = EAGAIN;
	if (n == 0)
		flow->joint.local_end = true;
	*length = kept + (n > 0 ? (size_t)n : 0);
	return n >= 0 || errno == EAGAIN || errno == EINTR;
}

// A stream has it.
static void drop_first(struct flow *flow, size_t length)
{
	if (length > flow->first_length)
		(void)!recv(flow->joint.fd, flow->flows->unit, length - flow->first_length, 0);
	free(flow->first);
	flow->first = NULL;
	flow->first_length = 0;
}

void flow_ask(struct flow *flow)
{
	struct flows *flows = flow->flows;
	size_t first;
	if (!look_at_first(flow, &first)) {
		counter_add(COUNTER_FLOW_RESET_LOCAL, 1);
		flow_close(flow);
		return;
	}
	flow_wait_end(flow);
	flow->phase = FLOW_ASKING;
	struct stream_opening opening = {
		.header = &flow->header, .first = flows->unit, .first_length = first, .ops = &flow_stream_ops, .owner = flow};
	int r = pool_open(flows->settings.pool, &opening, &flow->stream);
	if (r == POOL_NO_LINK) {
		// It went down this very moment; the client's bytes are still where they were.
		flow_wait(flow);
		return;
	}
	if (r == 0) {
		drop_first(flow, first);
		r = flow_watch(flow);
	}
	if (r != 0) {
		flow_refuse(flow, COUNTER_FLOW_REFUSED_NO_LINK, REPLY_NO_LINK, r < 0 ? outcome_text(r) : "the link went down");
		return;
	}
	if (!stream_has_room(flow->stream))
		flow_dial_begins(flow);
	flow_step(flow);
}

static bool keep_arrival(struct flow *flow, const struct flow_arrival *arrival)
{
	char origin[ADDRESS_TEXT_BYTES];
	flow->joint.fd = *arrival->fd;
	*arrival->fd = -1;
	flow->header = *arrival->header;
	flow->peer = *arrival->peer;
	flow->reply = arrival->reply;
	flow->charged = arrival->charged;
	flow->account = arrival->account;
	quota_key_of_address(&flow->peer.any, &flow->charge);
	address_format(arrival->peer, origin);
	if (!flow->header.origin[0]) // a hub says itself who it is
		snprintf(flow->header.origin, sizeof flow->header.origin, "%.*s", (int)sizeof flow->header.origin - 1, origin);
	if (arrival->first_length == 0)
		return true;
	flow->first = malloc(arrival->first_length);
	if (!flow->first)
		return false;
	memcpy(flow->first, arrival->first, arrival->first_length);
	flow->first_length = arrival->first_length;
	return true;
}

void flows_take(struct flows *flows, const struct flow_arrival *arrival)
{
	struct flow *flow = flow_make(flows);
	if (!flow) {
		if (arrival->charged)
			flows_discharge(flows, arrival->peer);
		socket_reset(arrival->fd);
		return;
	}
	flow_wait(flow);
	if (!keep_arrival(flow, arrival) || loop_timer_open(flows->settings.loop, on_timer, flow, &flow->timer) < 0) {
		flow_close(flow);
		return;
	}
	tune(flow);
	if (!address_is_unix(&flow->peer) && !flow_charge(flow, &flow->charge)) {
		flow_refuse(flow, COUNTER_FLOW_REFUSED_CLIENT_LIMIT, REPLY_LIMIT,
		            "this client has source.max_connections_per_client open");
		return;
	}
	if (flows->waiting > LIMIT_FLOWS_WAITING) {
		flow_refuse(flow, COUNTER_FLOW_REFUSED_LIMIT, REPLY_LIMIT, "too many connections wait for a link");
		return;
	}
	loop_timer_arm(flow->timer, flows->settings.wait_ms, 0);
	flow_wait_serve(flows);
}

void flows_take_local(struct flows *flows, int *fd, const struct address *peer, const struct header *header)
{
	struct flow_arrival arrival = {.fd = fd, .peer = peer, .header = header};
	flows_take(flows, &arrival);
}

// ---- hub -----------------------------------------------------------------------------------------------------------

// The flow has been let go without its descriptor.
static int give_back(struct flow *flow, const struct flow_arrival *arrival, int r)
{
	*arrival->fd = flow->joint.fd;
	flow->joint.fd = -1;
	flow->charged = false;
	flow->account = NULL;
	flow_close(flow);
	return r == STREAM_UNSENT ? FLOW_UNSENT : r;
}

int flows_take_joined(struct flows *flows, const struct flow_arrival *arrival, struct stream **stream)
{
	size_t first = 0;
	struct flow *flow = flow_make(flows);
	if (!flow) {
		stream_close(stream);
		return -ENOMEM;
	}
	flow->phase = FLOW_ASKING;
	if (!keep_arrival(flow, arrival) || loop_timer_open(flows->settings.loop, on_timer, flow, &flow->timer) < 0) {
		stream_close(stream);
		return give_back(flow, arrival, -ENOMEM);
	}
	tune(flow);
	if (!look_at_first(flow, &first)) {
		counter_add(COUNTER_FLOW_RESET_LOCAL, 1);
		flow_ended(flow, "the user went before it began");
		stream_close(stream);
		flow_close(flow);
		return 0;
	}
	struct stream_opening opening = {
		.header = &flow->header, .first = flows->unit, .first_length = first, .ops = &flow_stream_ops, .owner = flow};
	int r = stream_open_parked(*stream, &opening);
	if (r != 0) {
		stream_close(stream);
		return give_back(flow, arrival, r);
	}
	flow->stream = *stream;
	*stream = NULL;
	drop_first(flow, first);
	if (flow->account)
		flow_pay(flow, first, 0);
	loop_timer_arm(flow->timer, flows->settings.wait_ms, 0);
	if (flow_watch(flow) < 0)
		flow_close(flow);
	else
		flow_step(flow);
	return 0;
}

// ---- dest ----------------------------------------------------------------------------------------------------------

void flow_answer_no(struct flow *flow, enum header_status status, enum counter counter, const char *reason,
                    const char *told)
{
	char service[LIMIT_SERVICE_NAME_BYTES + 16], name[FLOW_NAME_BYTES];
	counter_add(counter, 1);
	if (flow->service)
		service_count_error(flow->service);
	if (flow_may_log(flow->flows))
		log_warn("flow", "%s from %s: %s refused: %s", flow_name(flow, name), flow->header.origin,
		         flow_wanted(&flow->header, service), reason);
	link_set_error(stream_link(flow->stream), reason);
	stream_refuse(&flow->stream, status, told);
	flow_close(flow);
}

static void dial_target(struct flow *flow);

// Between two tries of a target that refuses: it may be coming up.
#define REDIAL_MS 100

static void give_target_up(struct flow *flow, const struct dial_result *result)
{
	// What exactly lies behind a service is nobody's business but the operator's: the peer hears the kind only.
	flow_answer_no(flow, result->timed_out ? HEADER_TIMED_OUT : HEADER_REFUSED_TARGET, COUNTER_FLOW_REFUSED_TARGET,
	               result->problem,
	               result->timed_out ? "the target does not answer" : "the target refuses connections or is down");
}

static void on_redial(void *owner)
{
	struct flow *flow = owner;
	bool is_last = loop_now_ms(flow->flows->settings.loop) + REDIAL_MS >= flow->dial_until_ms;
	// At its last moment a flow tries whatever others do.
	flow->probing = service_begin_probe(flow->service);
	if (flow->probing || is_last)
		dial_target(flow);
	else
		loop_timer_arm(flow->timer, REDIAL_MS, 0);
}

static bool waits_for_target(struct flow *flow)
{
	struct loop *loop = flow->flows->settings.loop;
	if (flow->flows->settings.is_impatient || loop_now_ms(loop) + REDIAL_MS >= flow->dial_until_ms)
		return false;
	if (!flow->timer && loop_timer_open(loop, on_redial, flow, &flow->timer) < 0)
		return false;
	loop_timer_arm(flow->timer, REDIAL_MS, 0);
	return true;
}

static void on_dialled(void *owner, const struct dial_result *result)
{
	struct flow *flow = owner;
	if (flow->probing)
		service_end_probe(flow->service);
	flow->probing = false;
	if (result->fd < 0 ? result->no_descriptor : socket_is_reserved(result->fd)) {
		int fd = result->fd;
		socket_close(&fd);
		flow_answer_no(flow, HEADER_LIMIT, COUNTER_FLOW_REFUSED_DESCRIPTORS, NO_DESCRIPTOR,
		               "dest can take no more flows now");
		return;
	}
	if (result->fd < 0) {
		if (result->timed_out || !waits_for_target(flow))
			give_target_up(flow, result);
		return;
	}
	loop_timer_close(&flow->timer);
	flow->joint.fd = result->fd;
	flow->phase = FLOW_JOINED;
	flow->joint.moved = true;
	tune(flow);
	if (stream_confirm(flow->stream) != 0 || flow_watch(flow) < 0) {
		flow_close(flow);
		return;
	}
	flow_opened(flow);
	if (flow_introduce(flow, &result->peer))
		flow_step(flow);
}

static void dial_target(struct flow *flow)
{
	struct loop *loop = flow->flows->settings.loop;
	uint64_t now = loop_now_ms(loop);
	uint32_t left_ms = flow->dial_until_ms > now ? (uint32_t)(flow->dial_until_ms - now) : 1;
	int r = dial_start(loop, flow->service->target_host, flow->service->target_port, left_ms, on_dialled, flow,
	                   &flow->dial);
	if (r < 0)
		flow_answer_no(flow, HEADER_INTERNAL, COUNTER_FLOW_REFUSED_TARGET, outcome_text(r), "dest cannot dial now");
}

void flows_take_stream(void *owner, struct stream *stream, const struct header *header)
{
	struct flows *flows = owner;
	struct flow *flow = flow_make(flows);
	if (!flow) {
		stream_refuse(&stream, HEADER_INTERNAL, "out of memory");
		return;
	}
	flow->stream = stream;
	flow->header = *header;
	flow->phase = FLOW_DIALING;
	stream_own(stream, &flow_stream_ops, flow);
	if (!flow_admit(flow))
		return;
	flow->dial_until_ms = loop_now_ms(flows->settings.loop) + flows->settings.target_ms;
	dial_target(flow);
}
