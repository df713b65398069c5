#include "crypto/request.h"

#include "crypto/authority.h"
#include "crypto/inspect.h"
#include "crypto/legacy.h"
#include "limits.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-request-XXXXXX");
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

static void make_ca(void)
{
	const struct issue_request request = {.kind = ISSUE_CA,
	                                      .key = ISSUE_KEY_ED25519,
	                                      .common_name = "test CA",
	                                      .validity_days = 30,
	                                      .out_cert_path = "ca.crt",
	                                      .out_key_path = "ca.key",
	                                      .force = true};
	char problem[ISSUE_PROBLEM_BYTES] = "";

	if (issue_certificate(&request, problem) != 0)
		fail_msg("refused: %s", problem);
}

static void every_algorithm_asks_and_is_signed(void **state)
{
	char problem[REQUEST_PROBLEM_BYTES] = "";
	struct request_details details;

	(void)state;
	make_ca();
	for (int key = ISSUE_KEY_P256; key <= ISSUE_KEY_ML_DSA_87; key++) {
		struct request_making making = {.common_name = "n.example.org",
		                                .key = (enum issue_key)key,
		                                .out_key_path = "n.key",
		                                .out_path = "n.csr",
		                                .force = true};
		struct request_signing signing = {.ca = {"ca.crt", "ca.key", NULL},
		                                  .path = "n.csr",
		                                  .is_server = true,
		                                  .validity_days = 5,
		                                  .out_cert_path = "n.crt",
		                                  .force = true};
		struct identity_files files = {.ca_path = "ca.crt", .cert_path = "n.crt", .key_path = "n.key"};
		struct identity *identity = NULL;
		if (request_make(&making, problem) != 0 || request_inspect("n.csr", &details, problem) != 0 ||
		    request_sign(&signing, problem) != 0 || identity_load(&files, &identity, problem) != 0)
			fail_msg("refused: %s", problem);
		identity_unref(&identity);
		assert_true(details.is_acceptable && details.is_self_signed);
		assert_string_equal(details.names, "DNS:n.example.org");
		assert_string_equal(details.fault, "");
		assert_int_equal(ERR_peek_error(), 0);
	}
}

static void an_address_alone_becomes_a_name(void **state)
{
	struct request_making making = {.common_name = "192.0.2.1", .out_key_path = "a.key", .out_path = "a.csr"};
	struct request_details details;
	char problem[REQUEST_PROBLEM_BYTES] = "";

	(void)state;
	assert_int_equal(request_make(&making, problem), 0);
	assert_int_equal(request_inspect("a.csr", &details, problem), 0);
	assert_string_equal(details.names, "IP:192.0.2.1");
	assert_int_equal(request_make(&making, problem), REQUEST_REFUSED);
	assert_non_null(strstr(problem, "--force"));
}

// ---- requests that nobody here would make

static X509_REQ *forge(EVP_PKEY *key, const char *common_name, size_t length, int nid, const char *value)
{
	X509_REQ *request = X509_REQ_new();
	X509_NAME_ENTRY *entry = X509_NAME_ENTRY_create_by_NID(NULL, NID_commonName, V_ASN1_UTF8STRING,
	                                                       (const uint8_t *)common_name, (int)length);
	STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();

	assert_int_equal(X509_NAME_add_entry(X509_REQ_get_subject_name(request), entry, -1, 0), 1);
	X509_NAME_ENTRY_free(entry);
	X509_REQ_set_version(request, X509_REQ_VERSION_1);
	X509_REQ_set_pubkey(request, key);
	if (value) {
		sk_X509_EXTENSION_push(extensions, X509V3_EXT_nconf_nid(NULL, NULL, nid, value));
		assert_int_equal(X509_REQ_add_extensions(request, extensions), 1);
	}
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	assert_true(X509_REQ_sign(request, key, authority_digest(key)) > 0);
	return request;
}

static void expect_fault(X509_REQ *request, const char *word)
{
	struct request_details details;

	request_judge(request, &details);
	X509_REQ_free(request);
	if (word && (details.is_acceptable || !strstr(details.fault, word)))
		fail_msg("'%s' is not in: %s", word, details.fault);
	if (!word && !details.is_acceptable)
		fail_msg("refused: %s", details.fault);
	assert_int_equal(ERR_peek_error(), 0);
}

static void requests_are_judged(void **state)
{
	EVP_PKEY *key = issue_make_key(ISSUE_KEY_ED25519), *other = issue_make_key(ISSUE_KEY_ED25519);
	EVP_PKEY *weak = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
	char *many = calloc(1, 40000), long_name[300];

	(void)state;
	expect_fault(forge(key, "a", 1, 0, NULL), NULL);
	expect_fault(forge(key, "a", 1, NID_subject_alt_name, "DNS:a.b,IP:1.2.3.4,IP:::1"), NULL);
	expect_fault(forge(key, "a", 1, NID_basic_constraints, "CA:FALSE"), NULL);
	expect_fault(forge(key, "a", 1, NID_basic_constraints, "CA:TRUE"), "asks to be a CA");
	expect_fault(forge(key, "a", 1, NID_subject_alt_name, "URI:spiffe://x"), "(a URI)");
	expect_fault(forge(key, "a", 1, NID_subject_alt_name, "RID:1.2.3"), "neither a DNS name nor an address");
	expect_fault(forge(key, "a", 1, NID_subject_alt_name, "DNS:a_b"), "'a_b', which is not a DNS name");
	expect_fault(forge(key, "a\0b", 3, 0, NULL), "common name");
	expect_fault(forge(key, "a\nb", 3, 0, NULL), "control character");
	expect_fault(forge(weak, "a", 1, 0, NULL), "too weak");
	memset(long_name, 'a', sizeof long_name);
	expect_fault(forge(key, long_name, sizeof long_name, 0, NULL), "common name");
	for (int i = 0; i <= LIMIT_CERTIFICATE_NAMES; i++)
		sprintf(many + strlen(many), "%sDNS:n%d.example", i ? "," : "", i);
	expect_fault(forge(key, "a", 1, NID_subject_alt_name, many), "asks for 257 names");
	X509_REQ *foreign = forge(key, "a", 1, 0, NULL);
	X509_REQ_set_pubkey(foreign, other);
	expect_fault(foreign, "self-signature is wrong");
	free(many);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	EVP_PKEY_free(weak);
}

static void legacy_words_have_successors(void **state)
{
	(void)state;
	assert_non_null(strstr(legacy_of_word("Dilithium3"), "ml-dsa-65"));
	assert_non_null(strstr(legacy_of_word("dilithium5"), "ml-dsa-87"));
	assert_null(legacy_of_word("p256"));
	assert_null(legacy_of_pem("", 0));
	assert_null(legacy_of_pubkey(NULL));
	X509_PUBKEY *key = X509_PUBKEY_new();
	assert_int_equal(X509_PUBKEY_set0_param(key, OBJ_txt2obj("1.3.6.1.4.1.2.267.7.6.5", 1), V_ASN1_UNDEF, NULL,
	                                        OPENSSL_zalloc(16), 16),
	                 1);
	assert_non_null(strstr(legacy_of_pubkey(key), "ml-dsa-65"));
	X509_PUBKEY_free(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_algorithm_asks_and_is_signed),
		cmocka_unit_test(an_address_alone_becomes_a_name),
		cmocka_unit_test(requests_are_judged),
		cmocka_unit_test(legacy_words_have_successors),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
