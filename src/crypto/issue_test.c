#include "crypto/issue.h"

#include "crypto/identity.h"
#include "crypto/inspect.h"
#include "crypto/issue_name.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[64];

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-issue-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	return chdir(folder);
}

static int stop(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return chdir("/") == 0 ? system(command) : -1;
}

static void issue(const struct issue_request *request)
{
	char problem[ISSUE_PROBLEM_BYTES] = "";

	if (issue_certificate(request, problem) != 0)
		fail_msg("refused: %s", problem);
	assert_int_equal(ERR_peek_error(), 0);
}

// Refused with the word in the text, and neither file is there.
static void expect_refused(const struct issue_request *request, const char *word)
{
	char problem[ISSUE_PROBLEM_BYTES] = "";

	assert_int_equal(issue_certificate(request, problem), ISSUE_REFUSED);
	if (!strstr(problem, word))
		fail_msg("'%s' is not in: %s", word, problem);
	assert_int_equal(access("x.crt", F_OK), -1);
	assert_int_equal(access("x.key", F_OK), -1);
	assert_int_equal(ERR_peek_error(), 0);
}

static struct issue_request ca_request(enum issue_key key)
{
	return (struct issue_request){.kind = ISSUE_CA,
	                              .key = key,
	                              .common_name = "test CA",
	                              .validity_days = 30,
	                              .out_cert_path = "ca.crt",
	                              .out_key_path = "ca.key",
	                              .force = true};
}

static struct issue_request leaf_request(enum issue_kind kind, const char *common_name)
{
	return (struct issue_request){.kind = kind,
	                              .common_name = common_name,
	                              .validity_days = 10,
	                              .ca_cert_path = "ca.crt",
	                              .ca_key_path = "ca.key",
	                              .out_cert_path = "x.crt",
	                              .out_key_path = "x.key"};
}

static void make_ca(enum issue_key key)
{
	struct issue_request request = ca_request(key);
	issue(&request);
}

static void describe(const char *path, struct inspect_details *details)
{
	struct inspect_details *list = NULL;
	char problem[INSPECT_PROBLEM_BYTES];
	size_t count = 0;

	assert_int_equal(inspect_file(path, &list, &count, problem), 0);
	assert_int_equal(count, 1);
	*details = list[0];
	free(list);
}

static void remove_leaf(void)
{
	assert_int_equal(unlink("x.crt"), 0);
	assert_int_equal(unlink("x.key"), 0);
}

static void key_names_and_words_belong_together(void **state)
{
	enum issue_key key = ISSUE_KEY_P256;

	(void)state;
	for (int i = ISSUE_KEY_P256; i <= ISSUE_KEY_ML_DSA_87; i++) {
		assert_int_equal(issue_key_parse(issue_key_name((enum issue_key)i), &key), 0);
		assert_int_equal(key, i);
	}
	assert_int_equal(issue_key_parse("ML-DSA-65", &key), 0);
	assert_int_equal(issue_key_parse("rsa", &key), 1);
	assert_int_equal(issue_key_parse("", &key), 1);
}

static void every_leaf_algorithm_works_below_every_ca_algorithm(void **state)
{
	static const char *const types[] = {"P-256", "ED25519", "ML-DSA-65", "ML-DSA-87"};
	struct inspect_details details;

	(void)state;
	for (int ca = ISSUE_KEY_P256; ca <= ISSUE_KEY_ML_DSA_87; ca++) {
		make_ca((enum issue_key)ca);
		for (int leaf = ISSUE_KEY_P256; leaf <= ISSUE_KEY_ML_DSA_87; leaf++) {
			struct issue_request request = leaf_request(ISSUE_SERVER, "server.example.org");
			struct identity_files files = {.ca_path = "ca.crt",
			                               .cert_path = "x.crt",
			                               .key_path = "x.key",
			                               .usage = IDENTITY_SERVER};
			struct identity *identity = NULL;
			char problem[IDENTITY_PROBLEM_BYTES] = "";
			request.key = (enum issue_key)leaf;
			issue(&request);
			if (identity_load(&files, &identity, problem) != 0)
				fail_msg("%s below %s: %s", types[leaf], types[ca], problem);
			identity_unref(&identity);
			describe("x.crt", &details);
			assert_string_equal(details.text.key_type, types[leaf]);
			remove_leaf();
		}
	}
}

static void a_ca_may_sign_leaves_only(void **state)
{
	struct inspect_details details;

	(void)state;
	make_ca(ISSUE_KEY_P256);
	describe("ca.crt", &details);
	assert_true(details.is_ca);
	assert_int_equal(details.path_length, 0);
	assert_string_equal(details.text.subject, "CN=test CA, O=qanat");
	assert_string_equal(details.issuer, details.text.subject);
	assert_string_equal(details.key_usage, "Certificate Sign, CRL Sign");
	assert_string_equal(details.extended_key_usage, "");
	assert_string_equal(details.subject_key_identifier, details.authority_key_identifier);
	assert_int_equal(strlen(details.subject_key_identifier), 59);
	assert_true(details.text.not_before <= (int64_t)time(NULL) - 3600);
	assert_true(details.text.not_before > (int64_t)time(NULL) - 3700);
}

static void a_leaf_says_what_it_is_for(void **state)
{
	static const char *const dns[] = {"a.example.org", "*.b.example.org"};
	static const char *const ip[] = {"192.0.2.1", "2001:db8::1"};
	struct inspect_details ca, details;
	struct issue_request request = leaf_request(ISSUE_SERVER, "a server");

	(void)state;
	make_ca(ISSUE_KEY_ED25519);
	describe("ca.crt", &ca);
	request.dns_names = dns;
	request.dns_count = 2;
	request.ip_addresses = ip;
	request.ip_count = 2;
	issue(&request);
	describe("x.crt", &details);
	assert_false(details.is_ca);
	assert_string_equal(details.key_usage, "Digital Signature");
	assert_string_equal(details.extended_key_usage, "TLS Web Server Authentication");
	assert_string_equal(details.names, "DNS:a.example.org,DNS:*.b.example.org,IP:192.0.2.1,IP:2001:db8::1");
	assert_string_equal(details.authority_key_identifier, ca.subject_key_identifier);
	assert_string_equal(details.issuer, ca.text.subject);
	assert_string_not_equal(details.subject_key_identifier, ca.subject_key_identifier);
	assert_true(strlen(details.text.serial) >= 32);
	remove_leaf();

	request = leaf_request(ISSUE_CLIENT, "client1");
	issue(&request);
	describe("x.crt", &details);
	assert_string_equal(details.extended_key_usage, "TLS Web Client Authentication");
	assert_string_equal(details.names, "DNS:client1");
	remove_leaf();
	request.common_name = "someone with blanks";
	issue(&request);
	describe("x.crt", &details);
	assert_string_equal(details.names, "");
	remove_leaf();
}

static void a_server_without_names_is_known_by_its_common_name_or_refused(void **state)
{
	static const struct {
		const char *common_name, *names;
	} cases[] = {
		{"server.example.org", "DNS:server.example.org"},
		{"localhost", "DNS:localhost"},
		{"192.0.2.7", "IP:192.0.2.7"},
		{"2001:db8::7", "IP:2001:db8::7"},
		{"my server", NULL},
	};
	struct inspect_details details;

	(void)state;
	make_ca(ISSUE_KEY_P256);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct issue_request request = leaf_request(ISSUE_SERVER, cases[i].common_name);
		if (!cases[i].names) {
			expect_refused(&request, "--dns-names");
			continue;
		}
		issue(&request);
		describe("x.crt", &details);
		assert_string_equal(details.names, cases[i].names);
		remove_leaf();
	}
}

static void a_leaf_never_outlives_its_ca(void **state)
{
	struct inspect_details ca, details;
	struct issue_request request = leaf_request(ISSUE_CLIENT, "client");

	(void)state;
	make_ca(ISSUE_KEY_P256);
	describe("ca.crt", &ca);
	request.validity_days = ISSUE_MAX_DAYS;
	issue(&request);
	describe("x.crt", &details);
	assert_int_equal(details.text.not_after, ca.text.not_after);
	assert_true(details.text.not_before >= ca.text.not_before);
	remove_leaf();
}

static void a_century_is_the_longest_validity(void **state)
{
	struct issue_request request = ca_request(ISSUE_KEY_P256);
	struct inspect_details details;
	char problem[ISSUE_PROBLEM_BYTES];

	(void)state;
	request.validity_days = ISSUE_MAX_DAYS;
	issue(&request);
	describe("ca.crt", &details);
	assert_true(details.text.not_after > (int64_t)time(NULL) + 36499LL * 86400);
	request.validity_days = ISSUE_MAX_DAYS + 1;
	assert_int_equal(issue_certificate(&request, problem), ISSUE_REFUSED);
	request.validity_days = 0;
	assert_int_equal(issue_certificate(&request, problem), ISSUE_REFUSED);
}

static void names_that_cannot_be_right_are_refused(void **state)
{
	static const char *const bad_names[] = {
		"",        "a b",  "a..b",   ".a", "-a.b", "a_b", "a.*.b", "*", "*.com", "x*.a.b", "b\xc3\xbc.example",
		"a,DNS:b", "a\nb", "1.2.3.4"};
	static const char *const bad_addresses[] = {"", "1.2.3", "1.2.3.4.5", "[::1]", "::1%lo", "1.2.3.4/24", "localhost"};
	char long_name[80];

	(void)state;
	make_ca(ISSUE_KEY_P256);
	for (size_t i = 0; i < COUNT_OF(bad_names); i++) {
		struct issue_request request = leaf_request(ISSUE_SERVER, "x");
		request.dns_names = &bad_names[i];
		request.dns_count = 1;
		expect_refused(&request, "DNS name");
	}
	for (size_t i = 0; i < COUNT_OF(bad_addresses); i++) {
		struct issue_request request = leaf_request(ISSUE_SERVER, "x");
		request.ip_addresses = &bad_addresses[i];
		request.ip_count = 1;
		expect_refused(&request, "is not an IPv4 or IPv6 address");
	}
	struct issue_request request = leaf_request(ISSUE_CLIENT, "");
	expect_refused(&request, "common name");
	request.common_name = "a\nb";
	expect_refused(&request, "control character");
	request.common_name = "\xff";
	expect_refused(&request, "UTF-8");
	memset(long_name, 'a', 65);
	long_name[65] = 0;
	request.common_name = long_name;
	expect_refused(&request, "64 characters");
	long_name[64] = 0;
	issue(&request);
	remove_leaf();
	request.common_name = "test CA";
	expect_refused(&request, "is the CA's own");
}

static void what_is_no_ca_signs_nothing(void **state)
{
	struct issue_request request = leaf_request(ISSUE_CLIENT, "client");

	(void)state;
	make_ca(ISSUE_KEY_P256);
	issue(&request);
	assert_int_equal(rename("x.crt", "leaf.crt"), 0);
	assert_int_equal(rename("x.key", "leaf.key"), 0);
	request.common_name = "another";
	request.ca_cert_path = "leaf.crt";
	expect_refused(&request, "does not belong");
	request.ca_key_path = "leaf.key";
	expect_refused(&request, "is not a CA certificate");
	request = leaf_request(ISSUE_CLIENT, "client");
	assert_int_equal(chmod("ca.key", 0644), 0);
	expect_refused(&request, "chmod 600 ca.key");
	assert_int_equal(chmod("ca.key", 0600), 0);
}

static void the_files_of_the_ca_are_never_replaced(void **state)
{
	struct issue_request request = leaf_request(ISSUE_CLIENT, "client");

	(void)state;
	make_ca(ISSUE_KEY_P256);
	request.force = true;
	request.out_key_path = "./ca.key";
	expect_refused(&request, "the CA's own file");
	request.out_key_path = "x.key";
	request.out_cert_path = "ca.crt";
	expect_refused(&request, "the CA's own file");
}

static void host_names_are_judged_part_by_part(void **state)
{
	char name[260];

	(void)state;
	assert_null(issue_host_name_fault("localhost", false));
	assert_null(issue_host_name_fault("xn--bcher-kva.example", false));
	assert_null(issue_host_name_fault("1a.2b.3c", false));
	assert_null(issue_host_name_fault("*.example.org", true));
	assert_non_null(issue_host_name_fault("*.example.org", false));
	assert_non_null(issue_host_name_fault("*.*.example.org", true));
	assert_non_null(issue_host_name_fault("example.org.", true));
	memset(name, 'a', sizeof name);
	name[63] = 0;
	assert_null(issue_host_name_fault(name, true));
	name[63] = 'a';
	name[64] = 0;
	assert_non_null(issue_host_name_fault(name, true));
	memset(name, 'a', sizeof name);
	name[63] = name[127] = name[191] = '.';
	name[253] = 0;
	assert_null(issue_host_name_fault(name, true));
	name[253] = 'a';
	name[254] = 0;
	assert_non_null(issue_host_name_fault(name, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(key_names_and_words_belong_together),
		cmocka_unit_test(every_leaf_algorithm_works_below_every_ca_algorithm),
		cmocka_unit_test(a_ca_may_sign_leaves_only),
		cmocka_unit_test(a_leaf_says_what_it_is_for),
		cmocka_unit_test(a_server_without_names_is_known_by_its_common_name_or_refused),
		cmocka_unit_test(a_leaf_never_outlives_its_ca),
		cmocka_unit_test(a_century_is_the_longest_validity),
		cmocka_unit_test(names_that_cannot_be_right_are_refused),
		cmocka_unit_test(what_is_no_ca_signs_nothing),
		cmocka_unit_test(the_files_of_the_ca_are_never_replaced),
		cmocka_unit_test(host_names_are_judged_part_by_part),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
