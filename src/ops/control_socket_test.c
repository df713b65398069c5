#include "ops/control_socket.h"

#include "core/counter.h"
#include "limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above.
#include <cmocka.h>

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_MS 20000
#define BIG (4 * 1024 * 1024)

struct scene {
	char folder[64];
	struct loop *loop;
	struct loop_timer *patience;
	struct loop_io *io;
	struct address address;
	struct control_socket *socket;
	int fd;
	char *answer; // all of it, with a NUL
	size_t length;
	bool slow; // the client reads a little at a time
	unsigned reloads, drains;
	size_t links;
};

// ---- the node ------------------------------------------------------------------------------------------------------

static void fill(void *owner, struct status_node *status)
{
	struct scene *scene = owner;
	*status = (struct status_node){.command = "dest", .version = "1", .health = "Healthy", .flows_open = 7};
	status->reload_age_ms = -1;
	status->links = calloc(scene->links + 1, sizeof *status->links);
	status->link_count = status->links ? scene->links : 0;
}

static void reload(void *owner, reload_answer_fn answer, void *to)
{
	struct scene *scene = owner;
	char problem[] = "line 1: \xff", changed[] = "logging.level";
	char *problems[] = {problem}, *keys[] = {changed};
	struct reload_report report = {.problems = {problems, 1}, .changed = {keys, 1}};
	scene->reloads++;
	answer(to, &report);
}

static bool drain(void *owner)
{
	struct scene *scene = owner;
	return scene->drains++ == 0;
}

static const struct control_socket_ops ops = {.status = fill, .reload = reload, .drain = drain};

// ---- the client ----------------------------------------------------------------------------------------------------

static void on_answer(void *owner, int events)
{
	struct scene *scene = owner;
	(void)events;
	ssize_t n = recv(scene->fd, scene->answer + scene->length, scene->slow ? 1000 : BIG - scene->length, MSG_DONTWAIT);
	if (n > 0)
		scene->length += (size_t)n;
	assert_true(scene->length < BIG);
	if (n == 0)
		loop_stop(scene->loop);
}

static void on_patience(void *owner)
{
	(void)owner;
	fail_msg("no answer in time");
}

static int scene_init(void **state)
{
	struct scene *scene = calloc(1, sizeof *scene);
	struct control_socket_settings settings = {0};
	*state = scene;
	assert_non_null(scene);
	scene->answer = malloc(BIG);
	scene->fd = -1;
	snprintf(scene->folder, sizeof scene->folder, "/tmp/control-socket-test-XXXXXX");
	assert_non_null(mkdtemp(scene->folder));
	assert_int_equal(loop_new(&scene->loop), 0);
	assert_int_equal(loop_timer_open(scene->loop, on_patience, scene, &scene->patience), 0);
	loop_timer_arm(scene->patience, PATIENCE_MS, 0);
	char text[128];
	snprintf(text, sizeof text, "unix:%s/node.sock", scene->folder);
	assert_int_equal(address_parse(text, &scene->address), 0);
	settings.loop = scene->loop;
	assert_int_equal(control_socket_open(&settings, &scene->address, &ops, scene, &scene->socket), 0);
	return 0;
}

static int scene_fini(void **state)
{
	struct scene *scene = *state;
	control_socket_close(&scene->socket);
	loop_timer_close(&scene->patience);
	loop_free(&scene->loop);
	assert_int_equal(access(scene->address.un.sun_path, F_OK), -1);
	assert_int_equal(rmdir(scene->folder), 0);
	free(scene->answer);
	free(scene);
	return 0;
}

static int connect_to(const struct scene *scene)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &scene->address.any, scene->address.length), 0);
	return fd;
}

static json_t *ask(struct scene *scene, const char *line)
{
	scene->fd = connect_to(scene);
	scene->length = 0;
	assert_int_equal(send(scene->fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
	assert_int_equal(loop_io_open(scene->loop, scene->fd, on_answer, scene, &scene->io), 0);
	loop_io_want(scene->io, LOOP_READ);
	assert_int_equal(loop_run(scene->loop), 0);
	loop_io_close(&scene->io);
	close(scene->fd);
	json_t *answer = json_loadb(scene->answer, scene->length, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(answer);
	return answer;
}

// ---- tests ---------------------------------------------------------------------------------------------------------

static void each_command_is_answered(void **state)
{
	struct scene *scene = *state;
	json_t *answer = ask(scene, "{\"command\":\"status\"}\n");
	assert_true(json_is_true(json_object_get(answer, "ok")));
	assert_int_equal(json_integer_value(json_object_get(json_object_get(answer, "status"), "flows_open")), 7);
	json_decref(answer);
	answer = ask(scene, "{\"command\":\"version\"}\n");
	assert_string_equal(json_string_value(json_object_get(answer, "version")), QANAT_VERSION);
	json_decref(answer);
	for (unsigned i = 0; i < 2; i++) {
		answer = ask(scene, "{\"command\":\"drain\"}\n");
		assert_true(json_is_true(json_object_get(answer, "ok")));
		assert_int_equal(json_is_true(json_object_get(answer, "begun")), i == 0);
		assert_int_equal(json_integer_value(json_object_get(answer, "flows_open")), 7);
		json_decref(answer);
	}
}

static void a_reload_is_reported_also_when_its_texts_are_no_utf8(void **state)
{
	struct scene *scene = *state;
	json_t *answer = ask(scene, "{\"command\":\"reload\"}\n");
	assert_true(json_is_false(json_object_get(answer, "ok")));
	assert_int_equal(json_array_size(json_object_get(answer, "problems")), 1);
	assert_string_equal(json_string_value(json_array_get(json_object_get(answer, "changed"), 0)), "logging.level");
	assert_int_equal(json_array_size(json_object_get(answer, "needs_restart")), 0);
	assert_int_equal(scene->reloads, 1);
	json_decref(answer);
}

static void a_long_answer_reaches_a_slow_reader(void **state)
{
	struct scene *scene = *state;
	scene->links = 1000;
	scene->slow = true;
	json_t *answer = ask(scene, "{\"command\":\"status\"}\n");
	const json_t *links = json_object_get(json_object_get(answer, "status"), "links");
	assert_int_equal(json_array_size(links), 1000);
	json_decref(answer);
}

static void who_asks_while_a_status_is_made_gets_one_too(void **state)
{
	static const char line[] = "{\"command\":\"status\"}\n";
	struct scene *scene = *state;
	struct pollfd looks[4];
	scene->links = 100;
	for (unsigned i = 0; i < COUNT_OF(looks); i++) {
		looks[i] = (struct pollfd){.fd = connect_to(scene), .events = POLLIN};
		assert_int_equal(send(looks[i].fd, line, sizeof line - 1, MSG_NOSIGNAL), sizeof line - 1);
	}
	for (unsigned i = 0; i < COUNT_OF(looks); i++) {
		// Each question keeps the loop running until it is answered; on_patience bounds it all.
		while (poll(&looks[i], 1, 0) == 0)
			json_decref(ask(scene, line));
		close(looks[i].fd);
	}
}

static void a_status_that_is_being_made_is_not_left_behind(void **state)
{
	static const char line[] = "{\"command\":\"status\"}\n";
	struct scene *scene = *state;
	int asked = connect_to(scene);
	scene->links = 100;
	assert_int_equal(send(asked, line, sizeof line - 1, MSG_NOSIGNAL), sizeof line - 1);
	json_decref(ask(scene, "{\"command\":\"version\"}\n"));
	control_socket_close(&scene->socket);
	close(asked);
}

static void a_request_that_never_ends_is_refused_at_its_limit(void **state)
{
	struct scene *scene = *state;
	char line[LIMIT_CONTROL_REQUEST_BYTES + 1];
	uint64_t before = counter_read(COUNTER_CONTROL_SOCKET_BAD);
	memset(line, ' ', sizeof line - 1);
	line[sizeof line - 1] = '\0';
	json_t *answer = ask(scene, line);
	assert_true(json_is_false(json_object_get(answer, "ok")));
	assert_int_equal(counter_read(COUNTER_CONTROL_SOCKET_BAD), before + 1);
	json_decref(answer);
}

static void more_clients_than_places_are_told_so(void **state)
{
	struct scene *scene = *state;
	int silent[LIMIT_CONTROL_CLIENTS];
	for (unsigned i = 0; i < COUNT_OF(silent); i++)
		silent[i] = connect_to(scene);
	json_t *answer = ask(scene, "{\"command\":\"status\"}\n");
	const char *problem = json_string_value(json_array_get(json_object_get(answer, "problems"), 0));
	assert_non_null(problem);
	assert_non_null(strstr(problem, "busy"));
	json_decref(answer);
	for (unsigned i = 0; i < COUNT_OF(silent); i++)
		close(silent[i]);
	// Their places come free as soon as they are gone.
	answer = ask(scene, "{\"command\":\"version\"}\n");
	json_decref(answer);
}

static void clients_that_are_there_at_the_end_are_closed(void **state)
{
	struct scene *scene = *state;
	int silent = connect_to(scene);
	json_t *answer = ask(scene, "{\"command\":\"version\"}\n");
	json_decref(answer);
	control_socket_close(&scene->socket);
	char byte;
	assert_int_equal(recv(silent, &byte, 1, 0), 0);
	close(silent);
}

static void the_path_is_ours_alone(void **state)
{
	struct scene *scene = *state;
	struct control_socket_settings settings = {.loop = scene->loop};
	struct control_socket *second = NULL;
	struct address address = scene->address;
	struct stat seen;
	assert_int_equal(stat(scene->address.un.sun_path, &seen), 0);
	assert_int_equal(seen.st_mode & 0777, 0660);
	assert_true(control_socket_open(&settings, &address, &ops, scene, &second) < 0);
	assert_null(second);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_init, scene_fini)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_command_is_answered),
		TEST(a_reload_is_reported_also_when_its_texts_are_no_utf8),
		TEST(a_long_answer_reaches_a_slow_reader),
		TEST(who_asks_while_a_status_is_made_gets_one_too),
		TEST(a_status_that_is_being_made_is_not_left_behind),
		TEST(a_request_that_never_ends_is_refused_at_its_limit),
		TEST(more_clients_than_places_are_told_so),
		TEST(clients_that_are_there_at_the_end_are_closed),
		TEST(the_path_is_ours_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
