// Both roles of a stream: bytes, ends, readiness, the list of a thread's streams.
//
// Allowed in each phase: stream_send in ASKING and OPEN (once the TLS handshake is done), stream_recv in OPEN, nothing
// else moves bytes. A closed stream has no resources left but its memory, which goes at the end of the loop turn.

#include "link/stream.h"

#include "core/counter.h"
#include "link/stream_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local struct stream *newest;

// ---- life ----------------------------------------------------------------------------------------------------------

static void release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct stream, release));
}

struct stream *stream_make(struct loop *loop, struct link *link)
{
	struct stream *stream = calloc(1, sizeof *stream);
	if (!stream)
		return NULL;
	stream->loop = loop;
	stream->link = link_ref(link);
	stream->release.run = release;
	stream->older = newest;
	if (newest)
		newest->newer = stream;
	newest = stream;
	return stream;
}

static void unlist(struct stream *stream)
{
	if (stream->newer)
		stream->newer->older = stream->older;
	else
		newest = stream->older;
	if (stream->older)
		stream->older->newer = stream->newer;
}

void stream_close(struct stream **slot)
{
	struct stream *stream = *slot;
	*slot = NULL;
	if (!stream || stream->closed)
		return;
	stream->closed = true;
	unlist(stream);
	dial_cancel(&stream->dial);
	loop_timer_close(&stream->deadline);
	loop_io_close(&stream->io);
	tls_conn_free(&stream->tls);
	tls_profile_free(&stream->dialling.profile);
	if (stream->entered)
		link_leave_connection(stream->link);
	if (stream->counted)
		link_end_stream(stream->link);
	link_unref(&stream->link);
	free(stream->opening);
	free(stream->prefix);
	loop_defer(stream->loop, &stream->release);
}

void stream_count(struct stream *stream)
{
	stream->counted = true;
	link_begin_stream(stream->link);
}

int stream_break(struct stream *stream, const char *problem)
{
	stream->phase = STREAM_BROKEN;
	if (!stream->problem[0])
		snprintf(stream->problem, sizeof stream->problem, "%s", problem);
	return STREAM_FAILED;
}

void stream_take_problem(struct stream *stream)
{
	char text[TLS_EXPLANATION_BYTES];
	tls_conn_explain(stream->tls, text);
	stream_break(stream, text);
}

// ---- readiness -----------------------------------------------------------------------------------------------------

void stream_set_wants(struct stream *stream)
{
	if (stream->closed || !stream->io)
		return;
	int wants = tls_conn_wants(stream->tls);
	switch (stream->phase) {
	case STREAM_BROKEN:
		wants = 0; // what is kept goes nowhere any more
		break;
	case STREAM_DIALING:
	case STREAM_DECIDING:
		break;
	case STREAM_HANDSHAKE:
	case STREAM_PARKED:
	case STREAM_ASKING:
	case STREAM_HEADER:
	case STREAM_LEAVING:
		wants |= LOOP_READ;
		break;
	case STREAM_OPEN:
		wants |= stream->want_read ? LOOP_READ : 0;
		break;
	}
	loop_io_want(stream->io, wants);
}

int stream_watch(struct stream *stream)
{
	int r = loop_io_open(stream->loop, tls_conn_fd(stream->tls), stream_on_io, stream, &stream->io);
	if (r < 0)
		return r;
	stream_set_wants(stream);
	return 0;
}

void stream_tell(struct stream *stream, int events)
{
	bool room = stream_has_room(stream);
	if (room && !stream->had_room)
		events |= LOOP_WRITE;
	stream->had_room = room;
	if (stream->phase == STREAM_BROKEN)
		events = LOOP_READ | LOOP_WRITE;
	if (stream->phase == STREAM_DECIDING)
		return;
	if (events && stream->ops)
		stream->ops->on_ready(stream->owner, events);
}

void stream_on_io(void *owner, int events)
{
	struct stream *stream = owner;
	stream->touched = true;
	stream->trimmed = false;
	bool was_open = stream->phase == STREAM_OPEN;
	if (events & LOOP_READ)
		tls_conn_readable(stream->tls);
	if (events & LOOP_WRITE && tls_conn_flush(stream->tls) == TLS_FAILED)
		stream_take_problem(stream);
	// An open stream of the opener that breaks is broken, not refused; the acceptor's may still have a handshake to do.
	if (stream->is_opener && !was_open)
		stream_on_opener(stream);
	// Also one that was lent this very moment: what it waits for may have been read along with the handshake.
	if (!stream->closed && !stream->is_opener)
		stream_on_acceptor(stream);
	if (!stream->closed && (stream->phase == STREAM_OPEN || stream->phase == STREAM_ASKING ||
	                        stream->phase == STREAM_DECIDING || stream->phase == STREAM_BROKEN))
		stream_tell(stream, events);
	stream_set_wants(stream);
}

// ---- header and answer ---------------------------------------------------------------------------------------------

int stream_read_prefix(struct stream *stream)
{
	if (!stream->prefix && !(stream->prefix = malloc(LIMIT_STREAM_HEADER_BYTES)))
		return stream_break(stream, "out of memory");
	size_t got;
	int r = tls_conn_recv(stream->tls, stream->prefix + stream->prefix_length,
	                      LIMIT_STREAM_HEADER_BYTES - stream->prefix_length, &got);
	stream->prefix_length += got;
	if (r == 0)
		return 0;
	if (stream->prefix_length == 0) {
		free(stream->prefix);
		stream->prefix = NULL;
	}
	if (r == TLS_BLOCKED)
		return STREAM_BLOCKED;
	if (r == TLS_END)
		return STREAM_END;
	stream_take_problem(stream);
	return STREAM_FAILED;
}

void stream_drop_prefix(struct stream *stream, size_t used)
{
	stream->prefix_at += used;
	if (stream->prefix_at < stream->prefix_length)
		return;
	free(stream->prefix);
	stream->prefix = NULL;
	stream->prefix_at = stream->prefix_length = 0;
}

int stream_send_opening(struct stream *stream)
{
	int r = 0;
	if (stream->opening_length > 0)
		r = tls_conn_send(stream->tls, stream->opening, stream->opening_length);
	free(stream->opening);
	stream->opening = NULL;
	stream->opening_length = 0;
	if (r == 0)
		return 0;
	stream_take_problem(stream);
	return STREAM_FAILED;
}

// ---- bytes ---------------------------------------------------------------------------------------------------------

int stream_recv(struct stream *stream, uint8_t *out, size_t size, size_t *got)
{
	*got = 0;
	if (stream->phase != STREAM_OPEN)
		return stream->phase == STREAM_BROKEN ? STREAM_FAILED : STREAM_BLOCKED;
	int r = 0;
	if (stream->prefix) {
		size_t n = stream->prefix_length - stream->prefix_at;
		*got = n < size ? n : size;
		memcpy(out, stream->prefix + stream->prefix_at, *got);
		stream_drop_prefix(stream, *got);
	} else {
		r = tls_conn_recv(stream->tls, out, size, got);
	}
	if (*got > 0) {
		link_count(stream->link, 0, *got);
		counter_add(COUNTER_BYTES_INWARD, *got);
		return 0;
	}
	if (r == TLS_BLOCKED)
		return STREAM_BLOCKED;
	if (r == TLS_END)
		return STREAM_END;
	stream_take_problem(stream);
	return STREAM_FAILED;
}

// Spec: protocol.md 3, "update their TLS keys well before the AES-GCM limit and at every epoch".
static int refresh_keys(struct stream *stream)
{
	uint32_t epoch = link_epoch(stream->link);
	if (epoch == stream->key_epoch && tls_conn_sent(stream->tls) < link_key_update_bytes(stream->link))
		return 0;
	stream->key_epoch = epoch;
	return tls_conn_update_keys(stream->tls);
}

int stream_send(struct stream *stream, const uint8_t *bytes, size_t length)
{
	if (stream->phase == STREAM_BROKEN)
		return STREAM_FAILED;
	int r = refresh_keys(stream);
	if (r == 0)
		r = tls_conn_send(stream->tls, bytes, length);
	stream->had_room = stream_has_room(stream);
	stream->touched = true;
	stream->trimmed = false;
	if (r != 0) {
		stream_take_problem(stream);
		return STREAM_FAILED;
	}
	link_count(stream->link, length, 0);
	counter_add(COUNTER_BYTES_OUTWARD, length);
	if (!stream->had_room)
		stream_set_wants(stream);
	return 0;
}

bool stream_has_room(const struct stream *stream)
{
	return (stream->phase == STREAM_OPEN || stream->phase == STREAM_ASKING) && tls_conn_has_room(stream->tls);
}

int stream_finish(struct stream *stream)
{
	if (stream->phase == STREAM_BROKEN)
		return STREAM_FAILED;
	int r = tls_conn_finish(stream->tls);
	if (r != 0) {
		stream_take_problem(stream);
		return STREAM_FAILED;
	}
	stream_set_wants(stream);
	return 0;
}

bool stream_is_flushed(const struct stream *stream)
{
	return !stream->tls || !(tls_conn_wants(stream->tls) & LOOP_WRITE);
}

void stream_want_read(struct stream *stream, bool wanted)
{
	stream->want_read = wanted;
	stream_set_wants(stream);
}

bool stream_is_open(const struct stream *stream)
{
	return stream->phase == STREAM_OPEN;
}

bool stream_is_broken(const struct stream *stream)
{
	return stream->phase == STREAM_BROKEN;
}

const char *stream_problem(const struct stream *stream)
{
	return stream->problem;
}

bool stream_lacks_descriptor(const struct stream *stream)
{
	return stream->lacks_descriptor;
}

struct link *stream_link(const struct stream *stream)
{
	return stream->link;
}

uint32_t stream_epoch(const struct stream *stream)
{
	return stream->epoch;
}

void stream_limit_unsent(struct stream *stream, uint32_t bytes)
{
	if (stream->tls)
		socket_limit_unsent(tls_conn_fd(stream->tls), bytes);
}

void stream_own(struct stream *stream, const struct stream_ops *ops, void *owner)
{
	stream->ops = ops;
	stream->owner = owner;
}

// ---- all streams of this thread ------------------------------------------------------------------------------------

static void cut(struct stream *stream, const char *problem)
{
	enum stream_phase was = stream->phase;
	stream_break(stream, problem);
	if (was == STREAM_DIALING || was == STREAM_HANDSHAKE || was == STREAM_PARKED || was == STREAM_ASKING)
		stream_on_opener(stream);
	else if (was == STREAM_HEADER || was == STREAM_LEAVING)
		stream_on_acceptor(stream);
	else
		stream_tell(stream, LOOP_READ | LOOP_WRITE);
}

// In both walks a callback may close any stream. Its memory stays until the end of the turn, and with it the way on.

void stream_cut_all(struct link *link)
{
	for (struct stream *stream = newest; stream; stream = stream->older)
		if (!stream->closed && stream->link == link && stream->phase != STREAM_BROKEN)
			cut(stream, "the link was closed");
}

void stream_drop_unowned(void)
{
	for (struct stream *stream = newest; stream; stream = stream->older) {
		struct stream *self = stream;
		if (!stream->is_opener && !stream->ops)
			stream_close(&self);
	}
}

void stream_drop_parked(struct link *link)
{
	for (struct stream *stream = newest; stream; stream = stream->older) {
		struct stream *self = stream;
		if (stream->closed || stream->link != link)
			continue;
		if (stream->phase == STREAM_HEADER && !stream->is_lent)
			stream_close(&self);
		else if (stream->phase == STREAM_PARKED && stream->ops)
			cut(stream, "the link is over");
	}
}

// A peer that is gone acknowledges nothing; one that only does not read does, so TCP_USER_TIMEOUT, which ends both, is
// not for streams. A stream with nothing on its way costs nothing here.
static bool is_given_up(struct stream *stream)
{
	uint32_t limit_ms = link_silence_ms(stream->link), silent_ms = 0;
	stream->unanswered = stream->unanswered || stream->touched;
	if (limit_ms == 0 || !stream->unanswered || !stream->tls || stream->phase == STREAM_BROKEN)
		return false;
	uint64_t now = loop_now_ms(stream->loop), since = stream->unanswered_since_ms;
	stream->unanswered = socket_awaits_answer(tls_conn_fd(stream->tls), &silent_ms);
	if (!stream->unanswered)
		stream->unanswered_since_ms = 0;
	else if (since == 0 || now - since > silent_ms)
		stream->unanswered_since_ms = since == 0 ? now : now - silent_ms;
	return stream->unanswered && since != 0 && now - stream->unanswered_since_ms >= limit_ms;
}

void stream_trim_idle(void)
{
	for (struct stream *stream = newest; stream; stream = stream->older) {
		if (is_given_up(stream)) {
			counter_add(COUNTER_STREAM_SILENT, 1);
			cut(stream, "the peer acknowledges nothing that is sent");
			continue;
		}
		if (!stream->touched && !stream->trimmed && stream->tls) {
			tls_conn_trim(stream->tls);
			stream->trimmed = true;
		}
		stream->touched = false;
	}
}
