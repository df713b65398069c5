#include "config/reload.h"

#include "config/value.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/load_test.h"

static char path[] = "/tmp/reload_test_XXXXXX";

static void write_file(const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static char *words[] = {(char[]){"--config"}, path, NULL};

static struct config *begin(enum config_command command, const char *text)
{
	struct config *config = NULL;
	write_file(text);
	assert_int_equal(config_load(command, 2, words, stderr, stderr, &config), 0);
	return config;
}

static bool has(const struct config_names *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++)
		if (strstr(list->names[i], name))
			return true;
	return false;
}

static void what_has_changed_is_named_and_taken_over(void **state)
{
	(void)state;
	struct config_reload reload;
	struct config *running = begin(CONFIG_SOURCE, "source.pool_size=2\n" GOOD_SOURCE);
	write_file(
		"source.pool_size=3\nsource.forwards=[{listen='unix:/a',service='s'}]\nlogging.level='warn'\n" GOOD_SOURCE);
	assert_int_equal(config_reload(CONFIG_SOURCE, 2, words, running, &reload), 0);
	assert_int_equal(reload.changed.count, 4);
	assert_true(has(&reload.changed, "source.listen_port")); // 8443 of its own accord, until there was a forward
	assert_true(has(&reload.changed, "source.pool_size"));
	assert_true(has(&reload.changed, "source.forwards"));
	assert_true(has(&reload.changed, "logging.level"));
	assert_int_equal(reload.needs_restart.count, 0);
	assert_int_equal(reload.next->source.pool_size, 3);
	assert_string_equal(reload.next->source.forwards[0].service, "s");
	assert_int_equal(running->source.pool_size, 2);
	config_reload_fini(&reload);
	config_reload_fini(&reload);
	config_free(&running);
}

static void what_needs_a_restart_keeps_its_running_value(void **state)
{
	(void)state;
	struct config_reload reload;
	struct config *running = begin(CONFIG_DEST, "node.workers=2\nmetrics.metrics_bind_ip='::1'\n" GOOD_DEST);
	write_file("node.workers=3\nmetrics.enabled=false\nmetrics.metrics_bind_ip='unix:/b'\n" GOOD_DEST);
	assert_int_equal(config_reload(CONFIG_DEST, 2, words, running, &reload), 0);
	assert_int_equal(reload.changed.count, 0);
	assert_int_equal(reload.needs_restart.count, 3);
	assert_true(has(&reload.needs_restart, "node.workers"));
	assert_int_equal(reload.next->node.workers, 2);
	assert_true(reload.next->metrics.enabled);
	assert_string_equal(reload.next->metrics.metrics_bind_ip, "::1");
	assert_ptr_not_equal(reload.next->metrics.metrics_bind_ip, running->metrics.metrics_bind_ip);
	config_free(&running);
	assert_string_equal(reload.next->metrics.metrics_bind_ip, "::1");
	config_reload_fini(&reload);
}

static void what_is_wrong_is_listed_whole(void **state)
{
	(void)state;
	struct config_reload reload;
	struct config *running = begin(CONFIG_SOURCE, GOOD_SOURCE);
	write_file("source.pool_size=9999\nsource.nonsense=1\n" GOOD_SOURCE);
	assert_int_equal(config_reload(CONFIG_SOURCE, 2, words, running, &reload), CONFIG_BAD);
	assert_null(reload.next);
	assert_int_equal(reload.problems.count, 2);
	assert_true(has(&reload.problems, ":1:"));
	assert_true(has(&reload.problems, "source.nonsense"));
	config_reload_add_problem(&reload, "one more");
	assert_string_equal(reload.problems.names[2], "one more");
	config_reload_fini(&reload);
	config_free(&running);
}

static void same_file_changes_nothing(void **state)
{
	(void)state;
	struct config_reload reload;
	struct config *running = begin(CONFIG_DEST, "dest.connection_filter.allowed_source_ips=['10.0.0.0/8']\n" GOOD_DEST);
	assert_int_equal(config_reload(CONFIG_DEST, 2, words, running, &reload), 0);
	assert_int_equal(reload.changed.count + reload.needs_restart.count + reload.problems.count, 0);
	config_reload_fini(&reload);
	config_free(&running);
}

// Every kind of field, lists and lists of tables too: a copy that shares a pointer would be freed twice.
static void copies_of_values_stand_alone(void **state)
{
	(void)state;
	struct config *from = begin(CONFIG_DEST,
	                            "auth.allowed_peers=['a','b']\ndest.connection_filter.allowed_source_ips=['10.0.0.0/"
	                            "8','::1']\n" GOOD_DEST);
	struct config *to = begin(CONFIG_DEST, GOOD_DEST);
	for (size_t i = 0; i < schema.count; i++)
		value_copy(&schema.keys[i], from, to);
	for (size_t i = 0; i < schema.count; i++) {
		char *a = value_as_text(&schema.keys[i], from), *b = value_as_text(&schema.keys[i], to);
		assert_string_equal(a, b);
		free(a);
		free(b);
	}
	config_free(&from);
	assert_string_equal(to->auth.allowed_peers[1], "b");
	assert_string_equal(to->dest.services[0].name, "s");
	config_free(&to);
}

static int make_file(void **state)
{
	(void)state;
	int fd = mkstemp(path);
	return fd < 0 || close(fd) != 0;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_has_changed_is_named_and_taken_over),
		cmocka_unit_test(what_needs_a_restart_keeps_its_running_value),
		cmocka_unit_test(what_is_wrong_is_listed_whole),
		cmocka_unit_test(same_file_changes_nothing),
		cmocka_unit_test(copies_of_values_stand_alone),
	};
	return cmocka_run_group_tests_name("reload", tests, make_file, remove_file);
}
