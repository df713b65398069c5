#include "wire/tls_probe.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/err.h>

static void every_group_and_signature_of_links_works(void **state)
{
	struct findings findings = {0};

	(void)state;
	tls_probe(&findings);
	assert_int_equal(findings.count, 9);
	for (size_t i = 0; i < findings.count; i++)
		if (findings.items[i].severity != FINDING_OK)
			fail_msg("%s: %s", findings.items[i].subject, findings.items[i].text);
	assert_int_equal(ERR_peek_error(), 0);
	finding_fini(&findings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_group_and_signature_of_links_works),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
