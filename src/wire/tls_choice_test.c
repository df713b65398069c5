#include "wire/tls_choice.h"

#include "wire/tls_sidecar_rig.h"

// Code points, two bytes each, as text: "\x04\x03".
static struct tls_codes codes(const char *text, size_t length)
{
	return (struct tls_codes){(const uint8_t *)text, length};
}
#define CODES(text) codes(text, sizeof(text) - 1)

#define P256 "\x04\x03"
#define P384 "\x05\x03"
#define RSA_PSS "\x08\x04"
#define RSA_OLD "\x04\x01"
#define MLDSA65 "\x09\x05"

static void expect(const struct tls_choice *choices, size_t count, const struct tls_wanted *wanted, int best)
{
	const struct tls_choice *choice = tls_choice_best(choices, count, wanted);
	if (best < 0)
		assert_null(choice);
	else
		assert_int_equal(choice - choices, best);
}

static void chain_that_the_peer_knows_comes_before_one_that_it_may_not(void **state)
{
	(void)state;
	EVP_PKEY *key = rig_key("ML-DSA-65");
	X509 *ca = rig_authority("pq", key);
	struct identity *list[] = {rig_identity(&(struct rig_wish){.usage = "serverAuth", .issuer = ca, .issuer_key = key},
	                                        IDENTITY_SERVER, 0),
	                           rig_server("P-256"),
	                           rig_identity(&(struct rig_wish){.usage = "serverAuth", .by_itself = true},
	                                        IDENTITY_SERVER, 0)};
	struct tls_choice choices[3];
	for (size_t i = 0; i < 3; i++)
		tls_choice_init(&choices[i], list[i]);
	expect(choices, 3, &(struct tls_wanted){.is_tls13 = true, .schemes = CODES(P256)}, 1);
	expect(choices, 3, &(struct tls_wanted){.is_tls13 = true, .schemes = CODES(P256 MLDSA65)}, 0);
	expect(choices, 3, &(struct tls_wanted){.is_tls13 = true, .schemes = CODES(P256), .cert_schemes = CODES(MLDSA65)},
	       0);
	// Of its leaf's key it can verify signatures at least.
	expect(choices, 1, &(struct tls_wanted){.is_tls13 = true, .schemes = CODES(P256)}, 0);
	// Nobody verifies what a certificate says of itself.
	expect(choices + 2, 1,
	       &(struct tls_wanted){.is_tls13 = true, .schemes = CODES(P256), .cert_schemes = CODES(RSA_PSS)}, 0);
	expect(choices, 3, &(struct tls_wanted){.is_tls13 = true, .schemes = CODES(P384)}, -1);
	expect(choices, 3, &(struct tls_wanted){.is_tls13 = true}, -1);
	for (size_t i = 0; i < 3; i++)
		identity_unref(&list[i]);
	X509_free(ca);
	EVP_PKEY_free(key);
}

static void tls12_asks_for_suites_and_curves_as_well(void **state)
{
	(void)state;
	struct identity *list[] = {rig_server("ML-DSA-65"), rig_server("P-384"), rig_server("RSA")};
	struct tls_choice choices[3];
	for (size_t i = 0; i < 3; i++)
		tls_choice_init(&choices[i], list[i]);
	struct tls_wanted wanted = {.schemes = CODES(MLDSA65 P256 RSA_OLD), .suites = CODES("\xc0\x2b\xc0\x2f")};
	expect(choices, 3, &wanted, 1); // any curve with any hash
	wanted.groups = CODES("\x00\x1d\x00\x17");
	expect(choices, 3, &wanted, 2);
	wanted.groups = CODES("\x00\x1d\x00\x18");
	expect(choices, 3, &wanted, 1);
	wanted.suites = CODES("\xc0\x30");
	expect(choices, 3, &wanted, 2);
	wanted.suites = CODES("\xc0\x14\x00\x2f");
	expect(choices, 3, &wanted, -1);
	for (size_t i = 0; i < 3; i++)
		identity_unref(&list[i]);
}

static void name_that_is_asked_for_counts_more_than_the_order(void **state)
{
	(void)state;
	struct identity *list[] = {
		rig_identity(&(struct rig_wish){.names = "DNS:a.example", .usage = "serverAuth"}, IDENTITY_SERVER, 0),
		rig_identity(&(struct rig_wish){.names = "DNS:b.example", .usage = "serverAuth"}, IDENTITY_SERVER, 0),
		rig_identity(&(struct rig_wish){.kind = "RSA", .names = "DNS:b.example", .usage = "serverAuth"},
	                 IDENTITY_SERVER, 0)};
	struct tls_choice choices[3];
	for (size_t i = 0; i < 3; i++)
		tls_choice_init(&choices[i], list[i]);
	struct tls_wanted wanted = {.is_tls13 = true, .schemes = CODES(P256 RSA_PSS)};
	expect(choices, 3, &wanted, 0);
	wanted.name = "";
	expect(choices, 3, &wanted, 0);
	wanted.name = "b.example";
	expect(choices, 3, &wanted, 1);
	wanted.schemes = CODES(RSA_PSS); // its chain is ECDSA's, but nothing else fits
	expect(choices, 3, &wanted, 2);
	wanted.name = "c.example";
	wanted.schemes = CODES(P256 RSA_PSS);
	expect(choices, 3, &wanted, 0);
	for (size_t i = 0; i < 3; i++)
		identity_unref(&list[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chain_that_the_peer_knows_comes_before_one_that_it_may_not),
		cmocka_unit_test(tls12_asks_for_suites_and_curves_as_well),
		cmocka_unit_test(name_that_is_asked_for_counts_more_than_the_order),
	};
	return cmocka_run_group_tests(tests, rig_start, rig_stop);
}
