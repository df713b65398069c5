#include "config/validate_hub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "config/load_test.h"
#include "limits.h"

#define GOOD_HUB "hub.listen_port=1\nhub.directory='d'\n" AUTH_OF_DEST

static void a_hub_has_defaults_that_let_nobody_in_who_should_not(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_HUB, GOOD_HUB));
	const struct config_of_hub *hub = &load.config->hub;
	assert_string_equal(hub->socket_mode, "0660");
	assert_int_equal(hub->identity, CONFIG_HUB_CERTIFICATE);
	assert_int_equal(hub->takeover, CONFIG_HUB_SAME_KEY);
	assert_int_equal(hub->offline, CONFIG_HUB_REMOVE);
	assert_int_equal(hub->max_devices, 10000);
	assert_int_equal(hub->max_claims_per_key, 1000);
	assert_int_equal(hub->max_channels_per_device, 256);
	assert_int_equal(hub->access_count, 0);
	load_fini(&load);
}

static void a_mode_is_three_octal_digits(void **state)
{
	(void)state;
	static const char *const good[] = {"660", "0660", "0600", "0777"}, *const bad[] = {"",          "66",   "0668",
	                                                                                   "rw-rw----", "1660", "06600",
	                                                                                   "-660"};
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct load load;
		char text[512];
		snprintf(text, sizeof text, "hub.socket_mode='%s'\n" GOOD_HUB, good[i]);
		assert_good(&load, load_text(&load, CONFIG_HUB, text));
		load_fini(&load);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct load load;
		char text[512];
		snprintf(text, sizeof text, "hub.socket_mode='%s'\n" GOOD_HUB, bad[i]);
		if (load_text(&load, CONFIG_HUB, text) != CONFIG_BAD)
			fail_msg("mode \"%s\" was taken", bad[i]);
		assert_said(&load.problems, "hub.socket_mode: ");
		load_fini(&load);
	}
}

static void services_become_file_names(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_HUB, "hub.services=['vnc','a.b_c-9']\n" GOOD_HUB));
	load_fini(&load);
	assert_refused(CONFIG_HUB, "hub.services=['../x']\n" GOOD_HUB, "hub.services: \"../x\": a name has letters");
	assert_refused(CONFIG_HUB, "hub.services=['.hidden']\n" GOOD_HUB, "hub.services: \".hidden\": a name has");
	assert_refused(CONFIG_HUB, "hub.services=['a b']\n" GOOD_HUB, "hub.services: \"a b\": a name has");
	assert_refused(CONFIG_HUB, "hub.services=['vnc','vnc']\n" GOOD_HUB, "hub.services: \"vnc\" is listed twice\n");
	char text[1024] = "hub.services=[";
	for (int i = 0; i <= LIMIT_DEVICE_SERVICES; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "'s%d',", i);
	strcat(text, "]\n" GOOD_HUB);
	assert_refused(CONFIG_HUB, text, "services can have a socket of their own\n");
}

static void rules_for_names_are_judged_before_the_start(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_HUB, "hub.name_rules=['CN=*','DNS:*.robots.example']\n" GOOD_HUB));
	load_fini(&load);
	assert_refused(CONFIG_HUB, "hub.name_rules=['CN=robot']\n" GOOD_HUB, "hub.name_rules: \"CN=robot\": ");
	assert_refused(CONFIG_HUB, "hub.name_rules=['*']\n" GOOD_HUB, "hub.name_rules: \"*\": ");
}

static void as_many_devices_as_a_process_has_links_for(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_HUB, "hub.max_devices=10000\n" GOOD_HUB));
	assert_int_equal(load.config->hub.max_devices, LIMIT_LINKS);
	load_fini(&load);
	assert_refused(CONFIG_HUB, "hub.max_devices=10001\n" GOOD_HUB, "hub.max_devices");
}

static void claimed_names_need_a_file_that_keeps_them(void **state)
{
	(void)state;
	struct load load;
	assert_refused(CONFIG_HUB, "hub.identity='claimed'\n" GOOD_HUB, "hub.claims_path: required with identity = ");
	assert_good(&load, load_text(&load, CONFIG_HUB, "hub.identity='claimed'\nhub.claims_path='c'\n" GOOD_HUB));
	load_fini(&load);
	assert_refused(CONFIG_HUB, "hub.max_claims_per_key=0\n" GOOD_HUB, "hub.max_claims_per_key");
	assert_refused(CONFIG_HUB, "hub.max_claims_per_key=65537\n" GOOD_HUB, "hub.max_claims_per_key");
}

static void a_rule_of_access_lets_somebody_in(void **state)
{
	(void)state;
	struct load load;
	assert_good(&load, load_text(&load, CONFIG_HUB, GOOD_HUB "[[hub.access]]\ngroups=['support']\ndevices=['0*']\n"));
	assert_int_equal(load.config->hub.access_count, 1);
	load_fini(&load);
	assert_refused(CONFIG_HUB, GOOD_HUB "[[hub.access]]\ndevices=['0*']\n",
	               "hub.access: a rule needs users or groups that it lets in\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hub_has_defaults_that_let_nobody_in_who_should_not),
		cmocka_unit_test(a_mode_is_three_octal_digits),
		cmocka_unit_test(services_become_file_names),
		cmocka_unit_test(rules_for_names_are_judged_before_the_start),
		cmocka_unit_test(as_many_devices_as_a_process_has_links_for),
		cmocka_unit_test(claimed_names_need_a_file_that_keeps_them),
		cmocka_unit_test(a_rule_of_access_lets_somebody_in),
	};
	return cmocka_run_group_tests_name("validate_hub", tests, NULL, NULL);
}
