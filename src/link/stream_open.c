// The opener's side: dial, handshake with or without early data, park, ask.

#include "core/counter.h"
#include "link/stream_internal.h"
#include "link/verdict.h"
#include "net/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The end of an opening: the pool or the flow hears of it, once.
static void give_up(struct stream *stream)
{
	if (stream->on_parked) {
		stream_parked_fn on_parked = stream->on_parked;
		stream->on_parked = NULL;
		char problem[sizeof stream->problem];
		snprintf(problem, sizeof problem, "%s", stream->problem);
		void *owner = stream->owner;
		struct stream *self = stream;
		stream_close(&self);
		on_parked(owner, NULL, problem);
		return;
	}
	if (stream->ops) {
		struct header_answer answer = {.status = HEADER_INTERNAL};
		snprintf(answer.reason, sizeof answer.reason, "%s", stream->problem);
		stream->ops->on_refused(stream->owner, &answer);
	}
}

static void on_deadline(void *owner)
{
	struct stream *stream = owner;
	stream_break(stream, "dest did not finish the handshake in time");
	give_up(stream);
}

static int tls_start(struct stream *stream, int *fd)
{
	struct psk_identity identity;
	struct secret psk = {0};
	uint8_t name[PSK_IDENTITY_BYTES];
	int r = link_next_psk(stream->link, &identity, &psk);
	if (r != 0)
		return stream_break(stream, "the link is down");
	psk_identity_encode(&identity, name);
	stream->epoch = stream->key_epoch = identity.epoch;
	struct tls_options options = {.owner = stream,
	                              .psk_identity = name,
	                              .psk_identity_length = sizeof name,
	                              .psk = &psk};
	r = tls_conn_new(stream->dialling.profile, fd, &options, &stream->tls);
	secret_fini(&psk);
	if (r < 0)
		return stream_break(stream, "out of memory");
	if (stream->opening && tls_conn_early(stream->tls, stream->opening, stream->opening_length) != 0) {
		stream_take_problem(stream);
		return STREAM_FAILED;
	}
	stream->phase = STREAM_HANDSHAKE;
	// A parked connection's ClientHello leaves with the first step.
	r = tls_conn_handshake(stream->tls);
	if (r == TLS_FAILED || r < 0) {
		stream_take_problem(stream);
		return STREAM_FAILED;
	}
	return stream_watch(stream) < 0 ? stream_break(stream, "no memory for the connection") : 0;
}

static void on_dialled(void *owner, const struct dial_result *result)
{
	struct stream *stream = owner;
	int fd = result->fd;
	stream->lacks_descriptor = fd >= 0 ? socket_is_reserved(fd) : result->no_descriptor;
	if (stream->lacks_descriptor)
		socket_close(&fd);
	if (fd < 0) {
		stream_break(stream, stream->lacks_descriptor ? "no file descriptor is left" : result->problem);
		give_up(stream);
		return;
	}
	struct socket_options options = {.congestion = stream->dialling.congestion,
	                                 .keepalive_ms = stream->dialling.keepalive_ms};
	socket_tune(fd, &options);
	int r = tls_start(stream, &fd);
	socket_close(&fd);
	if (r != 0)
		give_up(stream);
}

static int dial(const struct stream_dial *how, struct link *link, struct stream **out)
{
	struct stream *stream = stream_make(how->loop, link);
	if (!stream)
		return -ENOMEM;
	stream->is_opener = true;
	stream->phase = STREAM_DIALING;
	stream->dialling = *how;
	tls_profile_ref(how->profile);
	*out = stream;
	int r = loop_timer_open(how->loop, on_deadline, stream, &stream->deadline);
	if (r == 0) {
		loop_timer_arm(stream->deadline, how->timeout_ms, 0);
		r = dial_address_start(how->loop, link_data_address(link), how->timeout_ms, on_dialled, stream, &stream->dial);
	}
	if (r < 0)
		stream_close(out);
	return r;
}

int stream_dial_parked(const struct stream_dial *how, struct link *link, stream_parked_fn on_done, void *owner,
                       struct stream **out)
{
	int r = dial(how, link, out);
	if (r < 0)
		return r;
	struct stream *stream = *out;
	stream->on_parked = on_done;
	stream->owner = owner;
	stream->dialling.offer = NULL;
	if (!how->offer)
		return 0;
	stream->opening = malloc(LIMIT_STREAM_HEADER_BYTES);
	if (stream->opening)
		stream->opening_length = header_encode(how->offer, stream->opening);
	else
		stream_close(out);
	return stream->opening ? 0 : -ENOMEM;
}

// Header and first bytes side by side, as they leave.
static int prepare(struct stream *stream, const struct stream_opening *opening)
{
	stream->opening = malloc(LIMIT_STREAM_HEADER_BYTES + opening->first_length);
	if (!stream->opening)
		return -ENOMEM;
	size_t length = header_encode(opening->header, stream->opening);
	if (opening->first_length > 0)
		memcpy(stream->opening + length, opening->first, opening->first_length);
	stream->header_length = length;
	stream->opening_length = length + opening->first_length;
	stream_count(stream);
	link_count(stream->link, opening->first_length, 0);
	counter_add(COUNTER_BYTES_OUTWARD, opening->first_length);
	stream_own(stream, opening->ops, opening->owner);
	return 0;
}

int stream_dial_open(const struct stream_dial *how, struct link *link, const struct stream_opening *opening,
                     struct stream **out)
{
	int r = dial(how, link, out);
	if (r < 0)
		return r;
	r = prepare(*out, opening);
	if (r < 0)
		stream_close(out);
	return r;
}

int stream_open_parked(struct stream *stream, const struct stream_opening *opening)
{
	int r = prepare(stream, opening);
	if (r < 0)
		return r;
	stream->phase = STREAM_ASKING;
	stream->touched = true;
	stream->trimmed = false;
	uint64_t put = tls_conn_put(stream->tls);
	r = stream_send_opening(stream);
	stream->had_room = stream_has_room(stream);
	stream_set_wants(stream);
	if (r == 0)
		return 0;
	return tls_conn_put(stream->tls) == put ? STREAM_UNSENT : -EPIPE;
}

// A ClientHello leaves together with the early data, so what has left of a dialled stream may be all of its opening.
bool stream_has_left(const struct stream *stream)
{
	return !stream->opening || (stream->tls && tls_conn_put(stream->tls) > 0);
}

void stream_unsent(const struct stream *stream, const uint8_t **first, size_t *length)
{
	*first = stream->opening + stream->header_length;
	*length = stream->opening_length - stream->header_length;
}

static void handshake_step(struct stream *stream)
{
	int r = tls_conn_handshake(stream->tls);
	if (r == TLS_BLOCKED)
		return;
	loop_timer_close(&stream->deadline);
	if (r != 0) {
		verdict_count(tls_conn_failure(stream->tls));
		stream_take_problem(stream);
		return;
	}
	counter_add(COUNTER_HANDSHAKE_DATA_OK, 1);
	stream->phase = stream->on_parked ? STREAM_PARKED : STREAM_ASKING;
	// Early data that was not taken goes again on the same connection; it is never sent on another one.
	if (stream->opening && tls_conn_early_was_accepted(stream->tls))
		stream->opening_length = 0;
	if (stream_send_opening(stream) != 0)
		return; // the phase says so
	if (stream->on_parked) {
		stream_parked_fn on_parked = stream->on_parked;
		stream->on_parked = NULL;
		on_parked(stream->owner, stream, NULL);
	}
}

static void read_answer(struct stream *stream)
{
	int r = stream_read_prefix(stream);
	if (r == STREAM_BLOCKED)
		return;
	struct header_answer answer;
	size_t used;
	int decoded = HEADER_MORE;
	if (r == 0)
		decoded = header_answer_decode(stream->prefix, stream->prefix_length, &answer, &used);
	if (decoded == HEADER_MORE && r == 0 && stream->prefix_length < LIMIT_STREAM_HEADER_BYTES)
		return;
	if (decoded != 0) {
		stream_break(stream, r == STREAM_END ? "dest ended the stream without an answer" : "bad answer from dest");
		return;
	}
	if (answer.status != HEADER_OK) {
		stream_break(stream, answer.reason);
		stream->ops->on_refused(stream->owner, &answer);
		stream->ops = NULL;
		return;
	}
	stream->phase = STREAM_OPEN;
	stream_drop_prefix(stream, used);
}

void stream_on_opener(struct stream *stream)
{
	bool opening = stream->phase != STREAM_OPEN;
	if (stream->phase == STREAM_HANDSHAKE)
		handshake_step(stream);
	if (!stream->closed && stream->phase == STREAM_ASKING)
		read_answer(stream);
	if (stream->closed)
		return;
	if (stream->phase == STREAM_PARKED && !stream->on_parked) {
		// Hostile: nothing may come before the header has been sent; usually it is the end of the connection.
		uint8_t unexpected;
		size_t got;
		if (tls_conn_recv(stream->tls, &unexpected, 1, &got) != TLS_BLOCKED)
			stream_break(stream, "a parked connection was closed by dest");
		if (stream->phase == STREAM_BROKEN && stream->ops)
			stream->ops->on_ready(stream->owner, LOOP_READ);
		return;
	}
	if (opening && stream->phase == STREAM_BROKEN && (stream->on_parked || stream->ops)) {
		give_up(stream);
		stream->ops = NULL;
	}
}
