// Datagrams between a UDP socket and a stream.
//
// Outward: what was read at once for an association is framed side by side and leaves as one unit. While the stream has
// no room, source drops (its port serves others as well) and dest does not read (the kernel drops, and counts). Inward:
// a unit is cut into its frames, which leave in batches; the beginning of the last one may have to wait for its end.

#include "core/block.h"
#include "core/log.h"
#include "flow/udp_flow_internal.h"
#include "flow/udp_frame.h"

#include <string.h>

// Datagrams of one call to the socket below.
#define FRAMES_AT_ONCE 256

const struct stream_ops udp_flow_stream_ops;

// ---- outward -------------------------------------------------------------------------------------------------------

static bool takes_outward(const struct udp_flow *flow)
{
	switch (flow->phase) {
	case UDP_FRESH:
		return true;
	case UDP_ASKING:
		return !flow->waiting || flow->waiting_length < LIMIT_UNIT_BYTES;
	case UDP_OPEN:
		return !flow->waiting && stream_has_room(flow->stream);
	case UDP_RESOLVING:
	case UDP_ENDING:
	case UDP_REFUSED:
		break;
	}
	return false;
}

static enum counter reason_of(const struct udp_flow *flow)
{
	if (flow->closed)
		return COUNTER_DATAGRAM_BROKEN;
	return flow->phase == UDP_REFUSED ? COUNTER_DATAGRAM_REFUSED : COUNTER_DATAGRAM_CONGESTED;
}

static void count_for_link(const struct udp_flow *flow, const struct link_datagrams *more)
{
	if (flow->stream)
		link_count_datagrams(stream_link(flow->stream), more);
}

void udp_flow_drop(struct udp_flow *flow, enum counter reason, size_t datagrams)
{
	counter_add(reason, datagrams);
	struct link_datagrams more = {.congested = reason == COUNTER_DATAGRAM_CONGESTED ? datagrams : 0,
	                              .refused = reason == COUNTER_DATAGRAM_REFUSED ? datagrams : 0,
	                              .broken = reason == COUNTER_DATAGRAM_BROKEN ? datagrams : 0,
	                              .malformed = reason == COUNTER_DATAGRAM_MALFORMED ? datagrams : 0};
	count_for_link(flow, &more);
}

static void broke(struct udp_flow *flow)
{
	if (flow->phase != UDP_ENDING) {
		counter_add(COUNTER_ASSOCIATION_BROKEN, 1);
		log_debug("udp_flow", "link %s: stream broke: %s", link_name(stream_link(flow->stream)),
		          stream_problem(flow->stream));
	}
	udp_flow_close(flow);
}

void udp_flow_keep(struct udp_flow *flow, const uint8_t *frames, size_t length, size_t count)
{
	size_t left = LIMIT_UNIT_BYTES - flow->waiting_length, kept = 0;
	if (!flow->waiting)
		flow->waiting = block_take();
	while (flow->waiting && kept < count) {
		size_t size = UDP_FRAME_HEAD_BYTES + ((size_t)frames[0] << 8 | frames[1]);
		if (size > left || size > length)
			break;
		memcpy(flow->waiting + flow->waiting_length, frames, size);
		flow->waiting_length += size;
		frames += size;
		length -= size;
		left -= size;
		kept++;
	}
	flow->waiting_count += kept;
	udp_flow_drop(flow, COUNTER_DATAGRAM_CONGESTED, count - kept);
}

static void send_unit(struct udp_flow *flow, const uint8_t *frames, size_t length, size_t count)
{
	if (stream_send(flow->stream, frames, length) == 0) {
		counter_add(COUNTER_DATAGRAM_OUTWARD, count);
		count_for_link(flow, &(struct link_datagrams){.outward = count});
		return;
	}
	udp_flow_drop(flow, COUNTER_DATAGRAM_BROKEN, count);
	broke(flow);
}

void udp_flow_flush(struct udp_flow *flow)
{
	struct udp_flows *flows = flow->flows;
	size_t length = flows->unit_length, count = flows->unit_count;
	flows->unit_length = flows->unit_count = 0;
	if (count == 0)
		return;
	flow->moved_ms = loop_now_ms(flows->settings.loop);
	if (flow->closed || !takes_outward(flow))
		udp_flow_drop(flow, reason_of(flow), count);
	else if (flow->phase == UDP_FRESH)
		udp_flow_ask(flow, length, count);
	else if (!flow->waiting && stream_has_room(flow->stream))
		send_unit(flow, flows->unit, length, count);
	else
		udp_flow_keep(flow, flows->unit, length, count);
}

void udp_flow_gather(struct udp_flow *flow, const struct datagram_run *run)
{
	struct udp_flows *flows = flow->flows;
	size_t at = 0;
	do {
		size_t left = run->length - at, size = left < run->each ? left : run->each;
		if (flows->unit_length + UDP_FRAME_HEAD_BYTES + size > LIMIT_UNIT_BYTES)
			udp_flow_flush(flow);
		// Judged before the copy: while there is no room a flood costs as little as it can.
		if (flows->unit_count == 0 && (flow->closed || !takes_outward(flow))) {
			struct datagram_run rest = {.length = left, .each = run->each};
			udp_flow_drop(flow, reason_of(flow), datagram_run_count(&rest));
			return;
		}
		flows->unit_length += udp_frame_encode(flows->unit + flows->unit_length, run->bytes + at, size);
		flows->unit_count++;
		at += size;
	} while (at < run->length);
}

static void send_waiting(struct udp_flow *flow)
{
	if (!flow->waiting || !stream_has_room(flow->stream))
		return;
	uint8_t *block = flow->waiting;
	size_t length = flow->waiting_length, count = flow->waiting_count;
	flow->waiting = NULL;
	flow->waiting_length = flow->waiting_count = 0;
	send_unit(flow, block, length, count);
	block_give(&block);
}

// ---- inward --------------------------------------------------------------------------------------------------------

static size_t bytes_of(const struct iovec *list, size_t count)
{
	size_t sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += list[i].iov_len;
	return sum;
}

static void give(struct udp_flow *flow, const struct iovec *list, size_t count)
{
	if (flow->service)
		service_count_bytes(flow->service, bytes_of(list, count), 0);
	bool unreachable = false;
	size_t gone;
	struct datagram_to client = {.peer = &flow->client, .local = &flow->local};
	if (flow->port)
		gone = udp_port_send(flow->port, &client, flow->prefix.iov_base ? &flow->prefix : NULL, list, count);
	else
		gone = datagram_send(&flow->target, NULL, NULL, list, count, &unreachable);
	counter_add(COUNTER_DATAGRAM_INWARD, gone);
	count_for_link(flow, &(struct link_datagrams){.inward = gone, .undelivered = count - gone});
	if (unreachable)
		udp_target_report(flow);
}

// Keeps what is left of a unit: the beginning of a frame, or, when some were given, less than a unit of them. False: no
// memory.
static bool keep_partial(struct udp_flow *flow, const uint8_t *bytes, size_t length)
{
	flow->partial_length = length;
	if (length == 0) {
		block_give(&flow->partial);
		return true;
	}
	if (!flow->partial)
		flow->partial = block_take();
	if (!flow->partial)
		return false;
	memcpy(flow->partial, bytes, length);
	return true;
}

// At most *left datagrams, or some more. False: the flow is gone.
static bool deliver(struct udp_flow *flow, const uint8_t *bytes, size_t length, size_t *left)
{
	struct iovec list[FRAMES_AT_ONCE];
	size_t count, used;
	do {
		if (udp_frame_decode(bytes, length, list, FRAMES_AT_ONCE, &count, &used) != 0) {
			udp_flow_drop(flow, COUNTER_DATAGRAM_MALFORMED, 1);
			counter_add(COUNTER_ASSOCIATION_BROKEN, 1);
			if (udp_flow_may_log(flow->flows))
				log_warn("udp_flow",
				         "link %s: the peer announced a datagram longer than %u bytes; the association is ended",
				         link_name(stream_link(flow->stream)), LIMIT_DATAGRAM_BYTES);
			udp_flow_close(flow);
			return false;
		}
		if (count > 0)
			give(flow, list, count);
		if (flow->closed)
			return false;
		bytes += used;
		length -= used;
		*left -= count < *left ? count : *left;
	} while (count == FRAMES_AT_ONCE && *left > 0);
	flow->has_more = count == FRAMES_AT_ONCE;
	if (keep_partial(flow, bytes, length))
		return true;
	counter_add(COUNTER_ASSOCIATION_BROKEN, 1);
	udp_flow_close(flow);
	return false;
}

static void ended(struct udp_flow *flow)
{
	if (flow->partial_length > 0)
		udp_flow_drop(flow, COUNTER_DATAGRAM_MALFORMED, 1);
	if (flow->phase != UDP_ENDING) {
		counter_add(COUNTER_ASSOCIATION_ENDED, 1);
		if (stream_has_room(flow->stream))
			(void)!stream_finish(flow->stream);
	}
	udp_flow_close(flow);
}

// What came, behind what was kept, into flows->inward. 0 and *length, or what stream_recv said.
static int take_inward(struct udp_flow *flow, size_t *length)
{
	uint8_t *unit = flow->flows->inward;
	size_t had = flow->partial_length, got = 0;
	int r = flow->has_more ? 0 : stream_recv(flow->stream, unit + had, LIMIT_UNIT_BYTES, &got);
	if (r == 0 && had > 0)
		memcpy(unit, flow->partial, had);
	*length = had + got;
	return r;
}

// False: the flow is gone. Bounded by the reads the connection may make in a turn (tls_conn_readable). Hostile: and by
// the datagrams, which can be so small that their number is what costs.
static bool pump_inward(struct udp_flow *flow)
{
	size_t length, left = LIMIT_INWARD_DATAGRAMS_PER_TURN;
	while (left > 0) {
		int r = take_inward(flow, &length);
		if (r == STREAM_BLOCKED)
			return true;
		if (r == STREAM_END) {
			ended(flow);
			return false;
		}
		if (r != 0) {
			broke(flow);
			return false;
		}
		flow->moved_ms = loop_now_ms(flow->flows->settings.loop);
		if (!deliver(flow, flow->flows->inward, length, &left))
			return false;
	}
	if (!flow->resuming)
		loop_defer(flow->flows->settings.loop, &flow->resume);
	flow->resuming = true;
	return true;
}

// ---- both ----------------------------------------------------------------------------------------------------------

void udp_flow_step(struct udp_flow *flow)
{
	if ((flow->phase == UDP_OPEN || flow->phase == UDP_ENDING) && !pump_inward(flow))
		return;
	send_waiting(flow);
	if (!flow->closed && flow->io && flow->phase == UDP_OPEN)
		udp_target_resume(flow);
}

void udp_flow_resume(struct loop_task *task)
{
	struct udp_flow *flow = CONTAINER_OF(task, struct udp_flow, resume);
	flow->resuming = false;
	if (!flow->closed)
		udp_flow_step(flow);
}

static void on_ready(void *owner, int events)
{
	(void)events;
	struct udp_flow *flow = owner;
	if (stream_is_broken(flow->stream)) {
		broke(flow);
		return;
	}
	if (flow->phase == UDP_ASKING && stream_is_open(flow->stream)) {
		flow->phase = UDP_OPEN;
		counter_add(COUNTER_ASSOCIATION_OPENED, 1);
	}
	udp_flow_step(flow);
}

const struct stream_ops udp_flow_stream_ops = {.on_ready = on_ready, .on_refused = udp_flow_on_refused};
