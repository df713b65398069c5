#include "crypto/forge.h"
#include "crypto/identity.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <time.h>

static X509 *ca;

static int start(void **state)
{
	(void)state;
	forge_start();
	ca = forge(&(struct forgery){.common_name = "test CA", .key = forge_ca_key, .constraints = "critical,CA:TRUE"});
	return 0;
}

static int stop(void **state)
{
	(void)state;
	X509_free(ca);
	forge_stop();
	return 0;
}

// ---- describing

static void a_certificate_is_described(void **state)
{
	struct identity_text text;
	char issuer[64], names[64];

	(void)state;
	X509 *certificate = forge(
		&(struct forgery){.common_name = "server",
	                      .names = "DNS:a.example.org,DNS:*.b.example.org,IP:192.0.2.1,IP:2001:db8::1,"
	                               "URI:spiffe://x/y",
	                      .usage = "serverAuth",
	                      .issuer = ca});
	identity_describe(certificate, &text);
	assert_string_equal(text.subject, "CN=server");
	assert_string_equal(text.common_name, "server");
	assert_string_equal(text.names,
	                    "DNS:a.example.org,DNS:*.b.example.org,IP:192.0.2.1,IP:2001:db8::1,URI:spiffe://x/y");
	assert_string_equal(text.key_type, "P-256");
	assert_string_equal(text.signature, "ecdsa-with-SHA256");
	assert_int_equal(strlen(text.fingerprint), 64);
	assert_int_equal(strspn(text.fingerprint, "0123456789abcdef"), 64);
	assert_int_equal(text.not_after - text.not_before, 86400);
	assert_true(llabs((long long)text.not_before + 43200 - (long long)time(NULL)) < 60);
	identity_describe_issuer(certificate, issuer, sizeof issuer);
	assert_string_equal(issuer, "CN=test CA");
	identity_describe_names(certificate, names, 20);
	assert_string_equal(names, "DNS:a.example.or...");
	identity_describe_names(certificate, names, 8);
	assert_string_equal(names, "DNS:...");
	X509_free(certificate);
}

static void key_and_signature_algorithms_have_their_usual_names(void **state)
{
	static const struct {
		const char *algorithm, *key_type, *signature;
		char *group;
	} kinds[] = {
		{"EC", "P-256", "ecdsa-with-SHA256", "P-256"}, {"EC", "P-384", "ecdsa-with-SHA256", "P-384"},
		{"ED25519", "ED25519", "ED25519", NULL},       {"ML-DSA-65", "ML-DSA-65", "ML-DSA-65", NULL},
		{"ML-DSA-87", "ML-DSA-87", "ML-DSA-87", NULL},
	};
	struct identity_text text;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, kinds[i].algorithm, kinds[i].group);
		X509 *certificate = forge(&(struct forgery){.common_name = "x", .key = key, .issuer_key = key});
		identity_describe(certificate, &text);
		assert_string_equal(text.key_type, kinds[i].key_type);
		assert_string_equal(text.signature, kinds[i].signature);
		X509_free(certificate);
		EVP_PKEY_free(key);
	}
	EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	X509 *certificate = forge(&(struct forgery){.common_name = "x", .key = rsa, .issuer_key = rsa});
	identity_describe(certificate, &text);
	assert_string_equal(text.key_type, "RSA-2048");
	assert_string_equal(text.signature, "sha256WithRSAEncryption");
	X509_free(certificate);
	EVP_PKEY_free(rsa);
}

static void expect_printable(const char *text)
{
	for (; *text; text++)
		assert_true(*text >= 0x20 && *text < 0x7f);
}

static void hostile_names_are_shown_as_printable_ascii_only(void **state)
{
	// What is not UTF-8 does not parse as a common name at all, but does as a DNS name.
	static const char common_name[] = "a\0b\n\x1b[31m\xc3\xa9,\\x00\x7f",
					  dns_name[] = "\xff"
								   "a\0b\n\x1b[31m\xc3\xa9,\\x00\x7f";
	struct identity_text text;
	static char large[10000];

	(void)state;
	X509 *certificate = forge(&(struct forgery){.common_name = common_name,
	                                            .common_name_length = sizeof common_name - 1,
	                                            .raw_names = forge_name(GEN_DNS, dns_name, sizeof dns_name - 1)});
	identity_describe(certificate, &text);
	expect_printable(text.subject);
	assert_string_equal(text.common_name, "a\\x00b\\x0a\\x1b[31m\\xc3\\xa9,\\x5cx00\\x7f");
	assert_string_equal(text.names, "DNS:\\xffa\\x00b\\x0a\\x1b[31m\\xc3\\xa9\\x2c\\x5cx00\\x7f");
	X509_free(certificate);

	memset(large, '\n', sizeof large);
	certificate = forge(&(struct forgery){.common_name = large,
	                                      .common_name_length = sizeof large,
	                                      .raw_names = forge_name(GEN_URI, large, sizeof large)});
	identity_describe(certificate, &text);
	expect_printable(text.subject);
	expect_printable(text.common_name);
	assert_int_equal(strlen(text.common_name), sizeof text.common_name - 1);
	assert_string_equal(text.common_name + sizeof text.common_name - 4, "...");
	expect_printable(text.names);
	X509_free(certificate);

	certificate = forge(&(struct forgery){.common_name = "x", .raw_names = forge_name(GEN_IPADD, "\x01\x02\x03", 3)});
	identity_describe(certificate, &text);
	assert_string_equal(text.names, "IP:010203");
	X509_free(certificate);
}

// ---- judging names and usages

static void host_names_match_sans_with_wildcards_for_one_label(void **state)
{
	static const char *const yes[] = {"a.example.org",      "A.EXAMPLE.ORG",   "a.example.org.",
	                                  "x.wild.example.org", "192.0.2.1",       "2001:db8::1",
	                                  "[2001:db8::1]",      "2001:DB8:0::0:1", "2001:db8::1%eth0"};
	static const char *const no[] = {"",
	                                 ".",
	                                 "example.org",
	                                 ".example.org",
	                                 "b.example.org",
	                                 "server",
	                                 "a.example.org.evil",
	                                 "wild.example.org",
	                                 "x.y.wild.example.org",
	                                 ".wild.example.org",
	                                 "*.wild.example.org.",
	                                 "192.0.2.2",
	                                 "192.0.2.1.",
	                                 "2001:db8::2",
	                                 "[]",
	                                 "[192.0.2.1",
	                                 "fx.partial.example.org",
	                                 "192.0.2.1%eth0"};

	(void)state;
	X509 *certificate = forge(&(struct forgery){
		.common_name = "server",
		.names = "DNS:a.example.org,DNS:*.wild.example.org,DNS:f*.partial.example.org,IP:192.0.2.1,IP:2001:db8::1"});
	for (size_t i = 0; i < COUNT_OF(yes); i++) {
		if (!identity_has_name(certificate, yes[i]))
			fail_msg("'%s' does not match", yes[i]);
	}
	for (size_t i = 0; i < COUNT_OF(no); i++) {
		if (identity_has_name(certificate, no[i]))
			fail_msg("'%s' matches", no[i]);
	}
	assert_int_equal(ERR_peek_error(), 0);
	X509_free(certificate);
}

static void the_common_name_is_never_a_host_name(void **state)
{
	(void)state;
	X509 *certificate = forge(&(struct forgery){.common_name = "server.example.org"});
	assert_false(identity_has_name(certificate, "server.example.org"));
	X509_free(certificate);
	certificate = forge(&(struct forgery){.common_name = "192.0.2.1", .names = "DNS:192.0.2.1"});
	assert_false(identity_has_name(certificate, "192.0.2.1"));
	X509_free(certificate);
}

static void a_name_with_a_nul_inside_matches_nothing(void **state)
{
	static const char name[] = "good.example.org\0.evil.example.org";

	(void)state;
	X509 *certificate = forge(&(struct forgery){.common_name = name,
	                                            .common_name_length = sizeof name - 1,
	                                            .raw_names = forge_name(GEN_DNS, name, sizeof name - 1)});
	assert_false(identity_has_name(certificate, "good.example.org"));
	assert_false(identity_matches(certificate, "good.example.org"));
	assert_false(identity_matches(certificate, "good*"));
	assert_false(identity_matches(certificate, "*"));
	X509_free(certificate);
}

static void patterns_match_the_common_name_and_dns_and_uri_names(void **state)
{
	(void)state;
	X509 *certificate = forge(
		&(struct forgery){.common_name = "robot-17",
	                      .names = "DNS:r17.fleet.example.org,URI:spiffe://fleet/17,IP:192.0.2.1"});
	assert_true(identity_matches(certificate, "robot-17"));
	assert_true(identity_matches(certificate, "robot-*"));
	assert_true(identity_matches(certificate, "*.fleet.example.org"));
	assert_true(identity_matches(certificate, "spiffe://fleet/*"));
	assert_false(identity_matches(certificate, "robot"));
	assert_true(identity_matches(certificate, "CN=robot-*"));
	assert_true(identity_matches(certificate, "DNS:*.fleet.example.org"));
	assert_true(identity_matches(certificate, "URI:spiffe://fleet/*"));
	assert_false(identity_matches(certificate, "DNS:robot-17"));
	assert_false(identity_matches(certificate, "CN=*.fleet.example.org"));
	assert_false(identity_matches(certificate, "DNS:spiffe://fleet/*"));
	assert_false(identity_matches(certificate, "URI:robot-17"));
	assert_false(identity_matches(certificate, "IP:192.0.2.1"));
	assert_false(identity_matches(certificate, "obot-17"));
	assert_false(identity_matches(certificate, "192.0.2.1"));
	X509_free(certificate);
}

static void usages_count_only_when_the_extension_names_them(void **state)
{
	static const struct {
		const char *usage;
		bool server, client;
	} cases[] = {
		{NULL, false, false},
		{"serverAuth", true, false},
		{"clientAuth", false, true},
		{"serverAuth,clientAuth", true, true},
		{"anyExtendedKeyUsage", false, false},
		{"emailProtection", false, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		X509 *certificate = forge(&(struct forgery){.common_name = "x", .usage = cases[i].usage});
		assert_int_equal(identity_has_usage(certificate, IDENTITY_SERVER), cases[i].server);
		assert_int_equal(identity_has_usage(certificate, IDENTITY_CLIENT), cases[i].client);
		X509_free(certificate);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_certificate_is_described),
		cmocka_unit_test(key_and_signature_algorithms_have_their_usual_names),
		cmocka_unit_test(hostile_names_are_shown_as_printable_ascii_only),
		cmocka_unit_test(host_names_match_sans_with_wildcards_for_one_label),
		cmocka_unit_test(the_common_name_is_never_a_host_name),
		cmocka_unit_test(a_name_with_a_nul_inside_matches_nothing),
		cmocka_unit_test(patterns_match_the_common_name_and_dns_and_uri_names),
		cmocka_unit_test(usages_count_only_when_the_extension_names_them),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
