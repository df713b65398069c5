// Streams that end otherwise than in order, and peers that do not behave.

#include "link/stream_rig.h"

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
	return cmocka_run_group_tests_name("stream_end", tests, link_rig_once, link_rig_end);
}
