// The acceptor's side: wait for the header, let an owner decide, answer.

#include "core/counter.h"
#include "link/stream_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

// How long a refused stream waits for the opener to read the answer and go.
#define LINGER_MS 2000

static void vanish(struct stream *stream)
{
	struct stream *self = stream;
	if (stream->is_lent) {
		stream->is_lent = false;
		stream_break(stream, "the peer closed a parked connection");
		stream->ops->on_ready(stream->owner, LOOP_READ);
		return;
	}
	stream_close(&self);
}

static void on_deadline(void *owner)
{
	struct stream *stream = owner;
	if (!stream->ops) {
		vanish(stream);
		return;
	}
	// Hostile: the header came as early data and the handshake never ends. The stream is its owner's to close.
	loop_timer_close(&stream->deadline);
	stream_break(stream, "the opener did not finish the handshake in time");
	stream_tell(stream, LOOP_READ | LOOP_WRITE);
	stream_set_wants(stream);
}

static int arm(struct stream *stream, uint64_t delay_ms)
{
	int r = stream->deadline ? 0 : loop_timer_open(stream->loop, on_deadline, stream, &stream->deadline);
	if (r == 0)
		loop_timer_arm(stream->deadline, delay_ms, 0);
	return r;
}

int stream_accept(struct loop *loop, struct tls_conn **tls, struct link *link, stream_header_fn on_header, void *owner)
{
	struct stream *stream = stream_make(loop, link);
	if (!stream)
		return -ENOMEM;
	stream->entered = link_enter_connection(link);
	stream->phase = STREAM_HEADER;
	stream->on_header = on_header;
	stream->owner = owner;
	stream->key_epoch = stream->epoch = link_epoch(link);
	int r = stream->entered ? 0 : -EMFILE;
	if (r == 0) {
		stream->tls = *tls;
		*tls = NULL;
		tls_conn_set_owner(stream->tls, stream);
		r = stream_watch(stream);
	}
	// A connection whose handshake is still going on has a deadline; a finished one of a usual link may stay parked.
	if (r == 0 && !tls_conn_is_ready(stream->tls))
		r = arm(stream, LIMIT_HANDSHAKE_MS);
	if (r < 0) {
		vanish(stream);
		return r;
	}
	stream_on_io(stream, 0); // early data may hold the header already
	return 0;
}

// Hostile: a header that has begun must be finished, or parked connections could be held up for ever. What comes from a
// reverse link's initiator is an offer, which is said at once: only elsewhere may a connection wait for its header.
static void await_header(struct stream *stream)
{
	bool is_offered = stream->entered && link_is_reverse(stream->link);
	if ((stream->prefix || is_offered) && !stream->deadline && arm(stream, LIMIT_STREAM_HEADER_MS) < 0)
		vanish(stream);
}

static bool is_offer(const struct header *header)
{
	return header->kind == HEADER_PARK || header->kind == HEADER_CLAIM;
}

// Hostile: on a reverse link the initiator offers and the responder opens, elsewhere the initiator opens; nothing else.
static bool is_in_place(const struct stream *stream, const struct header *header)
{
	bool from_initiator = stream->entered;
	return is_offer(header) == (from_initiator && link_is_reverse(stream->link));
}

// 0, HEADER_MORE, HEADER_BAD, or HEADER_GONE: the connection ended instead.
enum { HEADER_GONE = 3 };

static int look_for_header(struct stream *stream, struct header *header, size_t *used)
{
	int r = stream_read_prefix(stream);
	if (r == STREAM_BLOCKED && !stream->prefix)
		return HEADER_MORE;
	if (r != 0 && r != STREAM_BLOCKED)
		return HEADER_GONE;
	int decoded = header_decode(stream->prefix, stream->prefix_length, header, used);
	if (decoded == HEADER_MORE && stream->prefix_length == LIMIT_STREAM_HEADER_BYTES)
		return HEADER_BAD;
	if (decoded != 0)
		return decoded;
	if (!is_in_place(stream, header) || (is_offer(header) && stream->prefix_length > *used))
		return HEADER_BAD;
	return 0;
}

static void hand_over(struct stream *stream, const struct header *header, size_t used)
{
	// From here on it is the owner's; only the handshake still has a deadline, when it goes on.
	if (tls_conn_is_ready(stream->tls))
		loop_timer_close(&stream->deadline);
	stream->phase = STREAM_DECIDING;
	if (!is_offer(header))
		stream_count(stream);
	stream_drop_prefix(stream, used);
	void *owner = stream->owner;
	stream->owner = NULL;
	stream->ops = NULL;
	stream->is_lent = false;
	stream->on_header(owner, stream, header);
}

static void read_header(struct stream *stream)
{
	struct header header;
	size_t used;
	int r = look_for_header(stream, &header, &used);
	if (r == HEADER_MORE) {
		await_header(stream);
		return;
	}
	// What is offered is of use once its handshake is done, which has a deadline.
	if (r == 0 && is_offer(&header) && !tls_conn_is_ready(stream->tls))
		return;
	if (r != 0) {
		if (r == HEADER_BAD)
			counter_add(COUNTER_STREAM_BAD_HEADER, 1);
		vanish(stream);
		return;
	}
	// Hostile: a connection parked before CLOSE opens no stream after it: whose link is gone nobody would judge again.
	if (!link_is_up(stream->link)) {
		vanish(stream);
		return;
	}
	hand_over(stream, &header, used);
}

static void handshake_step(struct stream *stream)
{
	int r = tls_conn_handshake(stream->tls);
	if (r == TLS_BLOCKED)
		return;
	loop_timer_close(&stream->deadline);
	if (r != 0) {
		stream_take_problem(stream);
		return;
	}
	counter_add(COUNTER_HANDSHAKE_DATA_OK, 1);
	// An answer given while the handshake was going on.
	if (stream->opening && stream_send_opening(stream) == 0 && stream->phase == STREAM_LEAVING &&
	    (stream_finish(stream) != 0 || arm(stream, LINGER_MS) < 0))
		stream_break(stream, "refused");
}

void stream_on_acceptor(struct stream *stream)
{
	bool unowned = stream->phase == STREAM_HEADER || stream->phase == STREAM_LEAVING;
	if (stream->phase != STREAM_BROKEN && !tls_conn_is_ready(stream->tls))
		handshake_step(stream);
	if (stream->phase == STREAM_HEADER)
		read_header(stream);
	if (!stream->closed && stream->phase == STREAM_LEAVING && tls_conn_is_ready(stream->tls)) {
		// What the opener still sends is of no interest; its end is.
		uint8_t ignored[4096];
		size_t got;
		int r;
		while ((r = tls_conn_recv(stream->tls, ignored, sizeof ignored, &got)) == 0)
			;
		if (r != TLS_BLOCKED)
			vanish(stream);
		return;
	}
	if (!stream->closed && stream->phase == STREAM_BROKEN && (unowned || !stream->ops))
		vanish(stream);
}

void stream_keep(struct stream *stream, const struct stream_ops *ops, void *owner)
{
	stream->is_opener = true;
	stream->phase = STREAM_PARKED;
	stream_own(stream, ops, owner);
}

void stream_lend(struct stream *stream, stream_header_fn on_header, const struct stream_ops *ops, void *owner)
{
	stream->is_opener = false;
	stream->is_lent = true;
	stream->phase = STREAM_HEADER;
	stream->on_header = on_header;
	stream_own(stream, ops, owner);
}

static int answer(struct stream *stream, const struct header_answer *answer)
{
	stream->opening = malloc(LIMIT_STREAM_HEADER_BYTES);
	if (!stream->opening)
		return stream_break(stream, "out of memory");
	stream->opening_length = header_answer_encode(answer, stream->opening);
	return tls_conn_is_ready(stream->tls) ? stream_send_opening(stream) : 0;
}

int stream_confirm(struct stream *stream)
{
	if (stream->phase == STREAM_BROKEN)
		return STREAM_FAILED;
	struct header_answer ok = {.status = HEADER_OK};
	int r = answer(stream, &ok);
	if (r != 0)
		return r;
	stream->phase = STREAM_OPEN;
	stream->had_room = stream_has_room(stream);
	stream_set_wants(stream);
	return 0;
}

void stream_refuse(struct stream **slot, enum header_status status, const char *reason)
{
	struct stream *stream = *slot;
	*slot = NULL;
	if (stream->phase == STREAM_BROKEN) {
		vanish(stream);
		return;
	}
	struct header_answer no = {.status = status};
	snprintf(no.reason, sizeof no.reason, "%s", reason);
	stream->ops = NULL;
	stream->phase = STREAM_LEAVING;
	if (answer(stream, &no) != 0 || (tls_conn_is_ready(stream->tls) && tls_conn_finish(stream->tls) != 0) ||
	    arm(stream, tls_conn_is_ready(stream->tls) ? LINGER_MS : LIMIT_HANDSHAKE_MS) < 0) {
		vanish(stream);
		return;
	}
	stream_set_wants(stream);
}
