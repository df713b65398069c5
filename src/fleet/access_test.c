#include "fleet/access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static const uid_t alice = 70001, bob = 70002;
static const gid_t staff = 80001;
static const char *const field[] = {"0*"}, *const ssh_only[] = {"ssh"};
static const struct access_rule rules[] = {
	{.devices = field, .device_count = 1, .uids = &alice, .uid_count = 1},
	{.services = ssh_only, .service_count = 1, .gids = &staff, .gid_count = 1},
};

static bool may(uid_t uid, gid_t gid, const char *device, const char *service)
{
	struct access_peer peer = {.uid = uid, .gid = 90000, .groups = {gid}, .group_count = 1};
	return access_allows(rules, COUNT_OF(rules), &peer, device, service);
}

static void a_user_reaches_what_his_rule_names(void **state)
{
	(void)state;
	assert_true(may(alice, 1, "011", ""));
	assert_true(may(alice, 1, "011", "vnc"));
	assert_false(may(alice, 1, "x11", ""));
	assert_false(may(bob, 1, "011", ""));
}

static void a_member_of_a_group_reaches_what_its_rule_names(void **state)
{
	(void)state;
	assert_true(may(bob, staff, "x11", "ssh"));
	assert_false(may(bob, staff, "x11", "vnc"));
	assert_false(may(bob, staff, "x11", ""));
}

static void root_and_the_own_user_always_may(void **state)
{
	(void)state;
	assert_true(may(0, 1, "x", "y"));
	assert_true(may(geteuid(), 1, "x", "y"));
}

static void without_rules_everybody_may(void **state)
{
	struct access_peer peer = {.uid = bob};
	(void)state;
	assert_true(access_allows(NULL, 0, &peer, "011", ""));
}

static void the_kernel_says_who_has_connected(void **state)
{
	int pair[2];
	struct access_peer peer;
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_true(access_ask(pair[0], &peer));
	assert_int_equal(peer.uid, geteuid());
	assert_int_equal(peer.pid, getpid());
	close(pair[0]);
	close(pair[1]);
	assert_false(access_ask(-1, &peer));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_user_reaches_what_his_rule_names),
		cmocka_unit_test(a_member_of_a_group_reaches_what_its_rule_names),
		cmocka_unit_test(root_and_the_own_user_always_may),
		cmocka_unit_test(without_rules_everybody_may),
		cmocka_unit_test(the_kernel_says_who_has_connected),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
