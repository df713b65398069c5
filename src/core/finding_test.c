#include "core/finding.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static void the_worst_finding_counts(void **state)
{
	struct findings findings = {0};

	(void)state;
	assert_int_equal(finding_worst(&findings), FINDING_OK);
	finding_add(&findings, FINDING_NOTE, "a", NULL, "is %d", 1);
	finding_add(&findings, FINDING_WARNING, "b", "do it", "is %s", "two");
	finding_add(&findings, FINDING_OK, "c", NULL, "three");
	assert_int_equal(finding_worst(&findings), FINDING_WARNING);
	assert_int_equal(findings.count, 3);
	assert_string_equal(findings.items[0].text, "is 1");
	assert_string_equal(findings.items[0].advice, "");
	assert_string_equal(findings.items[1].advice, "do it");
	finding_fini(&findings);
	finding_fini(&findings);
	assert_int_equal(findings.count, 0);
}

static void long_texts_are_cut(void **state)
{
	struct findings findings = {0};
	char text[2000];

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = 0;
	finding_add(&findings, FINDING_ERROR, "long", text, "%s", text);
	assert_int_equal(strlen(findings.items[0].text), sizeof findings.items[0].text - 1);
	assert_int_equal(strlen(findings.items[0].advice), sizeof findings.items[0].advice - 1);
	finding_fini(&findings);
}

static void severities_have_words(void **state)
{
	(void)state;
	assert_string_equal(finding_severity_name(FINDING_OK), "ok");
	assert_string_equal(finding_severity_name(FINDING_ERROR), "error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_worst_finding_counts),
		cmocka_unit_test(long_texts_are_cut),
		cmocka_unit_test(severities_have_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
