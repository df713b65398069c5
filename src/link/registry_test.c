#include "link/registry.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>

static struct link *make(uint8_t id)
{
	struct link_settings settings = {.role = CONTROL_RESPONDER, .id = {id}};
	static const struct link_peer peer;
	struct link *link;
	assert_int_equal(link_new(&settings, &peer, &link), 0);
	return link;
}

static void link_is_found_by_its_id_until_it_is_removed(void **state)
{
	(void)state;
	struct registry *registry;
	struct link *first = make(1), *second = make(2);
	assert_int_equal(registry_new(&registry), 0);
	assert_null(registry_find(registry, link_id(first)));
	assert_int_equal(registry_add(registry, first), 0);
	assert_int_equal(registry_add(registry, second), 0);
	assert_int_equal(registry_count(registry), 2);
	struct link *found = registry_find(registry, link_id(second));
	assert_ptr_equal(found, second);
	registry_remove(registry, second);
	assert_null(registry_find(registry, link_id(second)));
	assert_int_equal(registry_count(registry), 1);
	assert_string_equal(link_name(found), "02000000"); // who found it still holds it
	link_unref(&found);
	link_unref(&first);
	link_unref(&second);
	registry_free(&registry);
	assert_null(registry);
	registry_free(&registry);
}

static void taken_id_is_refused_and_stays_with_its_first_link(void **state)
{
	(void)state;
	struct registry *registry;
	struct link *first = make(1), *other = make(1);
	assert_int_equal(registry_new(&registry), 0);
	assert_int_equal(registry_add(registry, first), 0);
	assert_int_equal(registry_add(registry, other), REGISTRY_TAKEN);
	registry_remove(registry, other); // was never in
	struct link *found = registry_find(registry, link_id(first));
	assert_ptr_equal(found, first);
	link_unref(&found);
	link_unref(&first);
	link_unref(&other);
	registry_free(&registry);
}

static void count_visit(void *owner, struct link *link)
{
	unsigned *sum = owner;
	*sum += link_id(link)[0];
}

static void visit_sees_every_link(void **state)
{
	(void)state;
	struct registry *registry;
	unsigned sum = 0;
	assert_int_equal(registry_new(&registry), 0);
	for (uint8_t i = 1; i <= 100; i++) {
		struct link *link = make(i);
		assert_int_equal(registry_add(registry, link), 0);
		link_unref(&link);
	}
	registry_visit(registry, count_visit, &sum);
	assert_int_equal(sum, 5050);
	registry_free(&registry);
}

static void *come_and_go(void *owner)
{
	struct registry *registry = owner;
	for (unsigned i = 0; i < 2000; i++) {
		struct link *link = make((uint8_t)(i % 5));
		bool mine = registry_add(registry, link) == 0;
		struct link *found = registry_find(registry, link_id(link));
		if (mine)
			assert_ptr_equal(found, link);
		link_unref(&found);
		registry_remove(registry, link);
		link_unref(&link);
	}
	return NULL;
}

static void threads_add_find_and_remove_at_once(void **state)
{
	(void)state;
	struct registry *registry;
	pthread_t threads[3];
	assert_int_equal(registry_new(&registry), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, registry), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(registry_count(registry), 0);
	registry_free(&registry);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_is_found_by_its_id_until_it_is_removed),
		cmocka_unit_test(taken_id_is_refused_and_stays_with_its_first_link),
		cmocka_unit_test(visit_sees_every_link),
		cmocka_unit_test(threads_add_find_and_remove_at_once),
	};
	return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
