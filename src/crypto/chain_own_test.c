// Certificates of our own that another authority issued, as the proxy shows them.

#include "crypto/chain.h"

#include "crypto/forge.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], cert_path[96], key_path[96];
static EVP_PKEY *upper_key, *lower_key;
static X509 *root, *upper, *lower, *leaf, *stranger;

static X509 *forge_middle(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	return forge(&(struct forgery){.common_name = name,
	                               .key = key,
	                               .constraints = "critical,CA:TRUE",
	                               .issuer = issuer,
	                               .issuer_key = issuer_key});
}

static void write_key(EVP_PKEY *key)
{
	BIO *out = BIO_new_file(key_path, "wb");
	assert_non_null(out);
	assert_int_equal(PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
	BIO_free(out);
	assert_int_equal(chmod(key_path, 0600), 0);
}

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-own-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(cert_path, sizeof cert_path, "%s/own.crt", folder);
	snprintf(key_path, sizeof key_path, "%s/own.key", folder);
	forge_start();
	upper_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	lower_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	root = forge(&(struct forgery){.common_name = "root", .key = forge_ca_key, .constraints = "critical,CA:TRUE"});
	upper = forge_middle("upper", upper_key, root, forge_ca_key);
	lower = forge_middle("lower", lower_key, upper, upper_key);
	leaf = forge(
		&(struct forgery){.common_name = "leaf", .usage = "serverAuth", .issuer = lower, .issuer_key = lower_key});
	stranger = forge_middle("stranger", upper_key, NULL, upper_key);
	write_key(forge_leaf_key);
	return 0;
}

static int stop(void **state)
{
	char command[96];
	(void)state;
	X509 *all[] = {root, upper, lower, leaf, stranger};
	for (size_t i = 0; i < COUNT_OF(all); i++)
		X509_free(all[i]);
	EVP_PKEY_free(upper_key);
	EVP_PKEY_free(lower_key);
	forge_stop();
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

static void write_all(X509 *const *certificates, size_t count)
{
	BIO *out = BIO_new_file(cert_path, "wb");
	assert_non_null(out);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(PEM_write_bio_X509(out, certificates[i]), 1);
	BIO_free(out);
}

static const struct identity_files files = {.cert_path = cert_path,
                                            .key_path = key_path,
                                            .usage = IDENTITY_SERVER,
                                            .any_issuer = true};

static struct identity *expect_loaded(void)
{
	char problem[IDENTITY_PROBLEM_BYTES] = "";
	struct identity *identity = NULL;
	if (identity_load(&files, &identity, problem) != 0)
		fail_msg("%s", problem);
	assert_null(identity_store(identity));
	assert_int_equal(ERR_peek_error(), 0);
	return identity;
}

static void expect_refused(const char *why)
{
	char problem[IDENTITY_PROBLEM_BYTES] = "";
	struct identity *identity = NULL;
	assert_int_equal(identity_load(&files, &identity, problem), IDENTITY_REFUSED);
	assert_null(identity);
	if (!strstr(problem, why))
		fail_msg("'%s' is not in: %s", why, problem);
	assert_int_equal(ERR_peek_error(), 0);
}

static void expect_chain(X509 *const *certificates, size_t count)
{
	write_all(certificates, count);
	struct identity *identity = expect_loaded();
	STACK_OF(X509) *chain = identity_chain(identity);
	assert_int_equal(sk_X509_num(chain), 2);
	assert_int_equal(X509_cmp(sk_X509_value(chain, 0), lower), 0);
	assert_int_equal(X509_cmp(sk_X509_value(chain, 1), upper), 0);
	identity_unref(&identity);
}

static void chain_is_put_in_order_and_its_root_left_out(void **state)
{
	(void)state;
	expect_chain((X509 *[]){leaf, lower, upper}, 3);
	expect_chain((X509 *[]){leaf, upper, lower}, 3);
	expect_chain((X509 *[]){leaf, lower, upper, root}, 4);
	expect_chain((X509 *[]){leaf, root, upper, lower}, 4);
}

static void chain_that_ends_early_is_taken_and_one_with_strangers_refused(void **state)
{
	(void)state;
	write_all((X509 *[]){leaf}, 1);
	struct identity *identity = expect_loaded();
	assert_int_equal(sk_X509_num(identity_chain(identity)), 0);
	identity_unref(&identity);
	write_all((X509 *[]){leaf, lower, upper, stranger}, 4);
	expect_refused("CN=stranger");
	write_all((X509 *[]){leaf, upper}, 2);
	expect_refused("CN=upper");
	write_all((X509 *[]){lower, leaf}, 2);
	expect_refused("does not belong to certificate");
}

static void certificate_that_signed_itself_is_taken(void **state)
{
	(void)state;
	int64_t own, ca;
	X509 *self = forge(&(struct forgery){.common_name = "self", .usage = "serverAuth", .issuer_key = forge_leaf_key});
	write_all(&self, 1);
	struct identity *identity = expect_loaded();
	assert_int_equal(sk_X509_num(identity_chain(identity)), 0);
	identity_expiry(identity, &own, &ca);
	assert_true(own > 0);
	assert_int_equal(ca, 0);
	assert_int_equal(identity_staple_until(identity), 0);
	identity_unref(&identity);
	X509_free(self);
}

static void usage_may_be_absent_but_not_another(void **state)
{
	(void)state;
	X509 *bare = forge(&(struct forgery){.common_name = "bare", .issuer = root});
	X509 *client = forge(&(struct forgery){.common_name = "client", .usage = "clientAuth", .issuer = root});
	write_all(&bare, 1);
	struct identity *identity = expect_loaded();
	identity_unref(&identity);
	write_all(&client, 1);
	expect_refused("serverAuth");
	X509_free(bare);
	X509_free(client);
}

static void what_is_out_of_its_time_is_refused(void **state)
{
	(void)state;
	X509 *old = forge(
		&(struct forgery){.common_name = "old", .usage = "serverAuth", .issuer = root, .from_s = -7200, .to_s = -3600});
	X509 *middle = forge(&(struct forgery){.common_name = "old middle",
	                                       .key = lower_key,
	                                       .constraints = "critical,CA:TRUE",
	                                       .issuer = root,
	                                       .from_s = -7200,
	                                       .to_s = -3600});
	X509 *below = forge(
		&(struct forgery){.common_name = "below", .usage = "serverAuth", .issuer = middle, .issuer_key = lower_key});
	X509 *no_ca = forge(&(struct forgery){.common_name = "no CA", .key = lower_key, .issuer = root});
	X509 *under = forge(
		&(struct forgery){.common_name = "under", .usage = "serverAuth", .issuer = no_ca, .issuer_key = lower_key});
	write_all(&old, 1);
	expect_refused("expired");
	write_all((X509 *[]){below, middle}, 2);
	expect_refused("has expired");
	write_all((X509 *[]){under, no_ca}, 2);
	expect_refused("not a CA's");
	X509 *all[] = {old, middle, below, no_ca, under};
	for (size_t i = 0; i < COUNT_OF(all); i++)
		X509_free(all[i]);
}

// A certificate with a key, or a signature, of before the standard: known by its identifier only.
static void write_legacy(const char *identifier, bool as_signature)
{
	X509 *certificate = X509_dup(leaf);
	if (as_signature) {
		X509_ALGOR *algorithms[] = {(X509_ALGOR *)X509_get0_tbs_sigalg(certificate), NULL};
		const X509_ALGOR *outer = NULL;
		X509_get0_signature(NULL, &outer, certificate);
		algorithms[1] = (X509_ALGOR *)outer;
		for (int i = 0; i < 2; i++)
			assert_int_equal(X509_ALGOR_set0(algorithms[i], OBJ_txt2obj(identifier, 1), V_ASN1_UNDEF, NULL), 1);
	} else {
		assert_int_equal(X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(certificate), OBJ_txt2obj(identifier, 1),
		                                        V_ASN1_UNDEF, NULL, OPENSSL_zalloc(16), 16),
		                 1);
	}
	uint8_t *der = NULL;
	assert_true(i2d_re_X509_tbs(certificate, &der) > 0);
	OPENSSL_free(der);
	write_all(&certificate, 1);
	X509_free(certificate);
}

static void algorithms_of_before_the_standard_are_refused_with_their_successor(void **state)
{
	(void)state;
	static const struct {
		const char *identifier, *name;
	} cases[] = {
		{"1.3.6.1.4.1.2.267.7.6.5", "Dilithium3"},
		{"1.3.9999.2.7.3", "P-384 with Dilithium3"},
		{"1.3.9999.3.11", "Falcon"},
		{"1.3.6.1.4.1.2.267.12.6.5", "draft of ML-DSA"},
		{"1.3.9999.6.4.13", "SPHINCS+"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		for (int as_signature = 0; as_signature < 2; as_signature++) {
			write_legacy(cases[i].identifier, as_signature);
			expect_refused(cases[i].name);
			expect_refused("--key ml-dsa-65");
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chain_is_put_in_order_and_its_root_left_out),
		cmocka_unit_test(chain_that_ends_early_is_taken_and_one_with_strangers_refused),
		cmocka_unit_test(certificate_that_signed_itself_is_taken),
		cmocka_unit_test(usage_may_be_absent_but_not_another),
		cmocka_unit_test(what_is_out_of_its_time_is_refused),
		cmocka_unit_test(algorithms_of_before_the_standard_are_refused_with_their_successor),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
