#include "flow/targets.h"

#include "core/clock.h"
#include "limits.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct targets_address abc[] = {{"a:1", "a", 1}, {"b:2", "b", 2}, {"c:3", "c", 3}};
static const char *const names_exact[] = {"Www.Example.com", "api.example.com"};
static const char *const names_wild[] = {"*.example.com"};

static struct targets *make(enum targets_selection selection, size_t count, struct targets *old)
{
	struct targets *table = NULL;
	struct targets_route route = {.targets = abc, .target_count = count, .selection = selection};
	struct targets_settings settings = {.routes = &route, .route_count = 1, .rise = 2, .fall = 3};
	assert_int_equal(targets_new(&settings, old, &table), 0);
	return table;
}

static const char *pick_name(struct targets *table, const char *sni)
{
	struct target_pick pick = {0};
	if (targets_pick(table, sni, &pick) != 0)
		return "none";
	targets_leave(&pick);
	return pick.name;
}

static void an_exact_name_wins_over_a_wildcard_and_that_over_the_default(void **state)
{
	(void)state;
	struct targets *table = NULL;
	struct targets_route routes[] = {{.targets = &abc[2], .target_count = 1},
	                                 {.names = names_wild, .name_count = 1, .targets = &abc[1], .target_count = 1},
	                                 {.names = names_exact, .name_count = 2, .targets = &abc[0], .target_count = 1}};
	struct targets_settings settings = {.routes = routes, .route_count = 3, .rise = 1, .fall = 1};
	assert_int_equal(targets_new(&settings, NULL, &table), 0);
	assert_string_equal(pick_name(table, "www.example.com"), "a:1");
	assert_string_equal(pick_name(table, "WWW.EXAMPLE.COM"), "a:1");
	assert_string_equal(pick_name(table, "api.example.com"), "a:1");
	assert_string_equal(pick_name(table, "other.example.com"), "b:2");
	// A wildcard is for one label, neither none nor two.
	assert_string_equal(pick_name(table, "example.com"), "c:3");
	assert_string_equal(pick_name(table, "x.www.example.com"), "c:3");
	assert_string_equal(pick_name(table, ".example.com"), "c:3");
	assert_string_equal(pick_name(table, ""), "c:3");
	targets_unref(&table);
	// Without a default there is nowhere to go.
	settings.routes = routes + 1;
	settings.route_count = 2;
	assert_int_equal(targets_new(&settings, NULL, &table), 0);
	assert_string_equal(pick_name(table, "elsewhere.org"), "none");
	assert_string_equal(pick_name(table, ""), "none");
	targets_unref(&table);
}

static void a_target_that_fails_is_followed_by_the_next_one(void **state)
{
	(void)state;
	struct targets *table = make(TARGETS_PRIORITY, 3, NULL);
	struct target_pick pick = {0};
	assert_int_equal(targets_pick(table, "", &pick), 0);
	assert_string_equal(pick.host, "a");
	assert_int_equal(pick.port, 1);
	assert_true(targets_report(table, &pick, false));
	assert_int_equal(targets_pick(table, "", &pick), 0);
	assert_string_equal(pick.name, "b:2");
	assert_true(targets_report(table, &pick, false));
	assert_int_equal(targets_pick(table, "", &pick), 0);
	assert_string_equal(pick.name, "c:3");
	assert_true(targets_report(table, &pick, true));
	targets_leave(&pick);
	// The next client begins with the one that is up, and comes to the others when it is not.
	struct target_pick next = {0};
	const char *const order[] = {"c:3", "a:1", "b:2"};
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(targets_pick(table, "", &next), 0);
		assert_string_equal(next.name, order[i]);
		(void)targets_report(table, &next, false);
	}
	assert_int_equal(targets_pick(table, "", &next), TARGETS_NONE);
	targets_unref(&table);
}

static void each_has_its_turn_and_one_that_is_down_gives_its_share_to_all(void **state)
{
	(void)state;
	struct targets *table = make(TARGETS_ROUND_ROBIN, 3, NULL);
	struct target_pick pick = {0};
	unsigned picked[3] = {0};
	for (int i = 0; i < 6; i++)
		picked[pick_name(table, "")[0] - 'a']++;
	assert_true(picked[0] == 2 && picked[1] == 2 && picked[2] == 2);
	do {
		pick = (struct target_pick){0};
		assert_int_equal(targets_pick(table, "", &pick), 0);
	} while (strcmp(pick.name, "b:2") != 0 && (targets_leave(&pick), true));
	(void)targets_report(table, &pick, false);
	memset(picked, 0, sizeof picked);
	for (int i = 0; i < 100; i++)
		picked[pick_name(table, "")[0] - 'a']++;
	assert_int_equal(picked[0], 50);
	assert_int_equal(picked[1], 0);
	assert_int_equal(picked[2], 50);
	targets_unref(&table);
}

static void the_one_with_the_fewest_connections_is_chosen(void **state)
{
	(void)state;
	struct targets *table = make(TARGETS_LEAST_CONNECTIONS, 3, NULL);
	struct target_pick picks[9] = {0};
	struct targets_sight sight;
	for (size_t i = 0; i < 9; i++)
		assert_int_equal(targets_pick(table, "", &picks[i]), 0);
	for (size_t i = 0; i < targets_count(table); i++) {
		targets_look(table, i, &sight);
		assert_int_equal(sight.connections, 3);
	}
	const char *name = picks[4].name;
	targets_leave(&picks[4]);
	targets_leave(&picks[4]); // harmless
	for (int i = 0; i < 5; i++)
		assert_string_equal(pick_name(table, ""), name);
	targets_unref(&table);
}

static void rise_and_fall_count_checks_in_a_row(void **state)
{
	(void)state;
	struct targets *table = make(TARGETS_PRIORITY, 2, NULL);
	struct targets_sight sight;
	targets_look(table, 0, &sight);
	assert_int_equal(sight.health, TARGETS_UNKNOWN);
	assert_true(targets_checked(table, 0, true)); // the first good one is enough
	assert_false(targets_checked(table, 0, false));
	assert_false(targets_checked(table, 0, false));
	assert_false(targets_checked(table, 0, true)); // not in a row
	assert_false(targets_checked(table, 0, false));
	assert_false(targets_checked(table, 0, false));
	assert_true(targets_checked(table, 0, false));
	assert_string_equal(pick_name(table, ""), "b:2");
	assert_false(targets_checked(table, 0, false));
	assert_false(targets_checked(table, 0, true));
	assert_string_equal(pick_name(table, ""), "b:2");
	assert_true(targets_checked(table, 0, true));
	assert_string_equal(pick_name(table, ""), "a:1");
	targets_look(table, 0, &sight);
	assert_int_equal(sight.changes, 3);
	assert_int_equal(sight.checks_failed, 6);
	assert_string_equal(targets_health_name(sight.health), "up");
	targets_unref(&table);
}

static void what_is_known_of_a_target_outlives_a_reload_while_its_name_stays(void **state)
{
	(void)state;
	struct targets *old = make(TARGETS_PRIORITY, 2, NULL);
	struct target_pick first = {0}, second = {0};
	struct targets_sight sight;
	assert_int_equal(targets_pick(old, "", &first), 0);
	(void)targets_report(old, &first, false);
	assert_int_equal(targets_pick(old, "", &second), 0);
	assert_false(targets_report(old, &second, true) == false);
	struct targets *held = targets_ref(old); // as the connection does
	struct targets *next = make(TARGETS_PRIORITY, 3, old);
	targets_unref(&old);
	assert_null(old);
	targets_unref(&old); // harmless
	assert_int_equal(targets_count(next), 3);
	targets_look(next, 0, &sight);
	assert_int_equal(sight.health, TARGETS_DOWN);
	targets_look(next, 1, &sight);
	assert_int_equal(sight.health, TARGETS_UP);
	assert_int_equal(sight.connections, 1);
	targets_look(next, 2, &sight);
	assert_int_equal(sight.health, TARGETS_UNKNOWN);
	targets_leave(&second);
	targets_unref(&held);
	targets_look(next, 1, &sight);
	assert_int_equal(sight.connections, 0);
	targets_unref(&next);
}

static void a_target_of_two_routes_is_one_target(void **state)
{
	(void)state;
	struct targets *table = NULL;
	struct targets_route routes[] = {{.names = names_wild, .name_count = 1, .targets = abc, .target_count = 2},
	                                 {.targets = &abc[1], .target_count = 2}};
	struct targets_settings settings = {.routes = routes, .route_count = 2, .rise = 1, .fall = 1};
	struct targets_sight sight;
	assert_int_equal(targets_new(&settings, NULL, &table), 0);
	assert_int_equal(targets_count(table), 3);
	assert_true(targets_checked(table, 1, true));
	assert_true(targets_checked(table, 1, false));
	assert_string_equal(pick_name(table, ""), "c:3");
	targets_look(table, 1, &sight);
	assert_false(sight.is_alone);
	targets_unref(&table);
	routes[0].target_count = routes[1].target_count = 1;
	assert_int_equal(targets_new(&settings, NULL, &table), 0);
	targets_look(table, 0, &sight);
	assert_true(sight.is_alone);
	targets_unref(&table);
}

static void without_checks_a_failure_is_forgiven_after_a_while(void **state)
{
	(void)state;
	struct targets *table = NULL;
	struct targets_route route = {.targets = abc, .target_count = 2};
	struct targets_settings settings = {.routes = &route, .route_count = 1, .rise = 1, .fall = 1, .forgive_ms = 30};
	struct target_pick pick = {0};
	assert_int_equal(targets_new(&settings, NULL, &table), 0);
	assert_int_equal(targets_pick(table, "", &pick), 0);
	uint64_t before_ms = clock_ms();
	(void)targets_report(table, &pick, false);
	const char *name = pick_name(table, "");
	// On a machine that stood still it may be forgiven already.
	assert_true(strcmp(name, "b:2") == 0 || clock_ms() - before_ms >= 30);
	while (clock_ms() - before_ms < 60)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_string_equal(pick_name(table, ""), "a:1");
	targets_unref(&table);
}

// ---- several threads

struct crew {
	struct targets *table;
	uint32_t seed;
};

static void *work(void *contents)
{
	struct crew *crew = contents;
	for (int i = 0; i < 20000; i++) {
		struct target_pick pick = {0};
		crew->seed = crew->seed * 1664525 + 1013904223;
		while (targets_pick(crew->table, "", &pick) == 0 && crew->seed >> 30 == 0)
			(void)targets_report(crew->table, &pick, false);
		(void)targets_report(crew->table, &pick, true);
		targets_leave(&pick);
	}
	return NULL;
}

static void counts_of_many_threads_come_back_to_nothing(void **state)
{
	(void)state;
	struct targets *table = make(TARGETS_LEAST_CONNECTIONS, 3, NULL);
	struct crew crews[4];
	pthread_t threads[4];
	for (unsigned i = 0; i < 4; i++) {
		crews[i] = (struct crew){.table = table, .seed = i * 77 + 1};
		assert_int_equal(pthread_create(&threads[i], NULL, work, &crews[i]), 0);
	}
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < targets_count(table); i++) {
		struct targets_sight sight;
		targets_look(table, i, &sight);
		assert_int_equal(sight.connections, 0);
	}
	targets_unref(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_exact_name_wins_over_a_wildcard_and_that_over_the_default),
		cmocka_unit_test(a_target_that_fails_is_followed_by_the_next_one),
		cmocka_unit_test(each_has_its_turn_and_one_that_is_down_gives_its_share_to_all),
		cmocka_unit_test(the_one_with_the_fewest_connections_is_chosen),
		cmocka_unit_test(rise_and_fall_count_checks_in_a_row),
		cmocka_unit_test(what_is_known_of_a_target_outlives_a_reload_while_its_name_stays),
		cmocka_unit_test(a_target_of_two_routes_is_one_target),
		cmocka_unit_test(without_checks_a_failure_is_forgiven_after_a_while),
		cmocka_unit_test(counts_of_many_threads_come_back_to_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
