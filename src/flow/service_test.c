#include "flow/service.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct service_settings offered[] = {
	{.name = "web", .port = 80, .target_host = "127.0.0.1", .target_port = 8080, .connections_max = 2},
	{.name = "db", .port = 5432, .target_host = "::1", .target_port = 5432, .connections_max = 5}};
static struct service_table *table, *one, *none;

static int make_tables(void **state)
{
	(void)state;
	return service_table_new(offered, 2, NULL, &table) | service_table_new(offered, 1, NULL, &one) |
	       service_table_new(offered, 0, NULL, &none);
}

static int drop_tables(void **state)
{
	(void)state;
	service_table_unref(&table);
	service_table_unref(&one);
	service_table_unref(&none);
	service_table_unref(&none);
	return 0;
}

static void a_service_is_found_for_its_own_protocol_only(void **state)
{
	(void)state;
	static const struct service_settings list[] = {
		{.name = "web", .port = 53, .target_host = "a", .protocol = SERVICE_TCP},
		{.name = "dns", .port = 53, .target_host = "b", .protocol = SERVICE_UDP},
		{.name = "all", .port = 54, .target_host = "c", .protocol = SERVICE_BOTH}};
	struct service_table *mixed = NULL, *single = NULL;
	struct header tcp = {.kind = HEADER_TCP, .port = 53}, udp = {.kind = HEADER_UDP, .port = 53};
	assert_int_equal(service_table_new(list, 3, NULL, &mixed), 0);
	assert_string_equal(service_find(mixed, &tcp)->name, "web");
	assert_string_equal(service_find(mixed, &udp)->name, "dns");
	tcp.port = udp.port = 54;
	assert_string_equal(service_find(mixed, &tcp)->name, "all");
	assert_string_equal(service_find(mixed, &udp)->name, "all");
	snprintf(tcp.service, sizeof tcp.service, "dns");
	snprintf(udp.service, sizeof udp.service, "web");
	assert_null(service_find(mixed, &tcp));
	assert_string_equal(service_missing(mixed, &tcp), "the service is exposed here for udp only");
	assert_null(service_find(mixed, &udp));
	assert_string_equal(service_missing(mixed, &udp), "the service is exposed here for tcp only");
	snprintf(udp.service, sizeof udp.service, "none");
	assert_string_equal(service_missing(mixed, &udp), "no such service is exposed here");
	// The only service there is, is not for the other protocol either.
	assert_int_equal(service_table_new(list + 1, 1, NULL, &single), 0);
	snprintf(tcp.service, sizeof tcp.service, SERVICE_DEFAULT);
	assert_null(service_find(single, &tcp));
	service_table_unref(&mixed);
	service_table_unref(&single);
}

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
	assert_string_equal(found(table, "db", 0), "db");
	assert_string_equal(found(table, "db", 80), "db");
	assert_string_equal(found(table, "", 80), "web");
	assert_string_equal(found(table, "", 5432), "db");
}

static void what_is_not_offered_is_not_found(void **state)
{
	(void)state;
	assert_string_equal(found(table, "mail", 80), "nothing"); // a wrong name is not mended by a right port
	assert_string_equal(found(table, "WEB", 0), "nothing");
	assert_string_equal(found(table, "we", 0), "nothing");
	assert_string_equal(found(table, "", 81), "nothing");
	assert_string_equal(found(one, "", 81), "nothing");
	assert_string_equal(found(none, "web", 80), "nothing");
	assert_string_equal(found(none, SERVICE_DEFAULT, 80), "nothing");
}

static void default_is_the_port_or_the_only_one(void **state)
{
	(void)state;
	assert_string_equal(found(table, SERVICE_DEFAULT, 5432), "db");
	assert_string_equal(found(table, SERVICE_DEFAULT, 9999), "nothing");
	assert_string_equal(found(one, SERVICE_DEFAULT, 9999), "web");
}

static void *come_and_go(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < 5000; i++)
		if (service_enter(&table->services[1]))
			service_leave(&table->services[1]);
	return NULL;
}

static void places_are_counted_across_threads(void **state)
{
	(void)state;
	pthread_t threads[3];
	assert_true(service_enter(&table->services[0]));
	assert_true(service_enter(&table->services[0]));
	assert_false(service_enter(&table->services[0]));
	service_leave(&table->services[0]);
	assert_true(service_enter(&table->services[0]));
	service_leave(&table->services[0]);
	service_leave(&table->services[0]);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(table->services[1].load->connections, 0);
}

static void a_new_table_counts_what_the_old_one_carries(void **state)
{
	(void)state;
	struct service_settings changed[] = {offered[1], offered[0], {.name = "new", .port = 9, .target_host = "x"}};
	struct service_table *next;
	changed[1].connections_max = 3;
	changed[1].target_port = 8081;
	assert_true(service_enter(&table->services[0]));
	assert_true(service_enter(&table->services[0]));
	assert_int_equal(service_table_new(changed, 3, table, &next), 0);
	assert_string_equal(next->services[1].name, "web");
	assert_int_equal(next->services[1].target_port, 8081);
	assert_int_equal(table->services[0].target_port, 8080);
	assert_true(service_enter(&next->services[1]));
	assert_false(service_enter(&next->services[1])); // two of the old table, one of the new
	service_leave(&next->services[1]);
	service_table_unref(&next); // the old one goes on
	service_leave(&table->services[0]);
	service_leave(&table->services[0]);
	assert_int_equal(table->services[0].load->connections, 0);
}

static void a_target_is_probed_by_one_at_a_time(void **state)
{
	(void)state;
	assert_true(service_begin_probe(&table->services[0]));
	assert_false(service_begin_probe(&table->services[0]));
	assert_true(service_begin_probe(&table->services[1]));
	service_end_probe(&table->services[0]);
	assert_true(service_begin_probe(&table->services[0]));
	service_end_probe(&table->services[0]);
	service_end_probe(&table->services[1]);
}

static void list_ends_with_the_last_entry_that_fits(void **state)
{
	(void)state;
	char text[64];
	service_list(table, text, sizeof text);
	assert_string_equal(text, "web:80,db:5432");
	service_list(table, text, 15);
	assert_string_equal(text, "web:80,db:5432");
	for (size_t size = 7; size < 15; size++) {
		memset(text, '!', sizeof text);
		service_list(table, text, size);
		assert_string_equal(text, "web:80");
		assert_int_equal(text[size], '!');
	}
	service_list(table, text, 6);
	assert_string_equal(text, "");
	service_list(none, text, sizeof text);
	assert_string_equal(text, "");
}

static void services_for_some_are_not_told_of(void **state)
{
	(void)state;
	static const char *const patterns[] = {"CN=a"};
	struct service_settings list[] = {offered[0], offered[1], offered[0]};
	struct service_table *some;
	char text[64];
	list[0].clients = patterns;
	list[0].client_count = 1;
	list[2].name = "last";
	assert_int_equal(service_table_new(list, 3, NULL, &some), 0);
	service_list(some, text, sizeof text);
	assert_string_equal(text, "db:5432,last:80");
	// Without a certificate only what is for everybody is admitted.
	assert_false(service_admits(&some->services[0], NULL));
	assert_true(service_admits(&some->services[1], NULL));
	service_table_unref(&some);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_service_is_found_for_its_own_protocol_only),
		cmocka_unit_test(services_for_some_are_not_told_of),
		cmocka_unit_test(name_comes_before_the_port),
		cmocka_unit_test(what_is_not_offered_is_not_found),
		cmocka_unit_test(default_is_the_port_or_the_only_one),
		cmocka_unit_test(places_are_counted_across_threads),
		cmocka_unit_test(a_new_table_counts_what_the_old_one_carries),
		cmocka_unit_test(a_target_is_probed_by_one_at_a_time),
		cmocka_unit_test(list_ends_with_the_last_entry_that_fits),
	};
	return cmocka_run_group_tests_name("service", tests, make_tables, drop_tables);
}
