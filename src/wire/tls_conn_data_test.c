// Data connections: their one-time keys and early data, their ends, and much data.

#include "wire/tls_conn_rig.h"

// ---- two ends

static void prepare_data_buffers(struct ends *ends, int bytes)
{
	struct tls_profile *dialler;
	assert_int_equal(tls_profile_data("X25519MLKEM768", &dialler), 0);
	prepare_buffers(ends, dialler, listener_of(rig.server, TLS_PQ_REQUIRE), bytes);
}

static void prepare_data(struct ends *ends)
{
	prepare_data_buffers(ends, 0);
}

static void connect_data(struct ends *ends, int bytes)
{
	prepare_data_buffers(ends, bytes);
	shake(ends);
	assert_int_equal(ends->dialled, 0);
	assert_int_equal(ends->accepted, 0);
}

static void expect_end(struct tls_conn *conn, int end)
{
	uint8_t byte;
	size_t got;
	assert_int_equal(await(conn, &byte, 1, &got), end);
	assert_int_equal(got, 0);
	assert_int_equal(tls_conn_recv(conn, &byte, 1, &got), end); // and for ever
}

// ---- data connections

static void data_connection_needs_its_psk_and_no_certificate(void **state)
{
	(void)state;
	struct ends ends;
	connect_data(&ends, 0);
	assert_int_equal(tls_conn_kind(ends.listener), TLS_DATA);
	assert_true(tls_conn_is_proved(ends.listener));
	assert_int_equal(door.burns, 1);
	assert_null(tls_conn_peer_certificate(ends.listener));
	assert_false(tls_conn_early_was_accepted(ends.dialler));
	send_text(ends.dialler, "ping");
	expect_text(ends.listener, "ping");
	send_text(ends.listener, "pong");
	expect_text(ends.dialler, "pong");
	fini(&ends);
}

static void early_data_arrives_before_the_handshake_is_done(void **state)
{
	(void)state;
	struct ends ends;
	uint8_t sent[LIMIT_EARLY_DATA_BYTES], received[LIMIT_EARLY_DATA_BYTES + 1];
	size_t length = 0;
	prepare_data(&ends);
	for (size_t i = 0; i < sizeof sent; i++)
		sent[i] = (uint8_t)(i * 7);
	assert_int_equal(tls_conn_early(ends.dialler, sent, sizeof sent), 0);
	while (length < sizeof sent) {
		size_t got;
		assert_true(is_readable(ends.listener, RIG_PATIENCE_MS));
		assert_int_equal(step(ends.listener), TLS_BLOCKED);
		while (tls_conn_recv(ends.listener, received + length, sizeof received - length, &got) == 0)
			length += got;
	}
	assert_true(tls_conn_is_proved(ends.listener));
	assert_false(tls_conn_is_ready(ends.listener));
	assert_int_equal(length, sizeof sent);
	assert_memory_equal(sent, received, length);
	shake(&ends);
	assert_int_equal(ends.dialled, 0);
	assert_int_equal(ends.accepted, 0);
	assert_true(tls_conn_early_was_accepted(ends.dialler));
	send_text(ends.dialler, "late");
	expect_text(ends.listener, "late");
	fini(&ends);
}

static void replayed_first_flight_is_refused_and_delivers_nothing(void **state)
{
	(void)state;
	struct ends ends, again;
	uint8_t flight[32768], out[64];
	size_t length = 0, got;
	int pair[2], tap[2];
	// The dialler's flight is written down before anybody sees it.
	prepare_data(&ends);
	tls_conn_free(&ends.dialler);
	tls_conn_free(&ends.listener);
	tls_rig_pair(pair, 0);
	ends.dialler = dial_conn(ends.dialler_profile, &pair[0], NULL, NULL);
	assert_int_equal(tls_conn_early(ends.dialler, (const uint8_t *)"pay 5", 5), 0);
	struct pollfd one = {.fd = pair[1], .events = POLLIN};
	while (poll(&one, 1, length == 0 ? RIG_PATIENCE_MS : 50) == 1)
		length += (size_t)recv(pair[1], flight + length, sizeof flight - length, 0);
	for (int turn = 0; turn < 2; turn++) {
		tls_rig_pair(tap, 0);
		again = (struct ends){.listener = accept_conn(ends.listener_profile, &tap[1], NULL)};
		assert_int_equal(send(tap[0], flight, length, 0), (ssize_t)length);
		int r;
		do {
			assert_true(is_readable(again.listener, RIG_PATIENCE_MS));
			r = step(again.listener);
		} while (r == TLS_BLOCKED && tls_conn_recv(again.listener, out, sizeof out, &got) == TLS_BLOCKED);
		if (turn == 0) {
			assert_int_equal(got, 5);
			assert_memory_equal(out, "pay 5", 5);
		} else {
			assert_int_equal(r, TLS_FAILED);
			assert_int_equal(tls_conn_failure(again.listener), TLS_FAILURE_PSK_REPLAYED);
			assert_false(tls_conn_is_proved(again.listener));
			assert_int_not_equal(tls_conn_recv(again.listener, out, sizeof out, &got), 0);
		}
		tls_conn_free(&again.listener);
		close(tap[0]);
	}
	close(pair[1]);
	fini(&ends);
}

static void wrong_key_is_refused_and_burns_nothing(void **state)
{
	(void)state;
	struct ends ends;
	prepare_data(&ends);
	door.wrong_key = true;
	shake(&ends);
	assert_int_equal(ends.accepted, TLS_FAILED);
	assert_int_equal(tls_conn_failure(ends.listener), TLS_FAILURE_PSK_BAD_BINDER);
	assert_int_equal(door.burns, 0);
	assert_int_equal(ends.dialled, TLS_FAILED);
	assert_int_equal(tls_conn_failure(ends.dialler), TLS_FAILURE_PEER_ALERT);
	fini(&ends);
}

static void flipped_bit_in_early_data_ends_the_connection(void **state)
{
	(void)state;
	struct ends ends;
	uint8_t flight[32768], out[64];
	size_t length = 0, got;
	int pair[2], tap[2], r;
	prepare_data(&ends);
	tls_conn_free(&ends.dialler);
	tls_conn_free(&ends.listener);
	tls_rig_pair(pair, 0);
	tls_rig_pair(tap, 0);
	ends.dialler = dial_conn(ends.dialler_profile, &pair[0], NULL, NULL);
	assert_int_equal(tls_conn_early(ends.dialler, (const uint8_t *)"pay 5", 5), 0);
	struct pollfd one = {.fd = pair[1], .events = POLLIN};
	while (poll(&one, 1, length == 0 ? RIG_PATIENCE_MS : 50) == 1)
		length += (size_t)recv(pair[1], flight + length, sizeof flight - length, 0);
	flight[length - 1] ^= 1;
	ends.listener = accept_conn(ends.listener_profile, &tap[1], NULL);
	assert_int_equal(send(tap[0], flight, length, 0), (ssize_t)length);
	do {
		assert_true(is_readable(ends.listener, RIG_PATIENCE_MS));
		r = step(ends.listener);
	} while (r == TLS_BLOCKED);
	assert_int_equal(r, TLS_FAILED);
	assert_int_not_equal(tls_conn_recv(ends.listener, out, sizeof out, &got), 0);
	close(tap[0]);
	close(pair[1]);
	fini(&ends);
}

// ---- ends

static void each_direction_ends_for_itself(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct ends ends;
		connect_data(&ends, 0);
		struct tls_conn *first = i == 0 ? ends.dialler : ends.listener;
		struct tls_conn *second = i == 0 ? ends.listener : ends.dialler;
		send_text(first, "last words");
		assert_int_equal(tls_conn_finish(first), 0);
		assert_int_equal(tls_conn_finish(first), 0);
		assert_false(tls_conn_has_room(first));
		expect_text(second, "last words");
		expect_end(second, TLS_END);
		for (int n = 0; n < 3; n++) {
			send_text(second, "still here");
			expect_text(first, "still here");
		}
		assert_int_equal(tls_conn_finish(second), 0);
		expect_end(first, TLS_END);
		fini(&ends);
	}
}

// The peer of a connection that is freed in this state.
static void expect_after_free(bool finish_first, bool read_first, int outcome)
{
	struct ends ends;
	connect_data(&ends, 0);
	send_text(ends.dialler, "half a mess");
	expect_text(ends.listener, "half a mess");
	if (read_first) {
		assert_int_equal(tls_conn_finish(ends.listener), 0);
		expect_end(ends.dialler, TLS_END);
	}
	if (finish_first)
		assert_int_equal(tls_conn_finish(ends.dialler), 0);
	tls_conn_free(&ends.dialler);
	uint8_t byte;
	size_t got;
	assert_int_equal(await(ends.listener, &byte, 1, &got), outcome);
	if (outcome == TLS_FAILED)
		assert_int_equal(tls_conn_failure(ends.listener), TLS_FAILURE_CLOSED);
	fini(&ends);
}

static void stream_that_was_cut_never_looks_finished(void **state)
{
	(void)state;
	expect_after_free(false, false, TLS_FAILED);
	expect_after_free(false, true, TLS_FAILED);
	expect_after_free(true, true, TLS_END);
}

static void end_of_the_socket_without_close_notify_is_a_failure(void **state)
{
	(void)state;
	struct ends ends;
	connect_data(&ends, 0);
	send_text(ends.dialler, "half a mess");
	shutdown(tls_conn_fd(ends.dialler), SHUT_WR);
	expect_text(ends.listener, "half a mess");
	expect_end(ends.listener, TLS_FAILED);
	assert_int_equal(tls_conn_failure(ends.listener), TLS_FAILURE_CLOSED);
	fini(&ends);
}

// ---- much

#define CHUNK LIMIT_UNIT_BYTES

struct direction {
	struct tls_conn *from, *to;
	uint64_t sent, received, length;
	bool ended;
};

static uint8_t byte_at(uint64_t position)
{
	return (uint8_t)((position * 2654435761u) >> 7);
}

static void push(struct direction *direction, bool update)
{
	static uint8_t chunk[CHUNK];
	int r = tls_conn_flush(direction->from);
	assert_true(r == 0 || r == TLS_BLOCKED);
	if (!tls_conn_has_room(direction->from))
		return;
	if (direction->sent == direction->length) {
		assert_int_equal(tls_conn_finish(direction->from), 0);
		return;
	}
	if (update) {
		assert_int_equal(tls_conn_update_keys(direction->from), 0);
		assert_int_equal(tls_conn_sent(direction->from), 0);
		if (!tls_conn_has_room(direction->from))
			return;
	}
	size_t n = direction->length - direction->sent < CHUNK ? (size_t)(direction->length - direction->sent) : CHUNK;
	for (size_t i = 0; i < n; i++)
		chunk[i] = byte_at(direction->sent + i);
	assert_int_equal(tls_conn_send(direction->from, chunk, n), 0);
	direction->sent += n;
}

static void pull(struct direction *direction)
{
	static uint8_t chunk[CHUNK];
	if (is_readable(direction->to, 0))
		tls_conn_readable(direction->to);
	for (;;) {
		size_t got;
		int r = tls_conn_recv(direction->to, chunk, sizeof chunk, &got);
		if (r == TLS_BLOCKED)
			return;
		if (r == TLS_END) {
			direction->ended = true;
			return;
		}
		if (r != 0)
			fail_msg("%s: %s", tls_failure_name(tls_conn_failure(direction->to)), tls_conn_problem(direction->to));
		for (size_t i = 0; i < got; i++)
			if (chunk[i] != byte_at(direction->received + i))
				fail_msg("byte %llu is wrong", (unsigned long long)(direction->received + i));
		direction->received += got;
	}
}

static void keys_change_under_load_in_both_directions(void **state)
{
	(void)state;
	struct ends ends;
	connect_data(&ends, 16384);
	struct direction out = {.from = ends.dialler, .to = ends.listener, .length = 6 << 20};
	struct direction in = {.from = ends.listener, .to = ends.dialler, .length = 5 << 20};
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	for (unsigned turn = 0; !out.ended || !in.ended; turn++) {
		push(&out, turn % 3 == 0);
		push(&in, turn % 2 == 0);
		if (turn % 5 != 0)
			pull(&out);
		if (turn % 7 != 0)
			pull(&in);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(out.received, out.length);
	assert_int_equal(in.received, in.length);
	fini(&ends);
}

static void finish_right_after_a_key_update_arrives_as_an_end(void **state)
{
	(void)state;
	struct ends ends;
	connect_data(&ends, 0);
	send_text(ends.dialler, "old key");
	assert_int_equal(tls_conn_update_keys(ends.dialler), 0);
	assert_int_equal(tls_conn_finish(ends.dialler), 0);
	expect_text(ends.listener, "old key");
	expect_end(ends.listener, TLS_END);
	fini(&ends);
}

static void peer_that_stops_reading_takes_our_room_not_our_memory(void **state)
{
	(void)state;
	struct ends ends;
	static uint8_t chunk[CHUNK];
	connect_data(&ends, 8192);
	struct direction out = {.from = ends.dialler, .to = ends.listener, .length = 32 << 20};
	unsigned sends = 0;
	for (; tls_conn_has_room(ends.dialler); sends++)
		push(&out, false);
	assert_true(sends < 256);
	assert_int_equal(tls_conn_wants(ends.dialler), 2 /* LOOP_WRITE */);
	assert_int_equal(tls_conn_flush(ends.dialler), TLS_BLOCKED);
	// An end and a new key queue behind what is kept, in order.
	assert_int_equal(tls_conn_finish(ends.dialler), 0);
	out.length = out.sent;
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	while (!out.ended) {
		(void)!tls_conn_flush(ends.dialler);
		pull(&out);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(out.received, out.sent);
	assert_int_equal(tls_conn_wants(ends.dialler), 0);
	(void)chunk;
	fini(&ends);
}

static void one_telling_is_worth_a_bounded_number_of_reads(void **state)
{
	(void)state;
	struct ends ends;
	static uint8_t chunk[CHUNK];
	size_t got, taken = 0;
	connect_data(&ends, 0);
	struct direction out = {.from = ends.dialler, .to = ends.listener, .length = 64 << 20};
	// The receive buffer grows while it is read, so both sides take turns until enough waits.
	assert_int_equal(tls_conn_recv(ends.listener, chunk, sizeof chunk, &got), TLS_BLOCKED); // nobody has told it
	for (unsigned i = 0; i < 20; i++)
		push(&out, false);
	tls_conn_readable(ends.listener);
	while (tls_conn_recv(ends.listener, chunk, sizeof chunk, &got) == 0)
		taken += got;
	assert_true(taken <= (size_t)LIMIT_UNITS_PER_TURN * LIMIT_RECORD_BUFFER_BYTES);
	assert_int_equal(tls_conn_recv(ends.listener, chunk, sizeof chunk, &got), TLS_BLOCKED);
	fini(&ends);
}

static void trimmed_connection_goes_on(void **state)
{
	(void)state;
	struct ends ends;
	connect_data(&ends, 0);
	for (int i = 0; i < 3; i++) {
		send_text(ends.dialler, "one way");
		expect_text(ends.listener, "one way");
		tls_conn_trim(ends.dialler);
		tls_conn_trim(ends.listener);
		send_text(ends.listener, "and back");
		expect_text(ends.dialler, "and back");
	}
	// With a part of a record inside, nothing is lost either.
	struct direction out = {.from = ends.dialler, .to = ends.listener, .length = 1 << 20};
	uint64_t until = clock_ms() + RIG_PATIENCE_MS;
	while (!out.ended) {
		push(&out, false);
		pull(&out);
		tls_conn_trim(ends.listener);
		tls_conn_trim(ends.dialler);
		assert_true(clock_ms() < until);
	}
	assert_int_equal(out.received, out.length);
	fini(&ends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_connection_needs_its_psk_and_no_certificate),
		cmocka_unit_test(early_data_arrives_before_the_handshake_is_done),
		cmocka_unit_test(replayed_first_flight_is_refused_and_delivers_nothing),
		cmocka_unit_test(wrong_key_is_refused_and_burns_nothing),
		cmocka_unit_test(flipped_bit_in_early_data_ends_the_connection),
		cmocka_unit_test(each_direction_ends_for_itself),
		cmocka_unit_test(stream_that_was_cut_never_looks_finished),
		cmocka_unit_test(end_of_the_socket_without_close_notify_is_a_failure),
		cmocka_unit_test(keys_change_under_load_in_both_directions),
		cmocka_unit_test(finish_right_after_a_key_update_arrives_as_an_end),
		cmocka_unit_test(peer_that_stops_reading_takes_our_room_not_our_memory),
		cmocka_unit_test(one_telling_is_worth_a_bounded_number_of_reads),
		cmocka_unit_test(trimmed_connection_goes_on),
	};
	return cmocka_run_group_tests_name("tls_conn_data", tests, start, stop);
}
