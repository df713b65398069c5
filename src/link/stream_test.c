#include "link/stream.h"

#include "link/stream_rig.h"

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
	};
	return cmocka_run_group_tests_name("stream", tests, link_rig_once, link_rig_end);
}
