#include "link/link.h"

#include "core/clock.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct link *make(enum control_role role, uint32_t connections_max, uint64_t rotation_bytes)
{
	struct link_settings settings = {.role = role,
	                                 .id = {0xab, 1},
	                                 .overlap_ms = 1000,
	                                 .connections_max = connections_max,
	                                 .rotation_bytes = rotation_bytes};
	static const struct link_peer peer = {.node_name = "peer"};
	struct link *link;
	assert_int_equal(link_new(&settings, &peer, &link), 0);
	return link;
}

static void add_epoch(struct link *link, uint32_t epoch, uint64_t now_ms)
{
	uint8_t bytes[48];
	struct secret data = {0};
	memset(bytes, (int)epoch, sizeof bytes);
	assert_int_equal(secret_set(&data, bytes, sizeof bytes), 0);
	link_add_epoch(link, epoch, LEG_X25519 | LEG_MLKEM768, &data, now_ms);
	assert_false(secret_is_set(&data));
}

static int find(struct link *link, uint32_t epoch, uint64_t index, uint64_t now_ms)
{
	struct psk_identity identity = {.epoch = epoch, .index = index};
	struct secret psk = {0};
	int r = link_find_psk(link, &identity, now_ms, &psk);
	assert_int_equal(secret_is_set(&psk), r == TLS_FAILURE_NONE);
	secret_fini(&psk);
	return r;
}

static int burn(struct link *link, uint32_t epoch, uint64_t index, uint64_t now_ms)
{
	struct psk_identity identity = {.epoch = epoch, .index = index};
	return link_burn_psk(link, &identity, now_ms);
}

static void link_without_an_epoch_has_no_keys(void **state)
{
	(void)state;
	struct psk_identity identity;
	struct secret psk = {0};
	struct link *link = make(CONTROL_INITIATOR, 10, 0);
	assert_false(link_is_up(link));
	assert_int_equal(link_next_psk(link, &identity, &psk), LINK_NO_KEYS);
	assert_int_equal(find(link, 0, 0, 0), TLS_FAILURE_PSK_UNKNOWN_EPOCH);
	assert_int_equal(burn(link, 0, 0, 0), TLS_FAILURE_PSK_UNKNOWN_EPOCH);
	assert_string_equal(link_name(link), "ab010000");
	link_unref(&link);
	assert_null(link);
}

static void both_ends_derive_the_same_psk_and_each_index_another(void **state)
{
	(void)state;
	struct psk_identity identity[2];
	struct secret psk[2] = {{0}}, theirs = {0};
	struct link *initiator = make(CONTROL_INITIATOR, 10, 0), *responder = make(CONTROL_RESPONDER, 10, 0);
	add_epoch(initiator, 1, 0);
	add_epoch(responder, 1, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(link_next_psk(initiator, &identity[i], &psk[i]), 0);
	assert_int_equal(identity[0].epoch, 1);
	assert_int_equal(identity[1].index, identity[0].index + 1);
	assert_int_equal(psk[0].length, PSK_BYTES);
	assert_memory_not_equal(psk[0].bytes, psk[1].bytes, PSK_BYTES);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(link_find_psk(responder, &identity[i], 0, &theirs), TLS_FAILURE_NONE);
		assert_memory_equal(psk[i].bytes, theirs.bytes, PSK_BYTES);
		secret_fini(&psk[i]);
	}
	secret_fini(&theirs);
	link_unref(&initiator);
	link_unref(&responder);
}

static void previous_epoch_is_valid_until_the_overlap_ends(void **state)
{
	(void)state;
	struct link *link = make(CONTROL_RESPONDER, 10, 0);
	add_epoch(link, 1, 5000);
	assert_int_equal(find(link, 1, 0, 1000000), TLS_FAILURE_NONE); // the current one has no end
	add_epoch(link, 2, 10000);
	assert_int_equal(link_epoch(link), 2);
	assert_int_equal(find(link, 1, 0, 10999), TLS_FAILURE_NONE);
	assert_int_equal(burn(link, 1, 0, 10999), TLS_FAILURE_NONE);
	assert_int_equal(find(link, 2, 0, 10999), TLS_FAILURE_NONE);
	assert_int_equal(find(link, 3, 0, 10999), TLS_FAILURE_PSK_UNKNOWN_EPOCH);
	assert_int_equal(burn(link, 1, 1, 11000), TLS_FAILURE_PSK_UNKNOWN_EPOCH);
	assert_int_equal(find(link, 1, 1, 11000), TLS_FAILURE_PSK_UNKNOWN_EPOCH);
	assert_int_equal(find(link, 1, 1, 10500), TLS_FAILURE_PSK_UNKNOWN_EPOCH); // wiped, also for a clock that lags
	assert_int_equal(find(link, 2, 0, 11000), TLS_FAILURE_NONE);
	add_epoch(link, 3, 11000);
	add_epoch(link, 4, 11001);
	assert_int_equal(find(link, 2, 0, 11001), TLS_FAILURE_PSK_UNKNOWN_EPOCH); // only one before the current
	assert_int_equal(find(link, 3, 0, 11001), TLS_FAILURE_NONE);
	link_unref(&link);
}

static void index_is_burnt_once_in_each_epoch(void **state)
{
	(void)state;
	struct link *link = make(CONTROL_RESPONDER, 10, 0);
	add_epoch(link, 1, 0);
	assert_int_equal(burn(link, 1, 7, 0), TLS_FAILURE_NONE);
	assert_int_equal(burn(link, 1, 7, 0), TLS_FAILURE_PSK_REPLAYED);
	add_epoch(link, 2, 0);
	assert_int_equal(burn(link, 1, 7, 0), TLS_FAILURE_PSK_REPLAYED); // the overlap remembers
	assert_int_equal(burn(link, 2, 7, 0), TLS_FAILURE_NONE);
	assert_int_equal(burn(link, 2, 7, 0), TLS_FAILURE_PSK_REPLAYED);
	assert_int_equal(burn(link, 2, LIMIT_EPOCH_INDICES - 1, 0), TLS_FAILURE_NONE);
	assert_int_equal(burn(link, 2, LIMIT_EPOCH_INDICES, 0), TLS_FAILURE_PSK_MALFORMED);
	assert_int_equal(burn(link, 2, UINT64_MAX, 0), TLS_FAILURE_PSK_MALFORMED);
	link_unref(&link);
}

static void link_that_is_shut_knows_no_key(void **state)
{
	(void)state;
	struct psk_identity identity;
	struct secret psk = {0};
	struct link *link = make(CONTROL_INITIATOR, 10, 0);
	add_epoch(link, 1, 0);
	add_epoch(link, 2, 0);
	link_shut(link);
	link_shut(link);
	assert_false(link_is_up(link));
	assert_int_equal(link_next_psk(link, &identity, &psk), LINK_NO_KEYS);
	assert_int_equal(find(link, 1, 0, 0), TLS_FAILURE_PSK_UNKNOWN_EPOCH);
	assert_int_equal(find(link, 2, 0, 0), TLS_FAILURE_PSK_UNKNOWN_EPOCH);
	assert_int_equal(burn(link, 2, 0, 0), TLS_FAILURE_PSK_UNKNOWN_EPOCH);
	link_unref(&link);
}

static void connections_are_charged_to_the_link(void **state)
{
	(void)state;
	struct link *link = make(CONTROL_RESPONDER, 2, 0);
	assert_true(link_enter_connection(link));
	assert_true(link_enter_connection(link));
	assert_false(link_enter_connection(link));
	assert_false(link_enter_connection(link));
	link_leave_connection(link);
	assert_true(link_enter_connection(link));
	assert_false(link_enter_connection(link));
	link_limit_connections(link, 3);
	assert_true(link_enter_connection(link));
	link_limit_connections(link, 1); // those that are there stay
	link_leave_connection(link);
	assert_false(link_enter_connection(link));
	link_unref(&link);
}

// ---- threads

#define THREADS 4
#define RACED 4000

struct racer {
	pthread_t thread;
	struct link *link;
	unsigned won;
	uint64_t drawn[RACED];
};

static void *burn_all(void *argument)
{
	struct racer *racer = argument;
	for (uint64_t i = 0; i < RACED; i++)
		racer->won += burn(racer->link, 1, i, 0) == TLS_FAILURE_NONE;
	return NULL;
}

static void *draw_all(void *argument)
{
	struct racer *racer = argument;
	for (unsigned i = 0; i < RACED; i++) {
		struct psk_identity identity;
		struct secret psk = {0};
		racer->won += link_next_psk(racer->link, &identity, &psk) == 0;
		racer->drawn[i] = identity.index;
		secret_fini(&psk);
		link_count(racer->link, 1, 2);
	}
	return NULL;
}

static struct racer racers[THREADS];

static struct link *race(void *(*run)(void *racer))
{
	struct link *link = make(CONTROL_INITIATOR, 10, 0);
	add_epoch(link, 1, 0);
	for (unsigned i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){.link = link_ref(link)};
		assert_int_equal(pthread_create(&racers[i].thread, NULL, run, &racers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(racers[i].thread, NULL);
		link_unref(&racers[i].link);
	}
	return link;
}

static void threads_burn_each_index_once(void **state)
{
	(void)state;
	struct link *link = race(burn_all);
	unsigned won = 0;
	for (unsigned i = 0; i < THREADS; i++)
		won += racers[i].won;
	assert_int_equal(won, RACED);
	link_unref(&link);
}

static void threads_never_draw_the_same_index(void **state)
{
	(void)state;
	static bool seen[THREADS * RACED];
	memset(seen, 0, sizeof seen);
	struct link *link = race(draw_all);
	for (unsigned i = 0; i < THREADS; i++)
		for (unsigned n = 0; n < RACED; n++) {
			assert_true(racers[i].drawn[n] < THREADS * RACED);
			assert_false(seen[racers[i].drawn[n]]);
			seen[racers[i].drawn[n]] = true;
		}
	struct link_state read;
	link_read(link, &read);
	assert_int_equal(read.bytes_outward, THREADS * RACED);
	assert_int_equal(read.bytes_inward, 2 * THREADS * RACED);
	link_unref(&link);
}

// ---- asking for a new epoch

struct asked {
	struct loop_task task;
	struct loop *loop;
	unsigned times;
};

static void on_asked(struct loop_task *task)
{
	struct asked *asked = CONTAINER_OF(task, struct asked, task);
	asked->times++;
	loop_stop(asked->loop);
}

static void prepare_asked(struct asked *asked, struct link *link)
{
	*asked = (struct asked){.task = {.run = on_asked}};
	assert_int_equal(loop_new(&asked->loop), 0);
	assert_false(link_set_epoch_task(link, asked->loop, &asked->task));
}

static void bytes_ask_once_until_the_task_has_run(void **state)
{
	(void)state;
	struct asked asked;
	struct link *link = make(CONTROL_INITIATOR, 10, 1000);
	add_epoch(link, 1, 0);
	prepare_asked(&asked, link);
	link_count(link, 400, 599);
	assert_false(link_set_epoch_task(link, asked.loop, &asked.task)); // not yet
	for (int i = 0; i < 100; i++)
		link_count(link, 1, 1000);
	assert_true(link_set_epoch_task(link, asked.loop, &asked.task));
	assert_int_equal(loop_run(asked.loop), 0);
	assert_int_equal(asked.times, 1);
	link_epoch_task_ran(link);
	add_epoch(link, 2, 0);
	link_count(link, 999, 0);
	assert_false(link_set_epoch_task(link, asked.loop, &asked.task));
	link_count(link, 1, 0);
	assert_int_equal(loop_run(asked.loop), 0);
	assert_int_equal(asked.times, 2);
	link_epoch_task_ran(link);
	// Nobody is asked once nobody wants to hear.
	assert_false(link_set_epoch_task(link, NULL, NULL));
	link_count(link, 5000, 0);
	assert_false(link_set_epoch_task(link, NULL, NULL));
	link_unref(&link);
	loop_free(&asked.loop);
}

static void indices_ask_half_way_and_end(void **state)
{
	(void)state;
	struct asked asked;
	struct psk_identity identity;
	struct secret psk = {0};
	struct link *link = make(CONTROL_INITIATOR, 10, 0);
	add_epoch(link, 1, 0);
	prepare_asked(&asked, link);
	for (unsigned i = 0; i < LIMIT_EPOCH_INDICES / 2 - 1; i++)
		assert_int_equal(link_next_psk(link, &identity, &psk), 0);
	assert_false(link_set_epoch_task(link, asked.loop, &asked.task));
	assert_int_equal(link_next_psk(link, &identity, &psk), 0);
	assert_true(link_set_epoch_task(link, asked.loop, &asked.task));
	assert_int_equal(loop_run(asked.loop), 0);
	assert_int_equal(asked.times, 1);
	secret_fini(&psk);
	link_unref(&link);
	loop_free(&asked.loop);
}

static int start(void **state)
{
	(void)state;
	return secret_start();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_without_an_epoch_has_no_keys),
		cmocka_unit_test(both_ends_derive_the_same_psk_and_each_index_another),
		cmocka_unit_test(previous_epoch_is_valid_until_the_overlap_ends),
		cmocka_unit_test(index_is_burnt_once_in_each_epoch),
		cmocka_unit_test(link_that_is_shut_knows_no_key),
		cmocka_unit_test(connections_are_charged_to_the_link),
		cmocka_unit_test(threads_burn_each_index_once),
		cmocka_unit_test(threads_never_draw_the_same_index),
		cmocka_unit_test(bytes_ask_once_until_the_task_has_run),
		cmocka_unit_test(indices_ask_half_way_and_end),
	};
	return cmocka_run_group_tests_name("link", tests, start, NULL);
}
