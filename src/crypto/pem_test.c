// PEM files that nobody is there to decrypt.

#include "crypto/pem.h"

#include "crypto/forge.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORD "the word that opens them"

static char folder[64], path[96], problem[PEM_PROBLEM_BYTES];
static X509 *certificate;

// Whoever asks for a word is given the right one: a reader that asks succeeds, and its test fails. It may not ask a
// person at the terminal either, so there is none.
static void answer_whoever_asks(void)
{
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(write(ends[1], WORD "\n", sizeof WORD), sizeof WORD);
	assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
	close(ends[0]);
	close(ends[1]);
	(void)setsid();
}

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-pem-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/some.pem", folder);
	forge_start();
	certificate = forge(&(struct forgery){.common_name = "ca", .key = forge_ca_key, .constraints = "critical,CA:TRUE"});
	answer_whoever_asks();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	X509_free(certificate);
	forge_stop();
	unlink(path);
	return rmdir(folder);
}

static BIO *begin(void)
{
	unlink(path);
	BIO *out = BIO_new_file(path, "wb");
	assert_non_null(out);
	return out;
}

static void finish(BIO *out)
{
	assert_int_equal(BIO_free(out), 1);
	assert_int_equal(chmod(path, 0600), 0);
}

static void encrypt(BIO *out, i2d_of_void *encode, const char *name, const void *object)
{
	assert_int_equal(PEM_ASN1_write_bio(encode, name, out, object, EVP_aes_128_cbc(), (const uint8_t *)WORD,
	                                    sizeof WORD - 1, NULL, NULL),
	                 1);
}

static void assert_refused(int result, const char *first, const char *second)
{
	assert_int_equal(result, PEM_REFUSED);
	if (!strstr(problem, first) || !strstr(problem, second))
		fail_msg("'%s' and '%s' are not both in: %s", first, second, problem);
	assert_int_equal(ERR_peek_error(), 0);
}

static void an_encrypted_certificate_asks_nobody(void **state)
{
	(void)state;
	STACK_OF(X509) *found = NULL;
	BIO *out = begin();
	encrypt(out, (i2d_of_void *)i2d_X509, PEM_STRING_X509, certificate);
	finish(out);
	assert_refused(pem_certificates(path, "CA file", PEM_TO_RELY_ON, &found, problem), "CA file", "1 is encrypted");
	assert_refused(pem_certificates(path, "file", PEM_TO_LOOK_AT, &found, problem), "1 is encrypted", "openssl x509");
	assert_null(found);
}

static void an_encrypted_certificate_behind_a_good_one_is_not_left_out(void **state)
{
	(void)state;
	STACK_OF(X509) *found = NULL;
	BIO *out = begin();
	assert_int_equal(PEM_write_bio_X509(out, certificate), 1);
	encrypt(out, (i2d_of_void *)i2d_X509, PEM_STRING_X509, certificate);
	finish(out);
	assert_refused(pem_certificates(path, "CA file", PEM_TO_RELY_ON, &found, problem), "CA file", "2 is encrypted");
	assert_null(found);
}

static void an_encrypted_key_between_certificates_is_skipped_like_any_other(void **state)
{
	(void)state;
	STACK_OF(X509) *found = NULL;
	BIO *out = begin();
	assert_int_equal(PEM_write_bio_X509(out, certificate), 1);
	assert_int_equal(PEM_write_bio_PrivateKey_traditional(out, forge_leaf_key, EVP_aes_128_cbc(), (const uint8_t *)WORD,
	                                                      sizeof WORD - 1, NULL, NULL),
	                 1);
	assert_int_equal(PEM_write_bio_X509(out, certificate), 1);
	finish(out);
	assert_int_equal(pem_certificates(path, "CA file", PEM_TO_RELY_ON, &found, problem), 0);
	assert_int_equal(sk_X509_num(found), 2);
	OSSL_STACK_OF_X509_free(found);
}

static void an_encrypted_revocation_list_asks_nobody(void **state)
{
	(void)state;
	STACK_OF(X509_CRL) *found = NULL;
	X509_CRL *list = X509_CRL_new();
	ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
	assert_int_equal(X509_CRL_set_issuer_name(list, X509_get_subject_name(certificate)), 1);
	assert_int_equal(X509_CRL_set1_lastUpdate(list, now), 1);
	assert_true(X509_CRL_sign(list, forge_ca_key, EVP_sha256()) > 0);
	BIO *out = begin();
	encrypt(out, (i2d_of_void *)i2d_X509_CRL, PEM_STRING_X509_CRL, list);
	finish(out);
	X509_CRL_free(list);
	ASN1_TIME_free(now);
	assert_refused(pem_revocation_lists(path, &found, problem), "list 1 is encrypted", "openssl crl");
	assert_null(found);
}

static void an_encrypted_request_asks_nobody(void **state)
{
	(void)state;
	X509_REQ *found = NULL, *request = X509_REQ_new();
	assert_int_equal(X509_REQ_set_pubkey(request, forge_leaf_key), 1);
	assert_true(X509_REQ_sign(request, forge_leaf_key, EVP_sha256()) > 0);
	BIO *out = begin();
	encrypt(out, (i2d_of_void *)i2d_X509_REQ, PEM_STRING_X509_REQ, request);
	finish(out);
	X509_REQ_free(request);
	assert_refused(pem_request(path, &found, problem), "is encrypted", "openssl req");
	assert_null(found);
}

static void expect_key_refused(void)
{
	EVP_PKEY *found = NULL;
	assert_refused(pem_private_key(path, &found, problem), "is encrypted", "openssl pkey");
	assert_null(found);
}

static void an_encrypted_key_of_any_form_asks_nobody(void **state)
{
	(void)state;
	const EVP_CIPHER *cipher = EVP_aes_128_cbc();
	const uint8_t *word = (const uint8_t *)WORD;
	BIO *out = begin();
	assert_int_equal(PEM_write_bio_PrivateKey(out, forge_leaf_key, cipher, word, sizeof WORD - 1, NULL, NULL), 1);
	finish(out);
	expect_key_refused();
	out = begin();
	assert_int_equal(PEM_write_bio_PrivateKey_traditional(out, forge_leaf_key, cipher, word, sizeof WORD - 1, NULL,
	                                                      NULL),
	                 1);
	finish(out);
	expect_key_refused();
	// A form that no program writes, but whose reader may ask as well.
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(forge_leaf_key);
	out = begin();
	encrypt(out, (i2d_of_void *)i2d_PKCS8_PRIV_KEY_INFO, PEM_STRING_PKCS8INF, info);
	finish(out);
	PKCS8_PRIV_KEY_INFO_free(info);
	expect_key_refused();
}

static void an_encrypted_block_behind_a_broken_key_asks_nobody(void **state)
{
	(void)state;
	EVP_PKEY *found = NULL;
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(forge_leaf_key);
	BIO *out = begin();
	assert_true(BIO_puts(out, "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n") > 0);
	encrypt(out, (i2d_of_void *)i2d_PKCS8_PRIV_KEY_INFO, PEM_STRING_PKCS8INF, info);
	finish(out);
	PKCS8_PRIV_KEY_INFO_free(info);
	assert_int_equal(pem_private_key(path, &found, problem), PEM_REFUSED);
	assert_null(found);
}

// The last test: what was laid out for those who ask is all there.
static void nobody_has_asked(void **state)
{
	(void)state;
	char all[sizeof WORD * 8 + 1];
	assert_int_equal(read(STDIN_FILENO, all, sizeof all), sizeof WORD * 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_encrypted_certificate_asks_nobody),
		cmocka_unit_test(an_encrypted_certificate_behind_a_good_one_is_not_left_out),
		cmocka_unit_test(an_encrypted_key_between_certificates_is_skipped_like_any_other),
		cmocka_unit_test(an_encrypted_revocation_list_asks_nobody),
		cmocka_unit_test(an_encrypted_request_asks_nobody),
		cmocka_unit_test(an_encrypted_key_of_any_form_asks_nobody),
		cmocka_unit_test(an_encrypted_block_behind_a_broken_key_asks_nobody),
		cmocka_unit_test(nobody_has_asked),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
