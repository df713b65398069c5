#include "crypto/selftest.h"

#include "core/secret.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static void every_algorithm_works_on_this_machine(void **state)
{
	struct findings findings = {0};

	(void)state;
	assert_int_equal(secret_start(), 0);
	selftest_kems(&findings);
	assert_int_equal(findings.count, 3);
	selftest_signatures(&findings);
	assert_int_equal(findings.count, 7);
	for (size_t i = 0; i < findings.count; i++)
		if (findings.items[i].severity != FINDING_OK)
			fail_msg("%s: %s", findings.items[i].subject, findings.items[i].text);
	finding_fini(&findings);
}

static void the_library_is_named(void **state)
{
	struct findings findings = {0};

	(void)state;
	selftest_library(&findings);
	assert_int_equal(findings.count, 2);
	assert_non_null(strstr(findings.items[0].text, "OpenSSL 3."));
	assert_string_equal(findings.items[1].subject, "oqs-provider");
	finding_fini(&findings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_algorithm_works_on_this_machine),
		cmocka_unit_test(the_library_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
