#include "fleet/door.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

struct room {
	char path[64];
	struct loop *loop;
	struct doors *doors;
	int accepted;
};

static void on_accept(void *owner, int fd)
{
	struct room *room = owner;
	room->accepted++;
	close(fd);
	loop_stop(room->loop);
}

static int setup(void **state)
{
	static struct room room;
	char problem[DOORS_PROBLEM_BYTES] = "";
	room = (struct room){.path = "/tmp/door-test-XXXXXX"};
	if (!mkdtemp(room.path) || loop_new(&room.loop) != 0)
		return -1;
	struct doors_settings settings = {
		.loop = room.loop, .path = room.path, .mode = 0620, .uid = (uid_t)-1, .gid = (gid_t)-1, .on_accept = on_accept};
	*state = &room;
	return doors_new(&settings, &room.doors, problem);
}

static int teardown(void **state)
{
	struct room *room = *state;
	char command[128];
	doors_free(&room->doors);
	loop_free(&room->loop);
	snprintf(command, sizeof command, "rm -rf %s", room->path);
	return system(command);
}

static const char *path_of(const struct room *room, const char *name)
{
	static char path[300];
	snprintf(path, sizeof path, "%.63s/%.180s", room->path, name);
	return path;
}

static int dial(const struct room *room, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%.100s", path_of(room, name));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		close(fd);
		return -errno;
	}
	return fd;
}

static void a_socket_has_its_mode_and_is_answered(void **state)
{
	struct room *room = *state;
	struct door *door = NULL;
	struct stat seen;
	assert_int_equal(door_open(room->doors, "011.sock", room, &door), 0);
	assert_int_equal(lstat(path_of(room, "011.sock"), &seen), 0);
	assert_true(S_ISSOCK(seen.st_mode));
	assert_int_equal(seen.st_mode & 07777, 0620);
	int fd = dial(room, "011.sock");
	assert_true(fd >= 0);
	assert_int_equal(loop_run(room->loop), 0);
	assert_int_equal(room->accepted, 1);
	close(fd);
	door_close(&door);
	assert_int_equal(lstat(path_of(room, "011.sock"), &seen), -1);
}

static void what_is_not_ours_stays(void **state)
{
	struct room *room = *state;
	struct door *door = NULL;
	struct stat seen;
	close(open(path_of(room, "file.sock"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(door_open(room->doors, "file.sock", room, &door), DOOR_TAKEN);
	assert_int_equal(lstat(path_of(room, "file.sock"), &seen), 0);
	assert_true(S_ISREG(seen.st_mode));
	assert_int_equal(symlink("/etc/passwd", path_of(room, "link.sock")), 0);
	assert_int_equal(door_open(room->doors, "link.sock", room, &door), DOOR_TAKEN);
	assert_int_equal(lstat(path_of(room, "link.sock"), &seen), 0);
	assert_true(S_ISLNK(seen.st_mode));
	assert_null(door);
}

static void a_socket_that_is_answered_stays(void **state)
{
	struct room *room = *state;
	struct door *first = NULL, *second = NULL;
	assert_int_equal(door_open(room->doors, "x.sock", room, &first), 0);
	assert_int_equal(door_open(room->doors, "x.sock", room, &second), DOOR_TAKEN);
	int fd = dial(room, "x.sock");
	assert_true(fd >= 0);
	close(fd);
	door_close(&first);
}

static void a_socket_that_a_killed_hub_left_is_replaced(void **state)
{
	struct room *room = *state;
	struct door *door = NULL;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%.100s", path_of(room, "y.sock"));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	close(fd);
	assert_int_equal(door_open(room->doors, "y.sock", room, &door), 0);
	door_close(&door);
}

static void a_name_that_was_replaced_is_not_removed(void **state)
{
	struct room *room = *state;
	struct door *door = NULL;
	struct stat seen;
	assert_int_equal(door_open(room->doors, "z.sock", room, &door), 0);
	assert_int_equal(unlink(path_of(room, "z.sock")), 0);
	close(open(path_of(room, "z.sock"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	door_close(&door);
	assert_int_equal(lstat(path_of(room, "z.sock"), &seen), 0);
}

static void the_longest_names_have_a_socket_too(void **state)
{
	struct room *room = *state;
	struct door *door = NULL;
	struct stat seen;
	char name[200];
	memset(name, 'a', 129);
	snprintf(name + 129, sizeof name - 129, ".sock");
	assert_int_equal(door_open(room->doors, name, room, &door), 0);
	assert_int_equal(lstat(path_of(room, name), &seen), 0);
	door_close(&door);
}

static void two_hubs_do_not_share_a_folder(void **state)
{
	struct room *room = *state;
	struct doors *other = NULL;
	char problem[DOORS_PROBLEM_BYTES] = "";
	struct doors_settings settings = {.loop = room->loop, .path = room->path, .mode = 0600, .on_accept = on_accept};
	assert_int_equal(doors_new(&settings, &other, problem), DOORS_REFUSED);
	assert_non_null(strstr(problem, "another hub"));
	settings.path = "/nonexistent";
	assert_int_equal(doors_new(&settings, &other, problem), DOORS_REFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_socket_has_its_mode_and_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_ours_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(a_socket_that_is_answered_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(a_socket_that_a_killed_hub_left_is_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(a_name_that_was_replaced_is_not_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(the_longest_names_have_a_socket_too, setup, teardown),
		cmocka_unit_test_setup_teardown(two_hubs_do_not_share_a_folder, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
