// Flows that are joined: a local socket and a stream, whose bytes flow/joint moves.

#include "flow/flow.h"

#include "core/counter.h"
#include "core/log.h"
#include "flow/flow_internal.h"
#include "net/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- the far side --------------------------------------------------------------------------------------------------

static int recv_stream(void *far, uint8_t *out, size_t size, size_t *got)
{
	return stream_recv(far, out, size, got);
}

static int send_stream(void *far, const uint8_t *bytes, size_t length)
{
	return stream_send(far, bytes, length);
}

static bool stream_has_more_room(const void *far)
{
	return stream_has_room(far);
}

static int finish_stream(void *far)
{
	return stream_finish(far);
}

_Static_assert((int)STREAM_BLOCKED == JOINT_BLOCKED && (int)STREAM_END == JOINT_END, "a joint asks for other outcomes");
static const struct joint_ops joint_ops = {.recv = recv_stream,
                                           .send = send_stream,
                                           .has_room = stream_has_more_room,
                                           .finish = finish_stream};

// ---- life ----------------------------------------------------------------------------------------------------------

static void release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct flow, release));
}

static _Atomic uint64_t last_id;

const char *flow_name(const struct flow *flow, char text[FLOW_NAME_BYTES])
{
	const char *link = flow->stream ? link_name(stream_link(flow->stream)) : "";
	snprintf(text, FLOW_NAME_BYTES, "%s%s%sflow %llu", *link ? "link " : "", link, *link ? ": " : "",
	         (unsigned long long)flow->id);
	return text;
}

struct flow *flow_make(struct flows *flows)
{
	struct flow *flow = calloc(1, sizeof *flow);
	if (!flow)
		return NULL;
	flow->flows = flows;
	flow->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
	flow->joint = (struct joint){.ops = &joint_ops, .unit = flows->unit, .fd = -1, .moved = true};
	flow->release.run = release;
	flow->begun_ms = loop_now_ms(flows->settings.loop);
	flow->older = flows->newest;
	if (flows->newest)
		flows->newest->newer = flow;
	flows->newest = flow;
	atomic_fetch_add_explicit(&flows->open, 1, memory_order_relaxed);
	return flow;
}

void flow_close(struct flow *flow)
{
	struct flows *flows = flow->flows;
	if (flow->closed)
		return;
	flow->closed = true;
	if (flow->newer)
		flow->newer->older = flow->older;
	else
		flows->newest = flow->older;
	if (flow->older)
		flow->older->newer = flow->newer;
	flow_wait_end(flow);
	flow_rest_end(flow);
	atomic_fetch_sub_explicit(&flows->open, 1, memory_order_relaxed);
	dial_cancel(&flow->dial);
	loop_timer_close(&flow->timer);
	loop_timer_close(&flow->pace);
	loop_io_close(&flow->io);
	stream_close(&flow->stream);
	// Armed in flow_watch for a process that dies; an end in order is told by the bytes before it.
	joint_fini(&flow->joint);
	if (flow->probing)
		service_end_probe(flow->service);
	if (flow->service)
		service_leave(flow->service);
	service_table_unref(&flow->table);
	if (flow->charged)
		quota_leave(flows->settings.clients, &flow->charge);
	free(flow->first);
	flow->first = NULL;
	loop_defer(flows->settings.loop, &flow->release);
	flow_dial_ends(flow);
	flow_settle_account(flow);
}

// A side broke: the other one is reset, so that nobody takes a cut stream for a finished one.
static void abort_by_local(struct flow *flow)
{
	char name[FLOW_NAME_BYTES];
	counter_add(COUNTER_FLOW_RESET_LOCAL, 1);
	if (flow->service)
		service_count_error(flow->service);
	log_debug("flow", "%s: the local side broke", flow_name(flow, name));
	flow_ended(flow, "reset by the user");
	flow_close(flow);
}

static void abort_by_peer(struct flow *flow)
{
	char name[FLOW_NAME_BYTES];
	if (flow->phase == FLOW_ASKING) {
		flow_refuse(flow, COUNTER_FLOW_RESET_PEER, REPLY_FAILURE, stream_problem(flow->stream));
		return;
	}
	counter_add(COUNTER_FLOW_RESET_PEER, 1);
	log_debug("flow", "%s: stream broke: %s", flow_name(flow, name), stream_problem(flow->stream));
	flow_ended(flow, stream_problem(flow->stream));
	flow_close(flow);
}

// ---- moving --------------------------------------------------------------------------------------------------------

// What was moved is counted; a side that broke ends the flow, and false is returned.
static bool take_stock(struct flow *flow, int verdict)
{
	if (flow->service && (flow->joint.given > 0 || flow->joint.taken > 0))
		service_count_bytes(flow->service, flow->joint.given, flow->joint.taken);
	if (flow->account)
		flow_pay(flow, flow->joint.taken, flow->joint.given);
	flow->joint.given = flow->joint.taken = 0;
	if (verdict == JOINT_LOCAL_BROKE)
		abort_by_local(flow);
	else if (verdict != 0)
		abort_by_peer(flow);
	return verdict == 0;
}

static bool pump_outward(struct flow *flow)
{
	return flow->resting || take_stock(flow, joint_outward(&flow->joint));
}

// Bounded by the reads the connection may make in a turn (tls_conn_readable).
static bool pump_inward(struct flow *flow)
{
	return flow->resting || take_stock(flow, joint_inward(&flow->joint));
}

bool flow_say(struct flow *flow, const uint8_t *bytes, size_t length)
{
	return take_stock(flow, joint_say(&flow->joint, bytes, length));
}

// ---- both ----------------------------------------------------------------------------------------------------------

static void set_wants(struct flow *flow)
{
	loop_io_want(flow->io, flow->resting ? 0 : joint_wants(&flow->joint));
	stream_want_read(flow->stream, !flow->resting && joint_reads_far(&flow->joint));
}

static bool is_done(const struct flow *flow)
{
	return joint_is_done(&flow->joint) && stream_is_flushed(flow->stream);
}

static void finish(struct flow *flow)
{
	char name[FLOW_NAME_BYTES];
	counter_add(COUNTER_FLOW_FINISHED, 1);
	flow_ended(flow, "finished");
	log_debug("flow", "%s has ended", flow_name(flow, name));
	flow_close(flow);
}

static void settle(struct flow *flow)
{
	if (is_done(flow)) {
		finish(flow);
		return;
	}
	set_wants(flow);
}

void flow_step(struct flow *flow)
{
	if (pump_inward(flow) && pump_outward(flow))
		settle(flow);
}

static void on_local(void *owner, int events)
{
	struct flow *flow = owner;
	if (joint_has_failed(&flow->joint, events)) {
		abort_by_local(flow);
		return;
	}
	if (events & LOOP_WRITE && !pump_inward(flow))
		return;
	if (events & LOOP_READ && !pump_outward(flow))
		return;
	settle(flow);
}

void flow_on_stream(void *owner, int events)
{
	struct flow *flow = owner;
	// A break is acted on at once, also when neither direction would look: bytes are held, or the peer had ended.
	if (stream_is_broken(flow->stream)) {
		abort_by_peer(flow);
		return;
	}
	if (flow->phase == FLOW_DIALING)
		return;
	if (flow->dialling && stream_has_room(flow->stream))
		flow_dial_ends(flow);
	if (flow->phase == FLOW_ASKING && stream_is_open(flow->stream)) {
		flow->phase = FLOW_JOINED;
		loop_timer_close(&flow->timer);
		flow_opened(flow);
		uint8_t answer[REPLY_BYTES];
		size_t length = reply_encode(flow->reply, REPLY_OK, answer);
		if (length > 0 && !flow_say(flow, answer, length))
			return;
	}
	// Bytes of the peer are no reason to look at the local socket: the loop tells when there is something in it.
	if (pump_inward(flow) && (!(events & LOOP_WRITE) || pump_outward(flow)))
		settle(flow);
}

int flow_watch(struct flow *flow)
{
	flow->joint.far = flow->stream;
	socket_close_resets(flow->joint.fd, true);
	return loop_io_open(flow->flows->settings.loop, flow->joint.fd, on_local, flow, &flow->io);
}

// ---- all flows of a worker -----------------------------------------------------------------------------------------

// Idle streams give their record buffers back about this often.
#define TRIM_MS 500

// Both directions count, so neither a long upload nor a long download is idle.
static void end_idle(struct flows *flows)
{
	uint64_t now = loop_now_ms(flows->settings.loop);
	struct flow *flow = flows->newest;
	while (flow) {
		struct flow *older = flow->older;
		if (flow->joint.moved)
			flow->moved_at_ms = now;
		flow->joint.moved = false;
		if (flow->phase == FLOW_JOINED && now - flow->moved_at_ms >= flows->settings.idle_ms) {
			char name[FLOW_NAME_BYTES];
			counter_add(COUNTER_FLOW_IDLE, 1);
			flow_ended(flow, "idle for too long");
			log_info("flow", "%s was ended: nothing moved for %u ms", flow_name(flow, name), flows->settings.idle_ms);
			flow_close(flow);
		}
		flow = older;
	}
}

// For a byte stream there is no gentle way to be told to come again: both sides see a reset.
static void end_old(struct flows *flows)
{
	uint64_t now = loop_now_ms(flows->settings.loop);
	struct flow *flow = flows->newest;
	while (flow) {
		struct flow *older = flow->older;
		if (flow->phase == FLOW_JOINED && now - flow->begun_ms >= flows->settings.age_ms) {
			counter_add(COUNTER_FLOW_TOO_OLD, 1);
			flow_ended(flow, "open for too long");
			log_info("flow", "link %s: a flow was ended: it has lived for %llu s (link.max_stream_age_seconds)",
			         link_name(stream_link(flow->stream)), (unsigned long long)(flows->settings.age_ms / 1000));
			flow_close(flow);
		}
		flow = older;
	}
}

static void on_trim(void *owner)
{
	struct flows *flows = owner;
	stream_trim_idle();
	flow_look_at_waiting(flows);
	flow_wait_wake(flows);
	uint64_t held = brake_sum(&flows->refusals, loop_now_ms(flows->settings.loop));
	if (held > 0)
		log_warn("flow", "%llu more connections were refused (qanat_flows_total says why)", (unsigned long long)held);
	if (flows->settings.idle_ms > 0)
		end_idle(flows);
	if (flows->settings.age_ms > 0)
		end_old(flows);
}

void flows_set(struct flows *flows, const struct flows_settings *settings)
{
	struct service_table *old = flows->settings.services;
	struct loop *loop = flows->settings.loop;
	struct pool *pool = flows->settings.pool;
	struct quota *clients = flows->settings.clients;
	unsigned dials_max = flows->settings.dials_max;
	flows->settings = *settings;
	flows->settings.dials_max = dials_max;
	flows->settings.clients = clients;
	flows->settings.loop = loop;
	flows->settings.pool = pool;
	if (settings->services)
		service_table_ref(settings->services);
	service_table_unref(&old);
}

int flows_new(const struct flows_settings *settings, struct flows **out)
{
	struct flows *flows = calloc(1, sizeof *flows);
	if (!flows)
		return -ENOMEM;
	flows->settings = *settings;
	if (settings->services)
		service_table_ref(settings->services);
	flows->unit = malloc(LIMIT_UNIT_BYTES);
	flows->refusals.per_second = LIMIT_REFUSAL_LINES_PER_S;
	int r = farewells_new(settings->loop, &flows->farewells);
	if (r == 0)
		r = flows->unit ? loop_timer_open(settings->loop, on_trim, flows, &flows->trim) : -ENOMEM;
	if (r < 0) {
		flows_free(&flows);
		return r;
	}
	loop_timer_arm(flows->trim, TRIM_MS, TRIM_MS);
	*out = flows;
	return 0;
}

void flows_free(struct flows **slot)
{
	struct flows *flows = *slot;
	*slot = NULL;
	if (!flows)
		return;
	flows->stopping = true;
	while (flows->newest)
		flow_close(flows->newest);
	farewells_free(&flows->farewells);
	loop_timer_close(&flows->trim);
	service_table_unref(&flows->settings.services);
	free(flows->unit);
	free(flows);
}

uint32_t flows_open(const struct flows *flows)
{
	return atomic_load_explicit(&flows->open, memory_order_relaxed);
}
