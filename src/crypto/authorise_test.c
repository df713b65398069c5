#include "crypto/authorise.h"

#include "crypto/forge.h"
#include "crypto/pin.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static int start(void **state)
{
	(void)state;
	forge_start();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	forge_stop();
	return 0;
}

static bool allows(const char *pattern, X509 *certificate)
{
	struct authorise *authorise = NULL;
	char problem[AUTHORISE_PROBLEM_BYTES];
	if (authorise_new(&pattern, 1, &authorise, problem) != 0)
		fail_msg("%s", problem);
	bool allowed = authorise_allows(authorise, certificate);
	authorise_unref(&authorise);
	return allowed;
}

static void expect(const char *names, const char *pattern, bool wanted)
{
	X509 *certificate = forge(&(struct forgery){.common_name = "Web Front", .names = names});
	if (allows(pattern, certificate) != wanted)
		fail_msg("%s and %s: %d", pattern, names ? names : "no names", !wanted);
	X509_free(certificate);
}

static void each_kind_of_pattern_looks_at_its_kind_of_name(void **state)
{
	(void)state;
	const char *names = "DNS:web.svc.example,URI:spiffe://corp/ns/prod/sa/web";
	expect(names, "cn:Web Front", true);
	expect(names, "CN=web front", true);
	expect(names, "cn:web*", true);
	expect(names, "cn:web.svc.example", false);
	expect(names, "dns:web.svc.example", true);
	expect(names, "DNS:WEB.svc.Example", true);
	expect(names, "dns:Web", false);
	expect(names, "uri:spiffe://corp/ns/prod/sa/web", true);
	expect(names, "uri:web.svc.example:1", false);
	expect(names, "web.svc.example", true);
	expect(names, "spiffe://corp/*", true);
	expect(names, "Web Front", true);
	expect(names, "other", false);
	expect(NULL, "dns:web.svc.example", false);
	expect("IP:10.0.0.1,email:a@b.example", "*a@b.example*", false);
}

static void star_in_a_dns_pattern_is_one_whole_label(void **state)
{
	(void)state;
	expect("DNS:web.svc.example", "dns:*.svc.example", true);
	expect("DNS:web.svc.example", "dns:web.*.example", true);
	expect("DNS:web.svc.example", "dns:*.*.example", true);
	expect("DNS:web.svc.example", "dns:*.example", false);
	expect("DNS:svc.example", "dns:*.svc.example", false);
	expect("DNS:a.b.svc.example", "dns:*.svc.example", false);
	expect("DNS:web.svc.example.evil.example", "dns:*.svc.example", false);
	// A certificate for every name is not one for a name.
	expect("DNS:*.svc.example", "dns:*.svc.example", false);
	expect("DNS:a@b.svc.example", "dns:*.svc.example", false);
}

static void star_in_a_uri_pattern_stays_within_its_segment(void **state)
{
	(void)state;
	const char *pattern = "uri:spiffe://corp/ns/*/sa/web";
	expect("URI:spiffe://corp/ns/prod/sa/web", pattern, true);
	expect("URI:SPIFFE://CORP/ns/prod/sa/web", pattern, true);
	expect("URI:spiffe://corp/ns/prod/sa/WEB", pattern, false);
	expect("URI:spiffe://corp/ns/a/b/sa/web", pattern, false);
	expect("URI:spiffe://corp/ns/prod/sa/web/x", pattern, false);
	expect("URI:spiffe://corp/ns/prod/sa", pattern, false);
	expect("URI:spiffe://corp/ns//sa/web", pattern, false);
	expect("URI:spiffe://corp/ns/../sa/web", pattern, false);
	expect("URI:spiffe://corp/ns/./sa/web", pattern, false);
	expect("URI:spiffe://corp.evil/ns/prod/sa/web", pattern, false);
	expect("URI:spiffe://evil/corp/ns/prod/sa/web", pattern, false);
	expect("URI:spiffe://corp/ns/team-a/sa/web", "uri:spiffe://corp/ns/team-*/sa/*", true);
	expect("URI:spiffe://corp/ns/other/sa/web", "uri:spiffe://corp/ns/team-*/sa/*", false);
	expect("URI:urn:uuid:1", "uri:urn:uuid:1", true);
	expect("URI:urn:uuid:12", "uri:urn:uuid:1", false);
}

static void key_is_told_by_its_hash(void **state)
{
	(void)state;
	uint8_t pin[PIN_BYTES];
	char pattern[80] = "spki:";
	X509 *certificate = forge(&(struct forgery){.common_name = "x"});
	assert_int_equal(pin_of(certificate, pin), 0);
	for (size_t i = 0; i < sizeof pin; i++)
		snprintf(pattern + 5 + 2 * i, 3, "%02x", pin[i]);
	assert_true(allows(pattern, certificate));
	pattern[5] = pattern[5] == '0' ? '1' : '0';
	assert_false(allows(pattern, certificate));
	X509_free(certificate);
}

static void name_with_a_nul_inside_matches_nothing(void **state)
{
	(void)state;
	static const char inside[] = "web.example\0.evil.example";
	X509 *certificate = forge(&(struct forgery){.common_name = inside,
	                                            .common_name_length = sizeof inside - 1,
	                                            .raw_names = forge_name(GEN_DNS, inside, sizeof inside - 1)});
	assert_false(allows("web.example", certificate));
	assert_false(allows("*", certificate));
	assert_false(allows("dns:web.example", certificate));
	assert_false(allows("cn:web.example*", certificate));
	X509_free(certificate);
	certificate = forge(
		&(struct forgery){.common_name = "x",
	                      .raw_names = forge_name(GEN_URI, "spiffe://corp/a\0b", sizeof "spiffe://corp/a\0b" - 1)});
	assert_false(allows("uri:spiffe://corp/*", certificate));
	X509_free(certificate);
}

static void list_lets_in_whom_one_of_it_matches_and_no_list_everybody(void **state)
{
	(void)state;
	const char *patterns[] = {"cn:nobody", "dns:a.example", "uri:spiffe://corp/a"};
	struct authorise *authorise = NULL, *empty = NULL;
	char problem[AUTHORISE_PROBLEM_BYTES];
	X509 *one = forge(&(struct forgery){.common_name = "x", .names = "DNS:a.example"});
	X509 *other = forge(&(struct forgery){.common_name = "x", .names = "DNS:b.example"});
	assert_int_equal(authorise_new(patterns, 3, &authorise, problem), 0);
	assert_int_equal(authorise_new(NULL, 0, &empty, problem), 0);
	struct authorise *second = authorise_ref(authorise);
	authorise_unref(&authorise);
	assert_true(authorise_allows(second, one));
	assert_false(authorise_allows(second, other));
	assert_true(authorise_allows(empty, other));
	assert_true(authorise_allows(NULL, other));
	authorise_unref(&second);
	authorise_unref(&empty);
	X509_free(one);
	X509_free(other);
}

static void pattern_that_cannot_be_meant_is_refused_with_a_reason(void **state)
{
	(void)state;
	static const struct {
		const char *pattern, *why;
	} cases[] = {
		{"", "empty"},
		{"cn:", "empty"},
		{"dns:", "empty"},
		{"a\nb", "control character"},
		{"dns:*", "every DNS name"},
		{"dns:*.*", "every DNS name"},
		{"dns:w*.example", "whole label"},
		{"dns:a..example", "empty label"},
		{"dns:a.example.", "empty label"},
		{"dns:a b.example", "letters, digits"},
		{"uri:spiffe://*/ns", "scheme or trust domain"},
		{"uri:*://corp/ns", "scheme or trust domain"},
		{"uri:spiffe://corp/**", "one segment"},
		{"uri:urn:*", "scheme or trust domain"},
		{"uri:path/only", "has a scheme"},
		{"uri:path/*", "scheme and authority"},
		{"spki:12", "64 hexadecimal"},
		{"spki:zz", "64 hexadecimal"},
	};
	char problem[AUTHORISE_PROBLEM_BYTES];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(authorise_check(cases[i].pattern, problem), AUTHORISE_REFUSED);
		if (!strstr(problem, cases[i].why))
			fail_msg("%s", problem);
	}
	const char *list[] = {"good.example", "dns:*"};
	struct authorise *authorise = NULL;
	assert_int_equal(authorise_new(list, 2, &authorise, problem), AUTHORISE_REFUSED);
	assert_null(authorise);
	assert_int_equal(authorise_check("good.example", problem), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_of_pattern_looks_at_its_kind_of_name),
		cmocka_unit_test(star_in_a_dns_pattern_is_one_whole_label),
		cmocka_unit_test(star_in_a_uri_pattern_stays_within_its_segment),
		cmocka_unit_test(key_is_told_by_its_hash),
		cmocka_unit_test(name_with_a_nul_inside_matches_nothing),
		cmocka_unit_test(list_lets_in_whom_one_of_it_matches_and_no_list_everybody),
		cmocka_unit_test(pattern_that_cannot_be_meant_is_refused_with_a_reason),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
