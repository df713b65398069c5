#include "cmd/hub_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "crypto/certificate_rig.h"

static struct hub_policy *make(struct config *config)
{
	struct hub_policy *policy = NULL;
	char problem[HUB_POLICY_PROBLEM_BYTES];
	if (!config->hub.socket_mode)
		config->hub.socket_mode = (char *)"0660";
	assert_int_equal(hub_policy_new(config, &policy, problem), 0);
	return policy;
}

static enum control_reason name_of(const struct hub_policy *policy, X509 *certificate, const char *claims,
                                   char name[NAMING_BYTES])
{
	struct link_peer peer = {.x509 = certificate, .device = claims, .certificate.fingerprint = "ab12"};
	char text[LIMIT_REASON_BYTES + 1];
	return hub_policy_name(policy, &peer, name, text);
}

static void a_name_is_the_certificates_whatever_is_claimed(void **state)
{
	(void)state;
	struct config config = {0};
	struct hub_policy *policy = make(&config);
	X509 *certificate = certificate_rig_make("011", NULL), *both = certificate_rig_make("x", "DNS:a,DNS:b");
	char name[NAMING_BYTES];
	assert_int_equal(name_of(policy, certificate, "", name), CONTROL_REASON_NONE);
	assert_string_equal(name, "011");
	assert_int_equal(name_of(policy, certificate, "011", name), CONTROL_REASON_NONE);
	assert_int_equal(name_of(policy, certificate, "012", name), CONTROL_REASON_PEER_POLICY);
	assert_int_equal(name_of(policy, both, "", name), CONTROL_REASON_PEER_POLICY); // which one?
	assert_int_equal(name_of(policy, both, "b", name), CONTROL_REASON_NONE);
	assert_string_equal(name, "b");
	assert_int_equal(name_of(policy, both, "x", name), CONTROL_REASON_PEER_POLICY); // an earlier rule has decided
	certificate_rig_free(certificate);
	certificate_rig_free(both);
	hub_policy_free(&policy);
}

static void no_name_leads_out_of_the_folder(void **state)
{
	(void)state;
	struct config config = {0}, claimed = {.hub.identity = CONFIG_HUB_CLAIMED};
	struct hub_policy *policy = make(&config), *trusting = make(&claimed);
	static const char *const bad[] = {"../../etc/cron.d/x", "a/b",   ".hidden", "", " ", "-rf", "a\n",
	                                  "\xef\xbc\x8fx",      "%2e%2e"};
	char name[NAMING_BYTES];
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		X509 *certificate = certificate_rig_make(*bad[i] ? bad[i] : "?", NULL);
		if (name_of(policy, certificate, "", name) == CONTROL_REASON_NONE)
			fail_msg("\"%s\" is a name", bad[i]);
		if (name_of(trusting, certificate, bad[i], name) == CONTROL_REASON_NONE)
			fail_msg("\"%s\" can be claimed", bad[i]);
		certificate_rig_free(certificate);
	}
	hub_policy_free(&policy);
	hub_policy_free(&trusting);
}

static void a_claimed_name_needs_no_certificate_of_that_name(void **state)
{
	(void)state;
	struct config config = {.hub.identity = CONFIG_HUB_CLAIMED};
	struct hub_policy *policy = make(&config);
	X509 *certificate = certificate_rig_make("fleet", NULL);
	char name[NAMING_BYTES];
	assert_int_equal(name_of(policy, certificate, "011", name), CONTROL_REASON_NONE);
	assert_string_equal(name, "011");
	assert_int_equal(name_of(policy, certificate, "", name), CONTROL_REASON_PEER_POLICY);
	certificate_rig_free(certificate);
	hub_policy_free(&policy);
}

static void a_name_that_is_another_sockets_is_refused(void **state)
{
	(void)state;
	char *services[] = {(char *)"ssh"};
	struct config config = {.hub = {.services = services, .service_count = 1}};
	struct hub_policy *policy = make(&config);
	X509 *clash = certificate_rig_make("011.ssh", NULL), *fine = certificate_rig_make("011.sshd", NULL);
	X509 *whole = certificate_rig_make("ssh", NULL);
	char name[NAMING_BYTES];
	assert_int_equal(name_of(policy, clash, "", name), CONTROL_REASON_PEER_POLICY);
	assert_int_equal(name_of(policy, fine, "", name), CONTROL_REASON_NONE);
	assert_int_equal(name_of(policy, whole, "", name), CONTROL_REASON_NONE);
	certificate_rig_free(clash);
	certificate_rig_free(fine);
	certificate_rig_free(whole);
	hub_policy_free(&policy);
}

static void whoever_is_on_the_list_is_denied(void **state)
{
	(void)state;
	char path[] = "/tmp/hub-policy-test-XXXXXX";
	FILE *file = fdopen(mkstemp(path), "w");
	assert_non_null(file);
	fputs("# stolen\n\n011\n\t  02*  # a batch\r\nAB12\nlast", file);
	fclose(file);
	struct config config = {.hub.deny_path = path};
	struct hub_policy *policy = make(&config);
	assert_int_equal(policy->denied_count, 4);
	assert_true(hub_policy_denies(policy, "011", ""));
	assert_false(hub_policy_denies(policy, "0111", ""));
	assert_true(hub_policy_denies(policy, "0211", ""));
	assert_true(hub_policy_denies(policy, "last", ""));
	assert_true(hub_policy_denies(policy, "any", "ab12"));
	assert_false(hub_policy_denies(policy, "any", "ab13"));
	assert_false(hub_policy_denies(policy, "# stolen", ""));
	X509 *certificate = certificate_rig_make("011", NULL), *by_print = certificate_rig_make("099", NULL);
	char name[NAMING_BYTES];
	assert_int_equal(name_of(policy, certificate, "", name), CONTROL_REASON_REVOKED);
	assert_int_equal(name_of(policy, by_print, "", name), CONTROL_REASON_REVOKED);
	certificate_rig_free(certificate);
	certificate_rig_free(by_print);
	hub_policy_free(&policy);
	unlink(path);
}

static void what_cannot_be_read_or_is_not_known_is_refused(void **state)
{
	(void)state;
	struct hub_policy *policy = NULL;
	char problem[HUB_POLICY_PROBLEM_BYTES];
	struct config missing = {.hub = {.socket_mode = (char *)"0660", .deny_path = (char *)"/nowhere/deny"}};
	assert_true(hub_policy_new(&missing, &policy, problem) < 0);
	assert_null(policy);
	assert_non_null(strstr(problem, "hub.deny_path: /nowhere/deny"));
	struct config nobody = {.hub = {.socket_mode = (char *)"0660", .socket_group = (char *)"no-such-group-here"}};
	assert_true(hub_policy_new(&nobody, &policy, problem) < 0);
	assert_null(policy);
}

static void rules_of_access_are_copied_with_numbers_for_names(void **state)
{
	(void)state;
	char *users[] = {(char *)"root", (char *)"65533"}, *devices[] = {(char *)"01*"};
	struct config_hub_access rule = {.users = users, .user_count = 2, .devices = devices, .device_count = 1};
	struct config config = {.hub = {.access = &rule, .access_count = 1, .socket_mode = (char *)"0600"}};
	struct hub_policy *policy = make(&config);
	assert_int_equal(policy->mode, 0600);
	assert_int_equal(policy->access_count, 1);
	assert_int_equal(policy->access[0].uids[0], 0);
	assert_int_equal(policy->access[0].uids[1], 65533);
	struct access_peer peer = {.uid = 65533, .gid = 65533};
	assert_true(access_allows(policy->access, 1, &peer, "011", "default"));
	assert_false(access_allows(policy->access, 1, &peer, "021", "default"));
	peer.uid = 65532;
	assert_false(access_allows(policy->access, 1, &peer, "011", "default"));
	hub_policy_free(&policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_the_certificates_whatever_is_claimed),
		cmocka_unit_test(no_name_leads_out_of_the_folder),
		cmocka_unit_test(a_claimed_name_needs_no_certificate_of_that_name),
		cmocka_unit_test(a_name_that_is_another_sockets_is_refused),
		cmocka_unit_test(whoever_is_on_the_list_is_denied),
		cmocka_unit_test(what_cannot_be_read_or_is_not_known_is_refused),
		cmocka_unit_test(rules_of_access_are_copied_with_numbers_for_names),
	};
	return cmocka_run_group_tests_name("hub_policy", tests, NULL, NULL);
}
