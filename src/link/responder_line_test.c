#include "link/responder_line.h"

#include "limits.h"
#include "net/address.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct address of(const char *ip)
{
	struct address address;
	assert_int_equal(address_from_ip(ip, 1234, &address), 0);
	return address;
}

static struct gate *gate_of(uint32_t in_flight, uint32_t share)
{
	struct gate *gate;
	struct admission_limits limits = {
		.in_flight = in_flight, .in_flight_per_address = share, .per_address = 10000, .window_ms = 1000, .table = 16};
	assert_int_equal(gate_new(&limits, NULL, 0, &gate), 0);
	return gate;
}

static void who_lined_up_first_is_first(void **state)
{
	(void)state;
	struct gate *gate = gate_of(1, 0);
	struct line line = {0};
	struct line_place place[3] = {0};
	struct address a = of("192.0.2.1");
	assert_int_equal(line_state(&line, &a.any), GATE_LINE_EMPTY);
	line_join(&line, &place[2], &a.any, 0); // the last one that connected
	line_join(&line, &place[0], &a.any, 1);
	line_join(&line, &place[1], &a.any, 2);
	assert_int_equal(line_state(&line, &a.any), GATE_LINE_BEGUN);
	assert_ptr_equal(line.first, &place[2]);
	assert_int_equal(line_turn(&line, line.first, gate, 3), LINE_IN);
	assert_false(place[2].waits);
	assert_ptr_equal(line.first, &place[0]);
	assert_int_equal(line_turn(&line, line.first, gate, 3), LINE_STOPS);
	line_leave(&line, &place[0]); // has hung up
	line_leave(&line, &place[0]);
	gate_leave(gate, &a.any);
	assert_ptr_equal(line.first, &place[1]);
	assert_int_equal(line_turn(&line, line.first, gate, 2 + LIMIT_LINE_MS), LINE_TOO_LATE);
	assert_int_equal(line.count, 0);
	assert_null(line.first);
	assert_null(line.last);
	gate_free(&gate);
}

// One address without a certificate begins handshakes and leaves them lying; the others find places all the same.
static void one_with_its_share_is_passed_by(void **state)
{
	(void)state;
	struct gate *gate = gate_of(8, 2);
	struct line line = {0};
	struct line_place bad[6] = {0}, good[6] = {0};
	struct address stranger = of("192.0.2.1"), fleet[6];
	unsigned in = 0;
	assert_int_equal(gate_enter(gate, &stranger.any, line_state(&line, &stranger.any), 0), GATE_IN);
	assert_int_equal(gate_enter(gate, &stranger.any, line_state(&line, &stranger.any), 0), GATE_IN);
	for (unsigned i = 0; i < 6; i++) {
		char ip[] = "198.51.100.0";
		ip[11] = (char)('1' + i);
		fleet[i] = of(ip);
		assert_int_equal(gate_enter(gate, &stranger.any, line_state(&line, &stranger.any), 0), GATE_LATER);
		line_join(&line, &bad[i], &stranger.any, 0);
		assert_int_equal(gate_enter(gate, &fleet[i].any, line_state(&line, &fleet[i].any), 0), GATE_LATER);
		line_join(&line, &good[i], &fleet[i].any, 0);
	}
	for (struct line_place *at = line.first, *behind; at; at = behind) {
		behind = at->behind;
		int r = line_turn(&line, at, gate, 5);
		assert_int_equal(r, at->address == &stranger.any ? LINE_STAYS : LINE_IN);
		in += r == LINE_IN;
	}
	assert_int_equal(in, 6);
	assert_int_equal(line.count, 6); // the stranger's own
	gate_leave(gate, &stranger.any);
	assert_int_equal(line_turn(&line, line.first, gate, 5), LINE_IN);
	assert_int_equal(line_turn(&line, line.first, gate, 5), LINE_STOPS);
	gate_free(&gate);
}

static void one_address_cannot_have_the_whole_line(void **state)
{
	(void)state;
	static struct line_place place[LIMIT_HANDSHAKES_WAITING];
	struct line line = {0};
	struct address a = of("192.0.2.1"), mapped = of("::ffff:192.0.2.1"), b = of("192.0.2.2"), c = of("192.0.2.3");
	unsigned at = 0;
	for (; at < LIMIT_HANDSHAKES_WAITING_PER_ADDRESS; at++) {
		assert_int_equal(line_state(&line, &a.any), at == 0 ? GATE_LINE_EMPTY : GATE_LINE_BEGUN);
		line_join(&line, &place[at], &a.any, 0);
	}
	assert_int_equal(line_state(&line, &a.any), GATE_LINE_FULL);
	assert_int_equal(line_state(&line, &mapped.any), GATE_LINE_FULL);
	for (; at < LIMIT_HANDSHAKES_WAITING; at++) {
		assert_int_equal(line_state(&line, &b.any), GATE_LINE_BEGUN);
		line_join(&line, &place[at], &b.any, 0);
	}
	assert_int_equal(line_state(&line, &c.any), GATE_LINE_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_lined_up_first_is_first),
		cmocka_unit_test(one_with_its_share_is_passed_by),
		cmocka_unit_test(one_address_cannot_have_the_whole_line),
	};
	return cmocka_run_group_tests_name("responder_line", tests, NULL, NULL);
}
