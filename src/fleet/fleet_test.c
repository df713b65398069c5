#include "fleet/fleet.h"

#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const uint8_t key[PIN_BYTES] = {1}, other_key[PIN_BYTES] = {2};

static struct link *make_link(uint8_t id)
{
	struct link *link = NULL;
	struct link_settings settings = {.role = CONTROL_RESPONDER, .id = {id}, .connections_max = 1};
	struct link_peer peer = {.node_name = "robot"};
	assert_int_equal(link_new(&settings, &peer, &link), 0);
	return link;
}

static struct fleet *make(uint32_t most)
{
	struct fleet *fleet = NULL;
	struct fleet_settings settings = {.devices_max = most};
	assert_int_equal(fleet_new(&settings, &fleet), 0);
	return fleet;
}

// The outcome; what it gave is dropped.
static int up(struct fleet *fleet, const char *name, const uint8_t *pin, struct link *link, bool *replaced)
{
	struct fleet_up up = {0};
	int r = fleet_up(fleet, name, pin, link, &up);
	if (replaced)
		*replaced = up.replaced != NULL;
	device_unref(&up.device);
	link_unref(&up.replaced);
	return r;
}

static void a_device_is_there_until_its_link_is_down(void **state)
{
	struct fleet *fleet = make(10);
	struct link *link = make_link(1), *found;
	(void)state;
	assert_null(fleet_find(fleet, "011"));
	assert_int_equal(up(fleet, "011", key, link, NULL), 0);
	struct device *device = fleet_find(fleet, "011");
	assert_non_null(device);
	found = fleet_link(fleet, device);
	assert_ptr_equal(found, link);
	assert_int_equal(fleet_online(fleet), 1);
	struct device *down = fleet_down(fleet, link, 1);
	assert_ptr_equal(down, device);
	assert_null(fleet_link(fleet, device));
	assert_int_equal(fleet_online(fleet), 0);
	assert_null(fleet_down(fleet, link, 1));
	device_unref(&down);
	device_unref(&device);
	link_unref(&found);
	link_unref(&link);
	fleet_free(&fleet);
}

static void the_same_key_takes_its_name_over_at_once(void **state)
{
	struct fleet *fleet = make(10);
	struct link *old = make_link(1), *fresh = make_link(2);
	bool replaced;
	(void)state;
	assert_int_equal(up(fleet, "011", key, old, NULL), 0);
	assert_int_equal(up(fleet, "011", key, fresh, &replaced), 0);
	assert_true(replaced);
	assert_null(fleet_down(fleet, old, 1)); // the device is still there
	assert_int_equal(fleet_online(fleet), 1);
	link_unref(&old);
	link_unref(&fresh);
	fleet_free(&fleet);
}

static void another_key_is_refused_while_the_name_is_taken(void **state)
{
	struct fleet *fleet = make(10);
	struct link *link = make_link(1), *thief = make_link(2);
	(void)state;
	assert_int_equal(up(fleet, "011", key, link, NULL), 0);
	assert_int_equal(fleet_judge(fleet, "011", other_key, clock_ms()), FLEET_TAKEN);
	assert_int_equal(up(fleet, "011", other_key, thief, NULL), FLEET_TAKEN);
	struct device *device = fleet_down(fleet, link, 1);
	device_unref(&device);
	assert_int_equal(up(fleet, "011", other_key, thief, NULL), 0);
	struct fleet_settings settings = {.devices_max = 10, .any_key = true};
	fleet_set(fleet, &settings);
	assert_int_equal(up(fleet, "011", key, link, NULL), 0);
	link_unref(&link);
	link_unref(&thief);
	fleet_free(&fleet);
}

static void a_device_that_flaps_is_told_to_rest(void **state)
{
	struct fleet *fleet = make(10);
	struct link *link = make_link(1);
	(void)state;
	for (int i = 0; i < LIMIT_DEVICE_UPS + 1; i++)
		assert_int_equal(up(fleet, "011", key, link, NULL), 0);
	assert_int_equal(up(fleet, "011", key, link, NULL), FLEET_FLAPS);
	assert_int_equal(fleet_judge(fleet, "011", key, clock_ms() + LIMIT_DEVICE_REST_MS + 1), 0);
	assert_int_equal(up(fleet, "012", key, link, NULL), 0); // nobody else
	link_unref(&link);
	fleet_free(&fleet);
}

static void the_one_that_is_away_longest_makes_room(void **state)
{
	struct fleet *fleet = make(2);
	struct link *a = make_link(1), *b = make_link(2), *c = make_link(3);
	struct device *device;
	(void)state;
	assert_int_equal(up(fleet, "a", key, a, NULL), 0);
	assert_int_equal(up(fleet, "b", key, b, NULL), 0);
	assert_int_equal(up(fleet, "c", key, c, NULL), FLEET_FULL);
	device = fleet_down(fleet, b, 2);
	device_unref(&device);
	assert_int_equal(up(fleet, "c", key, c, NULL), 0);
	assert_null(fleet_find(fleet, "b"));
	link_unref(&a);
	link_unref(&b);
	link_unref(&c);
	fleet_free(&fleet);
}

static void asking_makes_no_room(void **state)
{
	struct fleet *fleet = make(1);
	struct link *a = make_link(1), *b = make_link(2);
	(void)state;
	assert_int_equal(up(fleet, "a", key, a, NULL), 0);
	struct device *device = fleet_down(fleet, a, 2);
	device_unref(&device);
	assert_int_equal(fleet_judge(fleet, "b", key, clock_ms()), 0);
	device = fleet_find(fleet, "a"); // what "b" will be is not known yet
	assert_non_null(device);
	device_unref(&device);
	assert_int_equal(up(fleet, "b", key, b, NULL), 0);
	assert_null(fleet_find(fleet, "a"));
	link_unref(&a);
	link_unref(&b);
	fleet_free(&fleet);
}

static void on_view(void *owner, const struct fleet_view *view)
{
	char *seen = owner;
	strcat(seen, view->device->name);
}

static void devices_are_shown_in_pages(void **state)
{
	struct fleet *fleet = make(10);
	struct link *links[4];
	char seen[64] = "";
	static const char *const names[] = {"d", "b", "a", "c"};
	(void)state;
	for (uint8_t i = 0; i < 4; i++) {
		links[i] = make_link(i);
		assert_int_equal(up(fleet, names[i], key, links[i], NULL), 0);
	}
	assert_int_equal(fleet_visit(fleet, "", 3, on_view, seen), 1);
	assert_string_equal(seen, "abc");
	assert_int_equal(fleet_visit(fleet, "c", 3, on_view, seen), 0);
	assert_string_equal(seen, "abcd");
	assert_int_equal(fleet_visit(fleet, "bb", 1, on_view, seen), 1); // between two
	assert_string_equal(seen, "abcdc");
	assert_int_equal(fleet_visit(fleet, "d", 1, on_view, seen), 0);
	assert_string_equal(seen, "abcdc");
	for (int i = 0; i < 4; i++)
		link_unref(&links[i]);
	fleet_free(&fleet);
}

static void on_call_back(void *owner, const struct fleet_view *view)
{
	struct device *device = fleet_find(owner, view->device->name);
	assert_ptr_equal(device, view->device);
	device_unref(&device);
}

// Thousands of devices are shown without the table being locked for it: visit may even use it.
static void a_large_fleet_stays_in_order_as_devices_come_and_go(void **state)
{
	enum { COUNT = 2000 };
	struct fleet *fleet = make(COUNT);
	struct link *link = make_link(1);
	char name[16];
	(void)state;
	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(name, sizeof name, "d%05u", i * 7919 % COUNT);
		assert_int_equal(up(fleet, name, key, link, NULL), 0);
		struct device *device = fleet_down(fleet, link, i + 1);
		device_unref(&device);
	}
	assert_int_equal(up(fleet, "a", key, link, NULL), 0); // one has made room
	char seen[64] = "";
	assert_int_equal(fleet_visit(fleet, "", 2, on_view, seen), COUNT - 2);
	assert_string_equal(seen, "ad00001"); // d00000 was the first to go
	assert_int_equal(fleet_visit(fleet, "", SIZE_MAX, on_call_back, fleet), 0);
	link_unref(&link);
	fleet_free(&fleet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_is_there_until_its_link_is_down),
		cmocka_unit_test(the_same_key_takes_its_name_over_at_once),
		cmocka_unit_test(another_key_is_refused_while_the_name_is_taken),
		cmocka_unit_test(a_device_that_flaps_is_told_to_rest),
		cmocka_unit_test(the_one_that_is_away_longest_makes_room),
		cmocka_unit_test(asking_makes_no_room),
		cmocka_unit_test(devices_are_shown_in_pages),
		cmocka_unit_test(a_large_fleet_stays_in_order_as_devices_come_and_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
