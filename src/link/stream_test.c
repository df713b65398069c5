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

static const uint8_t *said(const struct talk *talk, bool by_dest, uint64_t position)
{
	if (text[1] == 0)
		for (uint32_t i = 0; i < sizeof text; i++)
			text[i] = (uint8_t)((i % PERIOD * 2654435761u) >> 13);
	return text + (position + talk->number * 97u + by_dest * 31u) % PERIOD;
}

static void talk_close(struct talk *talk)
{
	stream_close(&talk->stream);
}

static void talk_listen(struct talk *talk)
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

static void talk_speak(struct talk *talk)
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

static void talk_on(struct talk *talk)
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

static void on_ready(void *owner, int events)
{
	struct talk *talk = owner;
	assert_int_not_equal(events, 0);
	assert_non_null(talk->stream);
	if (stream_is_broken(talk->stream))
		talk->failed = true;
	talk_on(talk);
}

static void on_refused(void *owner, const struct header_answer *answer)
{
	struct talk *talk = owner;
	assert_false(talk->refused);
	talk->refused = true;
	talk->status = answer->status;
	snprintf(talk->reason, sizeof talk->reason, "%s", answer->reason);
	talk_close(talk);
}

static const struct stream_ops talk_ops = {.on_ready = on_ready, .on_refused = on_refused};

static void accept_talk(struct stream *stream, uint16_t number)
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

static void on_header(void *owner, struct stream *stream, const struct header *header)
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

static struct header header_of(const char *service, uint16_t number)
{
	struct header header = {.kind = HEADER_TCP, .port = number, .origin = "192.0.2.7:4711"};
	snprintf(header.service, sizeof header.service, "%s", service);
	return header;
}

// Opens stream `number`; so many of its bytes go along with the header.
static void open_talk(struct link_rig *rig, const char *service, uint16_t number, uint64_t length, size_t first)
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

static bool talk_is_over(const struct talk *talk)
{
	return !talk->used || !talk->stream;
}

static bool all_are_over(void *owner)
{
	(void)owner;
	for (unsigned i = 0; i < TALKS; i++)
		if (!talk_is_over(&openers[i]) || !talk_is_over(&acceptors[i]))
			return false;
	return true;
}

static void expect_complete(const struct talk *talk, uint64_t received)
{
	assert_true(talk->used);
	if (talk->failed || talk->refused)
		fail_msg("stream %u failed: %s", talk->number, talk->reason);
	assert_true(talk->ended && talk->finished);
	assert_int_equal(talk->received, received);
	assert_int_equal(talk->sent, talk->length);
}

static void begin(struct link_rig *rig, unsigned pool_size)
{
	memset(openers, 0, sizeof openers);
	memset(acceptors, 0, sizeof acceptors);
	headers = 0;
	dest_length = 100000;
	dest_is_deaf = false;
	undecided = NULL;
	link_rig_start(rig, &(struct link_rig_settings){.pool_size = pool_size, .on_header = on_header});
}

static struct link *dest_link(struct link_rig *rig)
{
	struct link *link = registry_find(rig->registry, link_id(rig->link));
	assert_non_null(link);
	return link;
}

// ---- as it should be

static void stream_that_is_dialled_carries_its_first_bytes_as_early_data(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 0);
	open_talk(&rig, "talk", 1, 300000, 9000);
	link_rig_wait(&rig, all_are_over, NULL);
	expect_complete(&openers[1], dest_length);
	expect_complete(&acceptors[1], 300000);
	assert_string_equal(last_origin, "192.0.2.7:4711");
	struct link_state mine, theirs;
	struct link *link = dest_link(&rig);
	link_read(rig.link, &mine);
	link_read(link, &theirs);
	assert_int_equal(mine.streams_total, 1);
	assert_int_equal(mine.streams_open, 0);
	assert_int_equal(mine.bytes_outward, 300000);
	assert_int_equal(mine.bytes_inward, dest_length);
	assert_int_equal(theirs.bytes_outward, dest_length);
	assert_int_equal(theirs.bytes_inward, 300000);
	assert_int_equal(theirs.streams_open, 0);
	link_unref(&link);
	link_rig_stop(&rig);
}

static void streams_of_any_length_end_in_order(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 2);
	dest_length = 0;
	static const size_t first[] = {0, 1, 900, LIMIT_EARLY_DATA_BYTES - LIMIT_STREAM_HEADER_BYTES};
	uint16_t number = 0;
	for (unsigned i = 0; i < COUNT_OF(first); i++)
		for (unsigned more = 0; more < 3; more++)
			open_talk(&rig, "talk", number++, first[i] + more * 40000, first[i]);
	link_rig_wait(&rig, all_are_over, NULL);
	number = 0;
	for (unsigned i = 0; i < COUNT_OF(first); i++)
		for (unsigned more = 0; more < 3; more++, number++) {
			expect_complete(&openers[number], 0);
			expect_complete(&acceptors[number], first[i] + more * 40000);
		}
	link_rig_stop(&rig);
}

static bool three_are_parked(void *owner)
{
	struct link_rig *rig = owner;
	struct link *link = dest_link(rig);
	// Seen from dest: charged, and not yet streams.
	uint32_t more = 0;
	while (link_enter_connection(link))
		more++;
	for (uint32_t i = 0; i < more; i++)
		link_leave_connection(link);
	link_unref(&link);
	return more == 10000 - 3;
}

static void parked_connection_becomes_a_stream(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 3);
	link_rig_wait(&rig, three_are_parked, &rig);
	uint64_t hits = counter_read(COUNTER_POOL_HIT);
	link_rig_turn(&rig, 20);
	open_talk(&rig, "talk", 7, 200000, 500);
	assert_int_equal(counter_read(COUNTER_POOL_HIT), hits + 1);
	link_rig_wait(&rig, all_are_over, NULL);
	expect_complete(&openers[7], dest_length);
	expect_complete(&acceptors[7], 200000);
	link_rig_wait(&rig, three_are_parked, &rig); // and another took its place
	link_rig_stop(&rig);
}

static void many_streams_at_once_stay_apart(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 8);
	dest_length = 70000;
	for (uint16_t i = 0; i < 200; i++)
		open_talk(&rig, "talk", i, 1000 + i * 300u, i);
	link_rig_wait(&rig, all_are_over, NULL);
	for (uint16_t i = 0; i < 200; i++) {
		expect_complete(&openers[i], dest_length);
		expect_complete(&acceptors[i], 1000 + i * 300u);
	}
	link_rig_stop(&rig);
}

static void refused_stream_says_why(void **state)
{
	(void)state;
	struct link_rig rig;
	for (unsigned pool_size = 0; pool_size < 2; pool_size++) {
		begin(&rig, pool_size);
		link_rig_turn(&rig, 50);
		open_talk(&rig, "nothing", 3, 100000, 100);
		link_rig_wait(&rig, all_are_over, NULL);
		assert_true(openers[3].refused);
		assert_int_equal(openers[3].status, HEADER_NO_SERVICE);
		assert_string_equal(openers[3].reason, "not here");
		link_rig_stop(&rig);
	}
}

static bool header_has_come(void *owner)
{
	(void)owner;
	return headers > 0;
}

static void reader_that_pauses_stops_the_writer_and_loses_nothing(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 0);
	dest_is_deaf = true;
	open_talk(&rig, "talk", 1, 64 << 20, 0);
	link_rig_wait(&rig, header_has_come, NULL);
	uint64_t before;
	do {
		before = openers[1].sent;
		link_rig_turn(&rig, 50);
	} while (openers[1].sent != before);
	assert_true(before < 48 << 20);
	assert_false(stream_has_room(openers[1].stream));
	openers[1].length = openers[1].sent + 1000;
	acceptors[1].is_deaf = false;
	talk_on(&acceptors[1]);
	link_rig_wait(&rig, all_are_over, NULL);
	expect_complete(&acceptors[1], openers[1].length);
	expect_complete(&openers[1], dest_length);
	link_rig_stop(&rig);
}

static void want_epoch(void *owner)
{
	struct link_rig *rig = owner;
	initiator_want_epoch(rig->initiator);
}

static void keys_change_many_times_a_second_while_bytes_flow(void **state)
{
	(void)state;
	struct link_rig rig;
	struct loop_timer *timer;
	begin(&rig, 2);
	dest_length = UINT64_MAX; // until told otherwise
	assert_int_equal(loop_timer_open(rig.loop, want_epoch, &rig, &timer), 0);
	loop_timer_arm(timer, 100, 100);
	uint64_t updates = counter_read(COUNTER_KEY_UPDATE_SENT);
	for (uint16_t i = 0; i < 3; i++)
		open_talk(&rig, "talk", i, UINT64_MAX, 100);
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	for (uint16_t next = 3; link_epoch(rig.link) < 9; next++) {
		link_rig_turn(&rig, 20);
		// New ones come and go meanwhile.
		if (next < TALKS) {
			dest_length = 5000;
			open_talk(&rig, "talk", next, 20000, 700);
		}
		assert_true(clock_ms() < until);
	}
	for (uint16_t i = 0; i < 3; i++) {
		openers[i].length = openers[i].sent;
		acceptors[i].length = acceptors[i].sent;
		talk_on(&openers[i]);
		talk_on(&acceptors[i]);
	}
	link_rig_wait(&rig, all_are_over, NULL);
	for (uint16_t i = 0; i < TALKS && openers[i].used; i++) {
		expect_complete(&openers[i], acceptors[i].sent);
		expect_complete(&acceptors[i], openers[i].sent);
	}
	assert_true(counter_read(COUNTER_KEY_UPDATE_SENT) > updates + 6);
	assert_int_equal(rig.ups, 1);
	loop_timer_close(&timer);
	link_rig_stop(&rig);
}

static bool epoch_has_changed(void *owner)
{
	struct link_rig *rig = owner;
	return link_epoch(rig->link) > 1;
}

static void bytes_carried_ask_for_a_new_epoch(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 0);
	link_rig_stop(&rig);
	link_rig_start(&rig, &(struct link_rig_settings){.rotation_bytes = 1 << 20, .on_header = on_header});
	open_talk(&rig, "talk", 1, 2 << 20, 0);
	link_rig_wait(&rig, epoch_has_changed, &rig);
	link_rig_wait(&rig, all_are_over, NULL);
	expect_complete(&acceptors[1], 2 << 20);
	link_rig_stop(&rig);
}

static void streams_begun_ask_for_a_new_epoch(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 0);
	link_rig_stop(&rig);
	link_rig_start(&rig, &(struct link_rig_settings){.rotation_streams = 3, .on_header = on_header});
	for (uint16_t i = 0; i < 2; i++)
		open_talk(&rig, "talk", i, 1000, 0);
	link_rig_wait(&rig, all_are_over, NULL);
	link_rig_turn(&rig, 20);
	assert_int_equal(link_epoch(rig.link), 1);
	open_talk(&rig, "talk", 2, 1000, 0);
	link_rig_wait(&rig, epoch_has_changed, &rig);
	link_rig_wait(&rig, all_are_over, NULL);
	link_rig_stop(&rig);
}

static void stream_crosses_many_key_updates_in_both_directions_at_once(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 0);
	link_rig_stop(&rig);
	struct link_rig_settings settings = {.key_update_bytes = LIMIT_TLS_KEY_BYTES_LEAST, .on_header = on_header};
	link_rig_start(&rig, &settings);
	uint64_t updates = counter_read(COUNTER_KEY_UPDATE_SENT);
	dest_length = 12 << 20;
	open_talk(&rig, "talk", 1, 12 << 20, 500);
	link_rig_wait(&rig, all_are_over, NULL);
	expect_complete(&acceptors[1], 12 << 20);
	expect_complete(&openers[1], 12 << 20);
	// Each side at its first unit behind every 64 KiB.
	assert_true(counter_read(COUNTER_KEY_UPDATE_SENT) - updates >= 2 * (12 << 20) / (2 * LIMIT_TLS_KEY_BYTES_LEAST));
	assert_int_equal(link_epoch(rig.link), 1);
	link_rig_stop(&rig);
}

static void side_that_only_receives_updates_nothing(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 0);
	link_rig_stop(&rig);
	link_rig_start(&rig, &(struct link_rig_settings){.key_update_bytes = 1 << 20, .on_header = on_header});
	uint64_t updates = counter_read(COUNTER_KEY_UPDATE_SENT);
	dest_length = 100;
	open_talk(&rig, "talk", 1, 8 << 20, 0);
	link_rig_wait(&rig, all_are_over, NULL);
	expect_complete(&acceptors[1], 8 << 20);
	updates = counter_read(COUNTER_KEY_UPDATE_SENT) - updates;
	assert_true(updates >= 6 && updates <= 8);
	link_rig_stop(&rig);
}

// ---- ends that are none

static void stream_that_is_cut_looks_cut_to_the_other_side(void **state)
{
	(void)state;
	struct link_rig rig;
	for (int i = 0; i < 2; i++) {
		begin(&rig, 0);
		dest_length = UINT64_MAX;
		open_talk(&rig, "talk", 1, UINT64_MAX, 10);
		link_rig_wait(&rig, header_has_come, NULL);
		link_rig_turn(&rig, 20);
		talk_close(i == 0 ? &openers[1] : &acceptors[1]);
		link_rig_wait(&rig, all_are_over, NULL);
		const struct talk *other = i == 0 ? &acceptors[1] : &openers[1];
		assert_true(other->failed);
		assert_false(other->ended);
		assert_false(other->refused);
		link_rig_stop(&rig);
	}
}

static void close_of_the_link_cuts_all_streams_of_dest(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 3);
	dest_length = UINT64_MAX;
	dest_is_deaf = true;
	for (uint16_t i = 0; i < 6; i++) {
		open_talk(&rig, "talk", i, UINT64_MAX, 10);
		openers[i].is_deaf = i % 2 == 0; // some flow, some are stuck
	}
	link_rig_turn(&rig, 10);
	struct link *link = dest_link(&rig);
	initiator_free(&rig.initiator, CONTROL_REASON_REVOKED);
	link_rig_wait(&rig, all_are_over, NULL);
	assert_int_equal(rig.dest_cuts, 1);
	assert_int_equal(registry_count(rig.registry), 0);
	for (uint16_t i = 0; i < 6; i++)
		assert_true(openers[i].failed || openers[i].refused);
	struct link_state after;
	link_read(link, &after);
	assert_false(after.up);
	assert_int_equal(after.streams_open, 0);
	link_unref(&link);
	link_rig_stop(&rig);
}

static void close_of_the_link_cuts_all_streams_of_source(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 3);
	dest_length = UINT64_MAX;
	dest_is_deaf = true;
	for (uint16_t i = 0; i < 6; i++) {
		open_talk(&rig, "talk", i, UINT64_MAX, 10);
		openers[i].is_deaf = i % 2 == 0; // some flow, some are stuck
	}
	link_rig_turn(&rig, 10);
	listener_pause(rig.listener, true);
	responder_free(&rig.responder, CONTROL_REASON_REVOKED);
	link_rig_wait(&rig, all_are_over, NULL);
	assert_true(rig.cuts >= 1);
	for (uint16_t i = 0; i < 6; i++)
		assert_true(openers[i].failed || openers[i].refused);
	link_rig_stop(&rig);
}

static bool rig_is_down(void *owner)
{
	struct link_rig *rig = owner;
	return !rig->link;
}

static void cut_finds_streams_that_wait_for_nothing(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 0);
	// Dest has not decided yet, and polls nothing: no readiness would ever tell it.
	open_talk(&rig, "later", 1, 100, 0);
	link_rig_wait(&rig, header_has_come, NULL);
	link_rig_turn(&rig, 20);
	assert_non_null(acceptors[1].stream);
	initiator_free(&rig.initiator, CONTROL_REASON_REVOKED);
	link_rig_wait(&rig, all_are_over, NULL);
	assert_true(acceptors[1].failed);
	assert_true(openers[1].refused || openers[1].failed);
	link_rig_stop(&rig);
}

static bool dest_has_sent_all(void *owner)
{
	(void)owner;
	return acceptors[1].used && acceptors[1].finished && !acceptors[1].stream;
}

static void stop_of_a_node_loses_nothing_that_was_sent(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 3);
	// Dest has sent all of it and its end, most of it still in the kernel; source reads only after dest's link is gone.
	dest_length = 100000;
	open_talk(&rig, "talk", 1, 10, 10);
	openers[1].is_deaf = true;
	link_rig_wait(&rig, dest_has_sent_all, NULL);
	listener_pause(rig.listener, true);
	responder_free(&rig.responder, CONTROL_REASON_SHUTDOWN);
	link_rig_wait(&rig, rig_is_down, &rig);
	assert_false(openers[1].failed);
	openers[1].is_deaf = false;
	stream_want_read(openers[1].stream, true);
	link_rig_wait(&rig, all_are_over, NULL);
	expect_complete(&openers[1], 100000);
	link_rig_stop(&rig);
}

// ---- peers that do not behave

static size_t encoded(uint8_t bytes[LIMIT_STREAM_HEADER_BYTES], const char *service, uint16_t number)
{
	struct header header = header_of(service, number);
	return header_encode(&header, bytes);
}

static void header_in_pieces_leaves_no_deadline_behind(void **state)
{
	(void)state;
	struct link_rig rig;
	struct hand hand;
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	begin(&rig, 0);
	dest_length = 10;
	hand_dial(&hand, &rig);
	link_rig_wait(&rig, hand_is_ready, &hand);
	size_t length = encoded(bytes, "later", 1);
	assert_int_equal(tls_conn_send(hand.tls, bytes, 5), 0);
	link_rig_turn(&rig, 20);
	assert_int_equal(headers, 0);
	assert_int_equal(tls_conn_send(hand.tls, bytes + 5, length - 5), 0);
	link_rig_wait(&rig, header_has_come, NULL);
	// The stream belongs to its owner now: nothing may take it away.
	assert_ptr_equal(acceptors[1].stream, undecided);
	assert_null(undecided->deadline);
	talk_close(&acceptors[1]);
	hand_fini(&hand);
	link_rig_stop(&rig);
}

static bool acceptor_has_failed(void *owner)
{
	(void)owner;
	return acceptors[1].failed;
}

static void handshake_that_never_ends_is_told_to_the_owner(void **state)
{
	(void)state;
	static const char *const services[] = {"later", "talk"};
	for (unsigned i = 0; i < 2; i++) {
		struct link_rig rig;
		struct hand hand;
		uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
		begin(&rig, 0);
		hand_dial(&hand, &rig);
		size_t length = encoded(bytes, services[i], 1);
		assert_int_equal(tls_conn_early(hand.tls, bytes, length), 0);
		link_rig_wait(&rig, header_has_come, NULL);
		// Header and nothing else: the owner has the stream, the deadline of the handshake comes.
		struct stream *stream = acceptors[1].stream;
		assert_non_null(stream);
		assert_non_null(stream->deadline);
		loop_timer_arm(stream->deadline, 1, 0);
		link_rig_wait(&rig, acceptor_has_failed, NULL);
		assert_null(acceptors[1].stream);
		hand_fini(&hand);
		link_rig_stop(&rig);
	}
}

static void bad_headers_end_the_connection(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t length;
	} bad[] = {{"\x09\x00\x00", 3}, {"\x01\xff\xff", 3}, {"GET / HTTP/1.1\r\n\r\n", 18}};
	struct link_rig rig;
	begin(&rig, 0);
	for (unsigned i = 0; i < COUNT_OF(bad); i++) {
		struct hand hand;
		hand_dial(&hand, &rig);
		link_rig_wait(&rig, hand_is_ready, &hand);
		assert_int_equal(tls_conn_send(hand.tls, (const uint8_t *)bad[i].bytes, bad[i].length), 0);
		link_rig_wait(&rig, hand_is_over, &hand);
		hand_fini(&hand);
	}
	assert_int_equal(headers, 0);
	link_rig_stop(&rig);
}

static void connections_beyond_the_links_share_are_refused(void **state)
{
	(void)state;
	struct link_rig rig;
	struct hand hand[3];
	begin(&rig, 0);
	link_rig_stop(&rig);
	link_rig_start(&rig, &(struct link_rig_settings){.connections_max = 2, .on_header = on_header});
	for (unsigned i = 0; i < 3; i++) {
		hand_dial(&hand[i], &rig);
		if (i < 2)
			link_rig_wait(&rig, hand_is_ready, &hand[i]);
	}
	link_rig_wait(&rig, hand_is_over, &hand[2]);
	for (unsigned i = 0; i < 3; i++)
		hand_fini(&hand[i]);
	link_rig_stop(&rig);
}

static void responder_that_goes_takes_the_connections_nobody_owns(void **state)
{
	(void)state;
	struct link_rig rig;
	struct hand hand;
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	begin(&rig, 0);
	hand_dial(&hand, &rig);
	link_rig_wait(&rig, hand_is_ready, &hand);
	link_rig_turn(&rig, 5);
	responder_free(&rig.responder, CONTROL_REASON_SHUTDOWN);
	// A header that comes now finds nobody to give it to.
	(void)!tls_conn_send(hand.tls, bytes, encoded(bytes, "talk", 1));
	link_rig_wait(&rig, hand_is_over, &hand);
	assert_int_equal(headers, 0);
	hand_fini(&hand);
	link_rig_stop(&rig);
}

static void pool_whose_link_went_down_has_none(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 1);
	link_rig_turn(&rig, 50);
	// Dest ends the link, and its parked connection with it.
	listener_pause(rig.listener, true);
	responder_free(&rig.responder, CONTROL_REASON_SHUTDOWN);
	link_rig_wait(&rig, rig_is_down, &rig);
	struct header header = header_of("talk", 1);
	struct stream *stream = NULL;
	assert_int_equal(pool_open(rig.pool,
	                           &(struct stream_opening){.header = &header, .ops = &talk_ops, .owner = &openers[1]},
	                           &stream),
	                 POOL_NO_LINK);
	link_rig_stop(&rig);
}

static bool opener_is_over(void *owner)
{
	return talk_is_over(owner);
}

static void open_stream_that_breaks_while_it_writes_is_broken_not_refused(void **state)
{
	(void)state;
	struct link_rig rig;
	begin(&rig, 0);
	dest_is_deaf = true;
	dest_length = 0;
	open_talk(&rig, "talk", 1, UINT64_MAX, 0);
	openers[1].is_deaf = true; // after the answer it only writes
	link_rig_wait(&rig, header_has_come, NULL);
	uint64_t before;
	do {
		before = openers[1].sent;
		link_rig_turn(&rig, 50);
	} while (openers[1].sent != before);
	assert_true(stream_is_open(openers[1].stream));
	assert_false(stream_has_room(openers[1].stream));
	talk_close(&acceptors[1]);
	link_rig_wait(&rig, opener_is_over, &openers[1]);
	assert_true(openers[1].failed);
	assert_false(openers[1].refused);
	link_rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stream_that_is_dialled_carries_its_first_bytes_as_early_data),
		cmocka_unit_test(streams_of_any_length_end_in_order),
		cmocka_unit_test(parked_connection_becomes_a_stream),
		cmocka_unit_test(many_streams_at_once_stay_apart),
		cmocka_unit_test(refused_stream_says_why),
		cmocka_unit_test(reader_that_pauses_stops_the_writer_and_loses_nothing),
		cmocka_unit_test(keys_change_many_times_a_second_while_bytes_flow),
		cmocka_unit_test(bytes_carried_ask_for_a_new_epoch),
		cmocka_unit_test(streams_begun_ask_for_a_new_epoch),
		cmocka_unit_test(stream_crosses_many_key_updates_in_both_directions_at_once),
		cmocka_unit_test(side_that_only_receives_updates_nothing),
		cmocka_unit_test(stream_that_is_cut_looks_cut_to_the_other_side),
		cmocka_unit_test(close_of_the_link_cuts_all_streams_of_dest),
		cmocka_unit_test(close_of_the_link_cuts_all_streams_of_source),
		cmocka_unit_test(cut_finds_streams_that_wait_for_nothing),
		cmocka_unit_test(stop_of_a_node_loses_nothing_that_was_sent),
		cmocka_unit_test(header_in_pieces_leaves_no_deadline_behind),
		cmocka_unit_test(handshake_that_never_ends_is_told_to_the_owner),
		cmocka_unit_test(bad_headers_end_the_connection),
		cmocka_unit_test(connections_beyond_the_links_share_are_refused),
		cmocka_unit_test(responder_that_goes_takes_the_connections_nobody_owns),
		cmocka_unit_test(pool_whose_link_went_down_has_none),
		cmocka_unit_test(open_stream_that_breaks_while_it_writes_is_broken_not_refused),
	};
	return cmocka_run_group_tests_name("stream", tests, link_rig_once, link_rig_end);
}
