#include "config/schema.h"
#include "config/schema_items.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void no_path_flag_or_environment_name_is_used_twice(void **state)
{
	(void)state;
	for (size_t i = 0; i < schema.count; i++)
		for (size_t j = 0; j < i; j++) {
			const struct schema_key *a = &schema.keys[i], *b = &schema.keys[j];
			char name_a[SCHEMA_ENVIRONMENT_BYTES], name_b[SCHEMA_ENVIRONMENT_BYTES];
			schema_environment(a, name_a);
			schema_environment(b, name_b);
			assert_string_not_equal(a->path, b->path);
			assert_string_not_equal(name_a, name_b);
			if (a->flag && b->flag && (a->commands & b->commands))
				assert_string_not_equal(a->flag, b->flag);
		}
}

static void every_key_is_complete(void **state)
{
	(void)state;
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		assert_non_null(strchr(key->path, '.'));
		assert_non_null(key->help);
		assert_true(key->commands != 0);
		assert_true((key->required & ~key->commands) == 0);
		assert_true((key->flag == NULL) == (key->value_name == NULL));
		assert_true((key->type == SCHEMA_ENUM) == (key->words != NULL));
		assert_true((key->type == SCHEMA_TABLES) == (key->items != NULL));
		if (key->state != SCHEMA_BUILT || key->only)
			assert_non_null(key->refusal);
		if (key->state == SCHEMA_BUILT && !key->only)
			assert_true(key->size > 0);
		if (key->type == SCHEMA_NUMBER)
			assert_true(key->max > key->min);
	}
}

static void sections_stand_together(void **state)
{
	(void)state;
	for (size_t i = 1; i < schema.count; i++) {
		size_t length = schema_section_length(schema.keys[i].path) + 1;
		if (strncmp(schema.keys[i].path, schema.keys[i - 1].path, length) == 0)
			continue;
		for (size_t j = 0; j < i; j++)
			assert_true(strncmp(schema.keys[i].path, schema.keys[j].path, length) != 0);
	}
}

static void numbers_fit_their_fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		if (key->type != SCHEMA_NUMBER || key->size == 0)
			continue;
		assert_true(key->size == 2 || key->size == 4 || key->size == 8);
		if (key->size < 8)
			assert_true(key->max < 1ULL << (8 * key->size));
	}
}

static void keys_are_found_by_path_and_by_alias(void **state)
{
	(void)state;
	assert_ptr_equal(schema_find("source.heartbeat_interval_ms", CONFIG_SOURCE),
	                 schema_find("link.heartbeat_interval_ms", CONFIG_SOURCE));
	assert_string_equal(schema_find("auth.cert_path", CONFIG_SOURCE)->path, "auth.client_cert_path");
	assert_string_equal(schema_find("auth.cert_path", CONFIG_DEST)->path, "auth.server_cert_path");
	assert_string_equal(schema_find("auth.client_cert_path", CONFIG_DEST)->path, "auth.client_cert_path");
	assert_null(schema_find("source", CONFIG_SOURCE));
	assert_null(schema_find("source.listen_por", CONFIG_SOURCE));
	assert_true(schema_is_section("source"));
	assert_true(schema_is_section("dest.connection_filter"));
	assert_false(schema_is_section("sourc"));
	assert_false(schema_is_section("source.listen_ip"));
	assert_string_equal(schema_find_flag("--listen-ip", CONFIG_DEST)->path, "dest.listen_ip");
	assert_null(schema_find_flag("--tunnel-port", CONFIG_SOURCE));
}

static void environment_names_are_derived(void **state)
{
	(void)state;
	char name[SCHEMA_ENVIRONMENT_BYTES];
	schema_environment(schema_find("source.listen_port", CONFIG_SOURCE), name);
	assert_string_equal(name, "QANAT_SOURCE_LISTEN_PORT");
	schema_environment(schema_find("dest.connection_filter.allowed_source_ips", CONFIG_DEST), name);
	assert_string_equal(name, "QANAT_DEST_CONNECTION_FILTER_ALLOWED_SOURCE_IPS");
}

static void assert_no_item(struct tree_node *item)
{
	assert_null(item);
}

static void one_line_forms_that_are_not_of_their_shape_make_no_item(void **state)
{
	(void)state;
	struct tree_place place = {0};
	assert_no_item(schema_forward_from_text("127.0.0.1:1", place));
	assert_no_item(schema_forward_from_text("", place));
	assert_no_item(schema_service_from_text("name", place));
	assert_no_item(schema_service_from_text("name=1", place));
	assert_no_item(schema_service_from_text("name=1:host", place));
	assert_no_item(schema_service_from_text("name:1:host:2", place));
	struct tree_node *item = schema_service_from_text("=::", place);
	assert_string_equal(tree_child(item, "name")->text, "");
	assert_string_equal(tree_child(item, "port")->text, "");
	assert_string_equal(tree_child(item, "target_ip")->text, "");
	assert_string_equal(tree_child(item, "target_port")->text, "");
	tree_free(&item);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_path_flag_or_environment_name_is_used_twice),
		cmocka_unit_test(every_key_is_complete),
		cmocka_unit_test(sections_stand_together),
		cmocka_unit_test(numbers_fit_their_fields),
		cmocka_unit_test(keys_are_found_by_path_and_by_alias),
		cmocka_unit_test(environment_names_are_derived),
		cmocka_unit_test(one_line_forms_that_are_not_of_their_shape_make_no_item),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
