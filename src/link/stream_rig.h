// For tests of streams: conversations of which both ends say so many bytes that follow from the stream's number, and
// end. For one file of a test program.

#pragma once

#include "link/stream.h"

#include "core/counter.h"

#include "link/link_rig.h"

// ---- a conversation: both ends say so many bytes that follow from the stream's number, and end

struct talk {
	struct stream *stream;
	bool is_dest, used;
	uint16_t number;
	uint64_t length, sent, received;
	bool finished, ended, failed, refused, is_deaf;
	enum header_status status;
	char reason[256];
};

#define TALKS 256
static struct talk openers[TALKS], acceptors[TALKS];
static unsigned headers; // that have come
static uint64_t dest_length;
static bool dest_is_deaf;
static struct stream *undecided; // of service "later"
static char last_origin[64];

// What one end says, as one long text that repeats; where in it a stream begins depends on its number and the speaker.
#define PERIOD 65521
static uint8_t text[PERIOD + LIMIT_UNIT_BYTES];

static inline const uint8_t *said(const struct talk *talk, bool by_dest, uint64_t position)
{
	if (text[1] == 0)
		for (uint32_t i = 0; i < sizeof text; i++)
			text[i] = (uint8_t)((i % PERIOD * 2654435761u) >> 13);
	return text + (position + talk->number * 97u + by_dest * 31u) % PERIOD;
}

static inline void talk_close(struct talk *talk)
{
	stream_close(&talk->stream);
}

static inline void talk_listen(struct talk *talk)
{
	static uint8_t bytes[LIMIT_UNIT_BYTES];
	while (!talk->is_deaf && !talk->ended && !talk->failed) {
		size_t got;
		int r = stream_recv(talk->stream, bytes, sizeof bytes, &got);
		if (r == STREAM_BLOCKED)
			return;
		talk->ended = r == STREAM_END;
		talk->failed = r == STREAM_FAILED;
		if (memcmp(bytes, said(talk, !talk->is_dest, talk->received), got) != 0)
			fail_msg("stream %u: wrong bytes behind byte %llu", talk->number, (unsigned long long)talk->received);
		talk->received += got;
	}
}

static inline void talk_speak(struct talk *talk)
{
	while (!talk->finished && !talk->failed && stream_has_room(talk->stream)) {
		if (talk->sent == talk->length) {
			talk->finished = true;
			talk->failed = stream_finish(talk->stream) != 0;
			return;
		}
		uint64_t left = talk->length - talk->sent;
		size_t n = left < LIMIT_UNIT_BYTES ? (size_t)left : LIMIT_UNIT_BYTES;
		talk->failed = stream_send(talk->stream, said(talk, talk->is_dest, talk->sent), n) != 0;
		talk->sent += n;
	}
}

static inline void talk_on(struct talk *talk)
{
	if (!talk->stream)
		return;
	talk_listen(talk);
	if (!talk->failed)
		talk_speak(talk);
	if (talk->failed || (talk->ended && talk->finished && stream_is_flushed(talk->stream))) {
		talk_close(talk);
		return;
	}
	stream_want_read(talk->stream, !talk->is_deaf && !talk->ended);
}

static inline void on_ready(void *owner, int events)
{
	struct talk *talk = owner;
	assert_int_not_equal(events, 0);
	assert_non_null(talk->stream);
	if (stream_is_broken(talk->stream))
		talk->failed = true;
	talk_on(talk);
}

static inline void on_refused(void *owner, const struct header_answer *answer)
{
	struct talk *talk = owner;
	assert_false(talk->refused);
	talk->refused = true;
	talk->status = answer->status;
	snprintf(talk->reason, sizeof talk->reason, "%s", answer->reason);
	talk_close(talk);
}

static const struct stream_ops talk_ops = {.on_ready = on_ready, .on_refused = on_refused};

static inline void accept_talk(struct stream *stream, uint16_t number)
{
	struct talk *talk = &acceptors[number];
	assert_false(talk->used);
	*talk = (struct talk){.stream = stream, .is_dest = true, .used = true, .number = number, .length = dest_length};
	talk->is_deaf = dest_is_deaf;
	stream_own(stream, &talk_ops, talk);
	if (stream_confirm(stream) != 0)
		talk->failed = true;
	talk_on(talk);
}

static inline void on_header(void *owner, struct stream *stream, const struct header *header)
{
	(void)owner;
	headers++;
	snprintf(last_origin, sizeof last_origin, "%s", header->origin);
	if (strcmp(header->service, "talk") == 0) {
		accept_talk(stream, header->port);
	} else if (strcmp(header->service, "later") == 0) {
		struct talk *talk = &acceptors[header->port];
		*talk = (struct talk){.stream = stream, .is_dest = true, .used = true, .number = header->port};
		talk->is_deaf = true;
		stream_own(stream, &talk_ops, talk);
		undecided = stream;
	} else {
		stream_refuse(&stream, HEADER_NO_SERVICE, "not here");
	}
}

static inline struct header header_of(const char *service, uint16_t number)
{
	struct header header = {.kind = HEADER_TCP, .port = number, .origin = "192.0.2.7:4711"};
	snprintf(header.service, sizeof header.service, "%s", service);
	return header;
}

// Opens stream `number`; so many of its bytes go along with the header.
static inline void open_talk(struct link_rig *rig, const char *service, uint16_t number, uint64_t length, size_t first)
{
	struct talk *talk = &openers[number];
	struct header header = header_of(service, number);
	*talk = (struct talk){.used = true, .number = number, .length = length, .sent = first};
	const uint8_t *bytes = said(talk, false, 0);
	assert_int_equal(pool_open(rig->pool,
	                           &(struct stream_opening){.header = &header,
	                                                    .first = bytes,
	                                                    .first_length = first,
	                                                    .ops = &talk_ops,
	                                                    .owner = talk},
	                           &talk->stream),
	                 0);
	talk_on(talk);
}

static inline bool talk_is_over(const struct talk *talk)
{
	return !talk->used || !talk->stream;
}

static inline bool all_are_over(void *owner)
{
	(void)owner;
	for (unsigned i = 0; i < TALKS; i++)
		if (!talk_is_over(&openers[i]) || !talk_is_over(&acceptors[i]))
			return false;
	return true;
}

static inline void expect_complete(const struct talk *talk, uint64_t received)
{
	assert_true(talk->used);
	if (talk->failed || talk->refused)
		fail_msg("stream %u failed: %s", talk->number, talk->reason);
	assert_true(talk->ended && talk->finished);
	assert_int_equal(talk->received, received);
	assert_int_equal(talk->sent, talk->length);
}

static inline void begin(struct link_rig *rig, unsigned pool_size)
{
	memset(openers, 0, sizeof openers);
	memset(acceptors, 0, sizeof acceptors);
	headers = 0;
	dest_length = 100000;
	dest_is_deaf = false;
	undecided = NULL;
	link_rig_start(rig, &(struct link_rig_settings){.pool_size = pool_size, .on_header = on_header});
}

static inline struct link *dest_link(struct link_rig *rig)
{
	struct link *link = registry_find(rig->registry, link_id(rig->link));
	assert_non_null(link);
	return link;
}

// ---- as it should be

static inline bool header_has_come(void *owner)
{
	(void)owner;
	return headers > 0;
}
