#include "crypto/ocsp.h"

#include "crypto/forge.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[64], path[96];
static X509 *ca, *leaf, *other, *delegate, *usurper;
static EVP_PKEY *delegate_key;

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-ocsp-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/leaf.ocsp", folder);
	forge_start();
	delegate_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	ca = forge(&(struct forgery){.common_name = "ca", .key = forge_ca_key, .constraints = "critical,CA:TRUE"});
	leaf = forge(&(struct forgery){.common_name = "leaf", .usage = "serverAuth", .issuer = ca});
	other = forge(&(struct forgery){.common_name = "other", .usage = "serverAuth", .issuer = ca});
	delegate = forge(
		&(struct forgery){.common_name = "responder", .usage = "OCSPSigning", .key = delegate_key, .issuer = ca});
	usurper = forge(
		&(struct forgery){.common_name = "responder", .usage = "serverAuth", .key = delegate_key, .issuer = ca});
	return 0;
}

static int stop(void **state)
{
	char command[96];
	(void)state;
	X509_free(ca);
	X509_free(leaf);
	X509_free(other);
	X509_free(delegate);
	X509_free(usurper);
	EVP_PKEY_free(delegate_key);
	forge_stop();
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

struct answer {
	X509 *about;       // NULL: the leaf
	int status;        // V_OCSP_CERTSTATUS_…
	long from_s, to_s; // to_s 0: no nextUpdate
	X509 *signer;      // NULL: the CA
	EVP_PKEY *key;
	const EVP_MD *digest; // of the CertID; NULL: SHA-1
	int error;            // of the responder, instead of an answer
};

static void write_bytes(const void *bytes, size_t length)
{
	unlink(path);
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0644), 0);
}

static void write_answer(const struct answer *answer)
{
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	ASN1_TIME *from = X509_gmtime_adj(NULL, answer->from_s), *to = X509_gmtime_adj(NULL, answer->to_s);
	ASN1_TIME *revoked = X509_gmtime_adj(NULL, -100);
	OCSP_CERTID *id = OCSP_cert_to_id(answer->digest, answer->about ? answer->about : leaf, ca);
	assert_non_null(OCSP_basic_add1_status(basic, id, answer->status, 0,
	                                       answer->status == V_OCSP_CERTSTATUS_REVOKED ? revoked : NULL, from,
	                                       answer->to_s ? to : NULL));
	assert_int_equal(OCSP_basic_sign(basic, answer->signer ? answer->signer : ca,
	                                 answer->key ? answer->key : forge_ca_key, EVP_sha256(), NULL, 0),
	                 1);
	OCSP_RESPONSE *response = OCSP_response_create(answer->error ? answer->error : OCSP_RESPONSE_STATUS_SUCCESSFUL,
	                                               answer->error ? NULL : basic);
	uint8_t *der = NULL;
	int length = i2d_OCSP_RESPONSE(response, &der);
	assert_true(length > 0);
	write_bytes(der, (size_t)length);
	OPENSSL_free(der);
	OCSP_RESPONSE_free(response);
	OCSP_BASICRESP_free(basic);
	OCSP_CERTID_free(id);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	ASN1_TIME_free(revoked);
}

// why NULL: accepted.
static void expect_about(const struct ocsp_subject *subject, const char *why)
{
	struct ocsp_staple staple = {0};
	char problem[IDENTITY_PROBLEM_BYTES] = "";
	int r = ocsp_load(path, subject, &staple, problem);
	if (why) {
		assert_int_equal(r, OCSP_REFUSED);
		assert_null(staple.bytes);
		if (!strstr(problem, why) || !strstr(problem, path))
			fail_msg("%s", problem);
		return;
	}
	if (r != 0)
		fail_msg("%s", problem);
	assert_true(staple.length > 100 && ocsp_is_current(&staple));
	ocsp_fini(&staple);
	assert_false(ocsp_is_current(&staple));
	ocsp_fini(&staple);
}

static void expect(const struct answer *answer, const char *why)
{
	STACK_OF(X509) *others = sk_X509_new_null();
	sk_X509_push(others, ca);
	write_answer(answer);
	expect_about(&(struct ocsp_subject){.leaf = leaf, .others = others}, why);
	sk_X509_free(others);
}

static struct answer good(void)
{
	return (struct answer){.from_s = -60, .to_s = 3600};
}

static void current_answer_about_our_certificate_is_taken(void **state)
{
	(void)state;
	struct answer answer = good();
	expect(&answer, NULL);
	answer.digest = EVP_sha256();
	expect(&answer, NULL);
	answer = good();
	answer.signer = delegate;
	answer.key = delegate_key;
	expect(&answer, NULL);
	answer = good();
	answer.from_s = 60; // the responder's clock is ahead
	expect(&answer, NULL);
}

static void answer_that_clients_would_not_take_is_refused(void **state)
{
	(void)state;
	struct answer answer = good();
	answer.about = other;
	expect(&answer, "not about our certificate");
	answer = good();
	answer.status = V_OCSP_CERTSTATUS_REVOKED;
	expect(&answer, "is revoked");
	answer.status = V_OCSP_CERTSTATUS_UNKNOWN;
	expect(&answer, "unknown to its CA");
	answer = good();
	answer.to_s = -1;
	expect(&answer, "was to be replaced");
	answer.from_s = 3600;
	answer.to_s = 7200;
	expect(&answer, "begins later");
	answer = good();
	answer.to_s = 0;
	expect(&answer, "does not say when the next is due");
	answer = good();
	answer.error = OCSP_RESPONSE_STATUS_TRYLATER;
	expect(&answer, "trylater");
}

static void answer_of_somebody_who_may_not_is_refused(void **state)
{
	(void)state;
	struct answer answer = good();
	answer.signer = usurper;
	answer.key = delegate_key;
	expect(&answer, "may not speak for the CA");
	// The CA's name and another key.
	answer = good();
	X509 *forged = forge(&(struct forgery){
		.common_name = "ca", .key = delegate_key, .issuer_key = delegate_key, .constraints = "critical,CA:TRUE"});
	answer.signer = forged;
	answer.key = delegate_key;
	expect(&answer, "may not speak for the CA");
	// Where the issuer is not known, clients find that out.
	write_answer(&answer);
	expect_about(&(struct ocsp_subject){.leaf = leaf}, NULL);
	X509_free(forged);
}

static void issuer_is_found_among_believed_authorities_too(void **state)
{
	(void)state;
	struct answer answer = good();
	X509_STORE *store = X509_STORE_new();
	X509_STORE_add_cert(store, ca);
	write_answer(&answer);
	expect_about(&(struct ocsp_subject){.leaf = leaf, .store = store}, NULL);
	answer.signer = usurper;
	answer.key = delegate_key;
	write_answer(&answer);
	expect_about(&(struct ocsp_subject){.leaf = leaf, .store = store}, "may not speak for the CA");
	X509_STORE_free(store);
}

static void file_that_is_none_is_refused(void **state)
{
	(void)state;
	const struct ocsp_subject subject = {.leaf = leaf};
	struct answer answer = good();
	uint8_t bytes[8192];
	write_bytes("-----BEGIN OCSP", 15);
	expect_about(&subject, "in DER form");
	write_bytes("", 0);
	expect_about(&subject, "in DER form");
	write_answer(&answer);
	FILE *file = fopen(path, "rb");
	size_t length = fread(bytes, 1, sizeof bytes - 1, file);
	fclose(file);
	write_bytes(bytes, length - 1);
	expect_about(&subject, "in DER form");
	write_bytes(bytes, length + 1);
	expect_about(&subject, "in DER form");
	write_bytes(bytes, length);
	assert_int_equal(chmod(path, 0666), 0);
	expect_about(&subject, "can be changed by every user");
	unlink(path);
	expect_about(&subject, "does not exist");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(current_answer_about_our_certificate_is_taken),
		cmocka_unit_test(answer_that_clients_would_not_take_is_refused),
		cmocka_unit_test(answer_of_somebody_who_may_not_is_refused),
		cmocka_unit_test(issuer_is_found_among_believed_authorities_too),
		cmocka_unit_test(file_that_is_none_is_refused),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
