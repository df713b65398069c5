#include "net/socket_probe.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void each_subject_is_told_once_and_no_descriptor_is_left(void **state)
{
	static const char *const subjects[] = {"IPv4 loopback", "IPv6 loopback",          "congestion control",
	                                       "kernel TLS",    "UDP segmentation (GSO)", "UDP coalescing (GRO)"};
	struct findings findings = {0};
	int before = dup(0), after;

	(void)state;
	close(before);
	socket_probe(&findings);
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
	assert_int_equal(findings.count, COUNT_OF(subjects));
	for (size_t i = 0; i < findings.count; i++)
		assert_string_equal(findings.items[i].subject, subjects[i]);
	assert_int_equal(findings.items[0].severity, FINDING_OK);
	finding_fini(&findings);
}

static void without_descriptors_it_says_so(void **state)
{
	struct findings findings = {0};
	struct rlimit before, none = {0};

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	socket_probe(&findings);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(findings.items[0].severity, FINDING_ERROR);
	assert_non_null(strstr(findings.items[0].text, "too many open files"));
	finding_fini(&findings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_subject_is_told_once_and_no_descriptor_is_left),
		cmocka_unit_test(without_descriptors_it_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
