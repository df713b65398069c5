#include "flow/service.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct service services[] = {{.name = "web", .port = 80, .connections_max = 2},
                                    {.name = "db", .port = 5432, .connections_max = 5}};
static struct service_table table = {.services = services, .count = 2}, one = {.services = services, .count = 1},
							none = {.services = services, .count = 0};

static const char *found(struct service_table *in, const char *name, uint16_t port)
{
	struct header header = {.kind = HEADER_TCP, .port = port};
	snprintf(header.service, sizeof header.service, "%s", name);
	struct service *service = service_find(in, &header);
	return service ? service->name : "nothing";
}

static void name_comes_before_the_port(void **state)
{
	(void)state;
	assert_string_equal(found(&table, "db", 0), "db");
	assert_string_equal(found(&table, "db", 80), "db");
	assert_string_equal(found(&table, "", 80), "web");
	assert_string_equal(found(&table, "", 5432), "db");
}

static void what_is_not_offered_is_not_found(void **state)
{
	(void)state;
	assert_string_equal(found(&table, "mail", 80), "nothing"); // a wrong name is not mended by a right port
	assert_string_equal(found(&table, "WEB", 0), "nothing");
	assert_string_equal(found(&table, "we", 0), "nothing");
	assert_string_equal(found(&table, "", 81), "nothing");
	assert_string_equal(found(&one, "", 81), "nothing");
	assert_string_equal(found(&none, "web", 80), "nothing");
	assert_string_equal(found(&none, SERVICE_DEFAULT, 80), "nothing");
}

static void default_is_the_port_or_the_only_one(void **state)
{
	(void)state;
	assert_string_equal(found(&table, SERVICE_DEFAULT, 5432), "db");
	assert_string_equal(found(&table, SERVICE_DEFAULT, 9999), "nothing");
	assert_string_equal(found(&one, SERVICE_DEFAULT, 9999), "web");
}

static void *come_and_go(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < 5000; i++)
		if (service_enter(&services[1]))
			service_leave(&services[1]);
	return NULL;
}

static void places_are_counted_across_threads(void **state)
{
	(void)state;
	pthread_t threads[3];
	assert_true(service_enter(&services[0]));
	assert_true(service_enter(&services[0]));
	assert_false(service_enter(&services[0]));
	service_leave(&services[0]);
	assert_true(service_enter(&services[0]));
	service_leave(&services[0]);
	service_leave(&services[0]);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(services[1].connections, 0);
}

static void list_ends_with_the_last_entry_that_fits(void **state)
{
	(void)state;
	char text[64];
	service_list(&table, text, sizeof text);
	assert_string_equal(text, "web:80,db:5432");
	service_list(&table, text, 15);
	assert_string_equal(text, "web:80,db:5432");
	for (size_t size = 7; size < 15; size++) {
		memset(text, '!', sizeof text);
		service_list(&table, text, size);
		assert_string_equal(text, "web:80");
		assert_int_equal(text[size], '!');
	}
	service_list(&table, text, 6);
	assert_string_equal(text, "");
	service_list(&none, text, sizeof text);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(name_comes_before_the_port),
		cmocka_unit_test(what_is_not_offered_is_not_found),
		cmocka_unit_test(default_is_the_port_or_the_only_one),
		cmocka_unit_test(places_are_counted_across_threads),
		cmocka_unit_test(list_ends_with_the_last_entry_that_fits),
	};
	return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
