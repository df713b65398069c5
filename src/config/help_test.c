#include "config/help.h"
#include "config/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "config/load_test.h"

static char *printed(void (*print)(FILE *))
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	print(out);
	fclose(out);
	return text;
}

static void print_source_help(FILE *out)
{
	help_print(CONFIG_SOURCE, out);
}

static void print_dest_help(FILE *out)
{
	help_print(CONFIG_DEST, out);
}

static void help_names_every_key_its_flag_and_its_environment(void **state)
{
	(void)state;
	char *texts[] = {printed(print_source_help), printed(print_dest_help)};
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		char name[SCHEMA_ENVIRONMENT_BYTES];
		schema_environment(key, name);
		for (int command = CONFIG_SOURCE; command <= CONFIG_DEST; command++) {
			bool is_expected = key->size > 0 && (key->commands & schema_command_bit((enum config_command)command));
			if (!is_expected)
				continue;
			assert_non_null(strstr(texts[command], name));
			assert_non_null(strstr(texts[command], key->path));
			assert_non_null(strstr(texts[command], key->help));
			if (key->flag)
				assert_non_null(strstr(texts[command], key->flag));
		}
	}
	assert_null(strstr(texts[CONFIG_SOURCE], "tunnel_port of dest.\n        1..65535; default"));
	assert_null(strstr(texts[CONFIG_SOURCE], "dest.exposed_services"));
	assert_null(strstr(texts[CONFIG_SOURCE], "frame_buffer_size"));
	free(texts[0]);
	free(texts[1]);
}

static void reference_names_every_key_also_the_refused_ones(void **state)
{
	(void)state;
	char *text = printed(help_reference);
	for (size_t i = 0; i < schema.count; i++) {
		char cell[160];
		bool is_built = schema.keys[i].state == SCHEMA_BUILT;
		size_t section = is_built ? schema_section_length(schema.keys[i].path) + 1 : 0;
		snprintf(cell, sizeof cell, "\n| `%s` | ", schema.keys[i].path + section);
		assert_non_null(strstr(text, cell));
	}
	assert_non_null(strstr(text, "\nEach `[[dest.exposed_services]]`:\n"));
	free(text);
}

static void settings_are_printed_as_toml_with_their_origin(void **state)
{
	(void)state;
	struct load load;
	char *flags[] = {"--workers=2", NULL};
	char *environment[] = {"QANAT_CRYPTO_PQ=off", NULL};
	const char *text =
		"dest.connection_filter.allowed_source_ips=['10.0.0.0/8','::1']\nauth.allowed_peers=['a\"b\\c']\n" GOOD_DEST;
	assert_good(&load, load_words(&load, CONFIG_DEST, "t.toml", text, flags, environment));
	char *report = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&report, &length);
	report_settings(&load, out);
	fclose(out);
	const char *lines[] = {
		"  dest.listen_ip = \"0.0.0.0\"  (default)\n",
		"  dest.tunnel_port = 1  (t.toml:3)\n",
		"  dest.exposed_services = [{ name = \"s\", port = 1, target_ip = \"::1\", target_port = 1 }]  (t.toml:7)\n",
		"  dest.connection_filter.allowed_source_ips = [\"10.0.0.0/8\", \"::1/128\"]  (t.toml:1)\n",
		"  auth.allowed_peers = [\"a\\\"b\\\\c\"]  (t.toml:2)\n",
		"  crypto.pq = \"off\"  (environment QANAT_CRYPTO_PQ)\n",
		"  crypto.key_rotation_bytes = 0  (default)\n",
		"  metrics.enabled = true  (default)\n",
		"  node.workers = 2  (flag --workers)\n",
	};
	for (size_t i = 0; i < COUNT_OF(lines); i++)
		if (!strstr(report, lines[i]))
			fail_msg("missing: %sprinted:\n%s", lines[i], report);
	assert_null(strstr(report, "source."));
	free(report);
	load_fini(&load);
}

static void report_as_json_has_typed_values_and_places(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load,
	            load_text(&load, CONFIG_SOURCE, "source.exposed_ports=[{port=7,listen_ip='::1'}]\n" GOOD_SOURCE));
	json_t *report = report_json(&load);
	assert_string_equal(json_string_value(json_object_get(report, "command")), "source");
	assert_int_equal(json_array_size(json_object_get(report, "problems")), 0);
	json_t *setting;
	size_t index;
	bool is_found = false;
	json_array_foreach(json_object_get(report, "settings"), index, setting) {
		if (strcmp(json_string_value(json_object_get(setting, "key")), "source.exposed_ports") != 0)
			continue;
		json_t *item = json_array_get(json_object_get(setting, "value"), 0);
		assert_int_equal(json_integer_value(json_object_get(item, "port")), 7);
		assert_string_equal(json_string_value(json_object_get(item, "listen_ip")), "::1");
		assert_string_equal(json_string_value(json_object_get(setting, "from")), "file");
		assert_int_equal(json_integer_value(json_object_get(setting, "line")), 1);
		is_found = true;
	}
	assert_true(is_found);
	json_decref(report);
	load_fini(&load);
}

static void report_of_a_bad_file_has_problems_and_no_settings(void **state)
{
	(void)state;
	struct load load;
	assert_int_equal(load_text(&load, CONFIG_SOURCE, "node.workers=-1\n" GOOD_SOURCE), CONFIG_BAD);
	json_t *report = report_json(&load);
	assert_int_equal(json_array_size(json_object_get(report, "settings")), 0);
	json_t *problem = json_array_get(json_object_get(report, "problems"), 0);
	assert_string_equal(json_string_value(json_object_get(problem, "where")), "t.toml");
	assert_int_equal(json_integer_value(json_object_get(problem, "line")), 1);
	assert_int_equal(json_integer_value(json_object_get(problem, "column")), 6);
	assert_string_equal(json_string_value(json_object_get(problem, "key")), "node.workers");
	assert_string_equal(json_string_value(json_object_get(problem, "message")), "must be 0..256, not -1");
	json_decref(report);
	load_fini(&load);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(help_names_every_key_its_flag_and_its_environment),
		cmocka_unit_test(reference_names_every_key_also_the_refused_ones),
		cmocka_unit_test(settings_are_printed_as_toml_with_their_origin),
		cmocka_unit_test(report_as_json_has_typed_values_and_places),
		cmocka_unit_test(report_of_a_bad_file_has_problems_and_no_settings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
