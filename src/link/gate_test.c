#include "link/gate.h"

#include "core/counter.h"
#include "net/address.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

static struct address of(const char *ip)
{
	struct address address;
	assert_int_equal(address_from_ip(ip, 1234, &address), 0);
	return address;
}

static void places_come_back_when_they_are_left(void **state)
{
	(void)state;
	struct gate *gate;
	struct admission_limits limits = {.in_flight = 2, .per_address = 100, .window_ms = 1000, .table = 16};
	struct address a = of("192.0.2.1");
	uint64_t refused = counter_read(COUNTER_ADMISSION_IN_FLIGHT);
	assert_int_equal(gate_new(&limits, NULL, 0, &gate), 0);
	assert_true(gate_allows_source(gate, &a.any)); // no list, no limit
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_EMPTY, 0), GATE_IN);
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_EMPTY, 0), GATE_IN);
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_FULL, 0), GATE_REFUSED);
	assert_int_equal(counter_read(COUNTER_ADMISSION_IN_FLIGHT), refused + 1);
	gate_leave(gate, &a.any);
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_EMPTY, 0), GATE_IN);
	gate_leave(gate, &a.any);
	gate_leave(gate, &a.any);
	gate_free(&gate);
	assert_null(gate);
	gate_free(&gate);
}

static void who_finds_no_place_waits_and_nobody_overtakes(void **state)
{
	(void)state;
	struct gate *gate;
	struct admission_limits limits = {.in_flight = 1, .per_address = 3, .window_ms = 1000, .table = 16};
	struct address a = of("192.0.2.1"), b = of("192.0.2.2");
	uint64_t waited = counter_read(COUNTER_ADMISSION_WAITED), refused = counter_read(COUNTER_ADMISSION_RATE);
	assert_int_equal(gate_new(&limits, NULL, 0, &gate), 0);
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_EMPTY, 0), GATE_IN);
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_EMPTY, 0), GATE_LATER);
	assert_int_equal(gate_let_in(gate, &a.any, 0), GATE_LATER);
	gate_leave(gate, &a.any);
	// There is a place now, which is for the one in line.
	assert_int_equal(gate_enter(gate, &b.any, GATE_LINE_BEGUN, 0), GATE_LATER);
	assert_int_equal(gate_let_in(gate, &a.any, 0), GATE_IN);
	assert_int_equal(gate_let_in(gate, &b.any, 0), GATE_LATER);
	// Hostile: a place in line counts as much as one inside.
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_BEGUN, 0), GATE_LATER);
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_BEGUN, 0), GATE_REFUSED);
	assert_int_equal(counter_read(COUNTER_ADMISSION_WAITED), waited + 3);
	assert_int_equal(counter_read(COUNTER_ADMISSION_RATE), refused + 1);
	gate_free(&gate);
}

// Handshakes that stop in the middle hold their places until their deadline.
static void one_address_cannot_hold_the_places_of_all(void **state)
{
	(void)state;
	struct gate *gate;
	struct admission_limits limits = {
		.in_flight = 8, .in_flight_per_address = 2, .per_address = 100, .window_ms = 1000, .table = 16};
	struct address bad = of("2001:db8:1:2::1"), bad_too = of("2001:db8:1:2::ffff"), good = of("2001:db8:1:3::1");
	assert_int_equal(gate_new(&limits, NULL, 0, &gate), 0);
	assert_int_equal(gate_enter(gate, &bad.any, GATE_LINE_EMPTY, 0), GATE_IN);
	assert_int_equal(gate_enter(gate, &bad_too.any, GATE_LINE_EMPTY, 0), GATE_IN);
	for (int i = 0; i < 10; i++)
		assert_int_equal(gate_enter(gate, &bad.any, GATE_LINE_EMPTY, 0), GATE_LATER);
	assert_int_equal(gate_let_in(gate, &bad.any, 5000), GATE_SHARE);
	assert_int_equal(gate_let_in(gate, &good.any, 5000), GATE_IN);
	assert_int_equal(gate_enter(gate, &good.any, GATE_LINE_EMPTY, 5000), GATE_IN);
	gate_leave(gate, &bad.any);
	assert_int_equal(gate_let_in(gate, &bad_too.any, 9000), GATE_IN);
	gate_free(&gate);
}

static void one_address_has_a_rate_and_the_others_their_own(void **state)
{
	(void)state;
	struct gate *gate;
	struct admission_limits limits = {.in_flight = 100, .per_address = 3, .window_ms = 1000, .table = 16};
	struct address a = of("192.0.2.1"), b = of("192.0.2.2");
	uint64_t refused = counter_read(COUNTER_ADMISSION_RATE);
	assert_int_equal(gate_new(&limits, NULL, 0, &gate), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_EMPTY, 10), GATE_IN);
		gate_leave(gate, &a.any);
	}
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_EMPTY, 20), GATE_REFUSED);
	assert_int_equal(counter_read(COUNTER_ADMISSION_RATE), refused + 1);
	assert_int_equal(gate_enter(gate, &b.any, GATE_LINE_EMPTY, 20), GATE_IN);
	gate_leave(gate, &b.any);
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_EMPTY, 5000), GATE_IN);
	gate_leave(gate, &a.any);
	gate_free(&gate);
}

static void only_listed_sources_come_in(void **state)
{
	(void)state;
	struct gate *gate;
	struct cidr list[2];
	struct admission_limits limits = {.in_flight = 1, .per_address = 1, .window_ms = 1000, .table = 16};
	struct address in = of("10.1.2.3"), mapped = of("::ffff:10.1.2.3"), out = of("11.0.0.1"), six = of("2001:db8::1");
	uint64_t refused = counter_read(COUNTER_ADMISSION_SOURCE);
	assert_int_equal(cidr_parse("10.0.0.0/8", &list[0]), 0);
	assert_int_equal(cidr_parse("fd00::/8", &list[1]), 0);
	assert_int_equal(gate_new(&limits, list, 2, &gate), 0);
	assert_true(gate_allows_source(gate, &in.any));
	assert_true(gate_allows_source(gate, &mapped.any));
	assert_false(gate_allows_source(gate, &out.any));
	assert_false(gate_allows_source(gate, &six.any));
	assert_int_equal(counter_read(COUNTER_ADMISSION_SOURCE), refused + 2);
	gate_free(&gate);
}

static _Atomic int inside, most;

static void *pass(void *owner)
{
	struct gate *gate = owner;
	struct address a = of("192.0.2.1");
	for (unsigned i = 0; i < 3000; i++) {
		if (gate_enter(gate, &a.any, GATE_LINE_EMPTY, i) != GATE_IN)
			continue;
		int now = atomic_fetch_add(&inside, 1) + 1;
		if (now > most)
			most = now;
		atomic_fetch_sub(&inside, 1);
		gate_leave(gate, &a.any);
	}
	return NULL;
}

static void threads_share_the_places(void **state)
{
	(void)state;
	struct gate *gate;
	pthread_t threads[4];
	struct admission_limits limits = {.in_flight = 2, .per_address = 1000000, .window_ms = 1000, .table = 16};
	assert_int_equal(gate_new(&limits, NULL, 0, &gate), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pass, gate), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_true(most >= 1 && most <= 2);
	struct address a = of("192.0.2.1");
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_EMPTY, 100000), GATE_IN); // all have left
	assert_int_equal(gate_enter(gate, &a.any, GATE_LINE_EMPTY, 100000), GATE_IN);
	gate_free(&gate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_come_back_when_they_are_left),
		cmocka_unit_test(who_finds_no_place_waits_and_nobody_overtakes),
		cmocka_unit_test(one_address_cannot_hold_the_places_of_all),
		cmocka_unit_test(one_address_has_a_rate_and_the_others_their_own),
		cmocka_unit_test(only_listed_sources_come_in),
		cmocka_unit_test(threads_share_the_places),
	};
	return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
