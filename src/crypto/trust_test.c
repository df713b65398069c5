// What of CA files and revocation lists is refused is judged in identity_test and chain_test.

#include "crypto/trust.h"

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
#include <time.h>
#include <unistd.h>

static char folder[64], ca_path[96], list_path[96];
static X509 *ca, *shorter, *leaf;

static void write_authorities(void)
{
	BIO *out = BIO_new_file(ca_path, "wb");
	assert_int_equal(PEM_write_bio_X509(out, ca), 1);
	assert_int_equal(PEM_write_bio_X509(out, shorter), 1);
	BIO_free(out);
}

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-trust-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(ca_path, sizeof ca_path, "%s/ca.crt", folder);
	snprintf(list_path, sizeof list_path, "%s/ca.crl", folder);
	forge_start();
	ca = forge(&(struct forgery){.common_name = "ca", .key = forge_ca_key, .constraints = "critical,CA:TRUE"});
	shorter = forge(&(struct forgery){
		.common_name = "shorter", .key = forge_ca_key, .constraints = "critical,CA:TRUE", .from_s = -60, .to_s = 7200});
	leaf = forge(&(struct forgery){.common_name = "leaf", .issuer = ca});
	write_authorities();
	return 0;
}

static int stop(void **state)
{
	char command[96];
	(void)state;
	X509_free(ca);
	X509_free(shorter);
	X509_free(leaf);
	forge_stop();
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

static void write_list(X509 *issuer, EVP_PKEY *key, long until_s)
{
	X509_CRL *list = X509_CRL_new();
	ASN1_TIME *time = X509_gmtime_adj(NULL, -7200);
	assert_int_equal(X509_CRL_set_version(list, X509_CRL_VERSION_2), 1);
	assert_int_equal(X509_CRL_set_issuer_name(list, X509_get_subject_name(issuer)), 1);
	assert_int_equal(X509_CRL_set1_lastUpdate(list, time), 1);
	X509_gmtime_adj(time, until_s);
	assert_int_equal(X509_CRL_set1_nextUpdate(list, time), 1);
	assert_true(X509_CRL_sign(list, key, EVP_sha256()) > 0);
	BIO *out = BIO_new_file(list_path, "wb");
	assert_int_equal(PEM_write_bio_X509_CRL(out, list), 1);
	BIO_free(out);
	ASN1_TIME_free(time);
	X509_CRL_free(list);
}

static int load(size_t lists, struct trust **trust, char problem[IDENTITY_PROBLEM_BYTES])
{
	const char *const paths[] = {list_path};
	const struct trust_files files = {.ca_path = ca_path, .crl_paths = paths, .crl_count = lists};
	problem[0] = '\0';
	int r = trust_load(&files, trust, problem);
	assert_int_equal(ERR_peek_error(), 0);
	return r;
}

static void trust_tells_when_its_first_part_ends(void **state)
{
	(void)state;
	char problem[IDENTITY_PROBLEM_BYTES];
	struct trust *trust = NULL;
	int64_t authorities, lists, now = (int64_t)time(NULL);
	assert_int_equal(load(0, &trust, problem), 0);
	trust_expiry(trust, &authorities, &lists);
	assert_in_range(authorities, now + 7000, now + 7300);
	assert_int_equal(lists, 0);
	trust_unref(&trust);
	write_list(ca, forge_ca_key, 3600);
	assert_int_equal(load(1, &trust, problem), 0);
	trust_expiry(trust, &authorities, &lists);
	assert_in_range(lists, now + 3400, now + 3700);
	struct trust *second = trust_ref(trust);
	trust_unref(&trust);
	assert_null(trust);
	assert_non_null(trust_store(second));
	trust_unref(&second);
	trust_unref(&second);
}

static void stale_foreign_or_broken_list_is_refused(void **state)
{
	(void)state;
	char problem[IDENTITY_PROBLEM_BYTES];
	struct trust *trust = NULL;
	write_list(ca, forge_ca_key, -60);
	assert_int_equal(load(1, &trust, problem), TRUST_REFUSED);
	assert_non_null(strstr(problem, "was to be replaced"));
	write_list(ca, forge_leaf_key, 3600);
	assert_int_equal(load(1, &trust, problem), TRUST_REFUSED);
	assert_non_null(strstr(problem, "its signature is not of the CA"));
	write_list(leaf, forge_leaf_key, 3600);
	assert_int_equal(load(1, &trust, problem), TRUST_REFUSED);
	assert_non_null(strstr(problem, "of a CA that is not in CA file"));
	assert_int_equal(truncate(list_path, 100), 0);
	assert_int_equal(load(1, &trust, problem), TRUST_REFUSED);
	assert_non_null(strstr(problem, list_path));
	assert_int_equal(unlink(list_path), 0);
	assert_int_equal(load(1, &trust, problem), TRUST_REFUSED);
	assert_non_null(strstr(problem, "does not exist"));
	assert_null(trust);
}

static void leaf_is_nobody_to_believe_in(void **state)
{
	(void)state;
	char problem[IDENTITY_PROBLEM_BYTES];
	struct trust *trust = NULL;
	BIO *out = BIO_new_file(ca_path, "wb");
	assert_int_equal(PEM_write_bio_X509(out, leaf), 1);
	BIO_free(out);
	assert_int_equal(load(0, &trust, problem), TRUST_REFUSED);
	assert_non_null(strstr(problem, "is not a CA's"));
	write_authorities();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trust_tells_when_its_first_part_ends),
		cmocka_unit_test(stale_foreign_or_broken_list_is_refused),
		cmocka_unit_test(leaf_is_nobody_to_believe_in),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
