// Revocation lists; chains themselves are judged in identity_test and inspect's users.

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

static char folder[64], ca_path[96], list_path[96];
static EVP_PKEY *middle_key;
static X509 *ca, *middle, *server, *deep;

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-chain-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(ca_path, sizeof ca_path, "%s/ca.crt", folder);
	snprintf(list_path, sizeof list_path, "%s/ca.crl", folder);
	forge_start();
	middle_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	ca = forge(&(struct forgery){.common_name = "test CA", .key = forge_ca_key, .constraints = "critical,CA:TRUE"});
	middle = forge(&(struct forgery){
		.common_name = "middle CA", .key = middle_key, .constraints = "critical,CA:TRUE", .issuer = ca});
	server = forge(&(struct forgery){.common_name = "server", .usage = "serverAuth", .issuer = ca});
	deep = forge(
		&(struct forgery){.common_name = "deep", .usage = "serverAuth", .issuer = middle, .issuer_key = middle_key});
	return 0;
}

static int stop(void **state)
{
	char command[96];
	(void)state;
	X509_free(ca);
	X509_free(middle);
	X509_free(server);
	X509_free(deep);
	EVP_PKEY_free(middle_key);
	forge_stop();
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

struct list {
	X509 *issuer;
	EVP_PKEY *key;
	X509 *revoked; // may be NULL
	long from_s, to_s;
	bool has_no_end;
};

static X509_CRL *make(const struct list *list)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *time = ASN1_TIME_new();
	assert_int_equal(X509_CRL_set_version(crl, X509_CRL_VERSION_2), 1);
	assert_int_equal(X509_CRL_set_issuer_name(crl, X509_get_subject_name(list->issuer)), 1);
	X509_gmtime_adj(time, list->from_s);
	assert_int_equal(X509_CRL_set1_lastUpdate(crl, time), 1);
	X509_gmtime_adj(time, list->to_s);
	assert_int_equal(list->has_no_end || X509_CRL_set1_nextUpdate(crl, time), 1);
	if (list->revoked) {
		X509_REVOKED *entry = X509_REVOKED_new();
		X509_gmtime_adj(time, -60);
		assert_int_equal(X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(list->revoked)), 1);
		assert_int_equal(X509_REVOKED_set_revocationDate(entry, time), 1);
		assert_int_equal(X509_CRL_add0_revoked(crl, entry), 1);
	}
	assert_true(X509_CRL_sign(crl, list->key, EVP_sha256()) > 0);
	ASN1_TIME_free(time);
	return crl;
}

static void write_lists(const struct list *lists, size_t count)
{
	BIO *out = BIO_new_file(list_path, "wb");
	assert_non_null(out);
	for (size_t i = 0; i < count; i++) {
		X509_CRL *crl = make(&lists[i]);
		assert_int_equal(PEM_write_bio_X509_CRL(out, crl), 1);
		X509_CRL_free(crl);
	}
	BIO_free(out);
}

// A store of the CA, and of the middle one when asked for.
static X509_STORE *store_of(bool with_middle)
{
	char problem[IDENTITY_PROBLEM_BYTES];
	X509_STORE *store = NULL;
	BIO *out = BIO_new_file(ca_path, "wb");
	assert_int_equal(PEM_write_bio_X509(out, ca), 1);
	assert_int_equal(!with_middle || PEM_write_bio_X509(out, middle), 1);
	BIO_free(out);
	assert_int_equal(chain_load_store(ca_path, &store, problem), 0);
	return store;
}

static void expect_loaded(X509_STORE *store)
{
	char problem[IDENTITY_PROBLEM_BYTES] = "";
	if (chain_load_lists(store, ca_path, list_path, problem) != 0)
		fail_msg("refused: %s", problem);
	assert_int_equal(ERR_peek_error(), 0);
}

static void expect_refused(const char *words)
{
	char problem[IDENTITY_PROBLEM_BYTES] = "";
	X509_STORE *store = store_of(false);
	assert_int_equal(chain_load_lists(store, ca_path, list_path, problem), CHAIN_REFUSED);
	if (!strstr(problem, words) || !strstr(problem, list_path))
		fail_msg("'%s' or the file is not in: %s", words, problem);
	assert_int_equal(ERR_peek_error(), 0);
	X509_STORE_free(store);
}

static void expect_judged(X509_STORE *store, X509 *leaf, STACK_OF(X509) * others, const char *words)
{
	char reason[CHAIN_REASON_BYTES] = "";
	int r = chain_verify(store, leaf, others, IDENTITY_SERVER, NULL, reason);
	if (r != (words ? CHAIN_REFUSED : 0) || (words && !strstr(reason, words)))
		fail_msg("%d: %s", r, reason);
}

static void what_is_on_the_list_is_refused_and_nothing_else(void **state)
{
	(void)state;
	struct list list = {.issuer = ca, .key = forge_ca_key, .from_s = -60, .to_s = 3600, .revoked = middle};
	X509_STORE *store = store_of(false);
	expect_judged(store, server, NULL, NULL);
	write_lists(&list, 1);
	expect_loaded(store);
	expect_judged(store, server, NULL, NULL);
	X509_STORE_free(store);
	store = store_of(false);
	list.revoked = server;
	write_lists(&list, 1);
	expect_loaded(store);
	expect_judged(store, server, NULL, "revoked");
	X509_STORE_free(store);
}

static void every_ca_of_a_chain_needs_its_list(void **state)
{
	(void)state;
	STACK_OF(X509) *others = sk_X509_new_null();
	sk_X509_push(others, middle);
	struct list lists[2] = {{.issuer = ca, .key = forge_ca_key, .from_s = -60, .to_s = 3600},
	                        {.issuer = middle, .key = middle_key, .from_s = -60, .to_s = 3600}};
	X509_STORE *store = store_of(true);
	write_lists(lists, 1);
	expect_loaded(store);
	expect_judged(store, server, NULL, NULL);
	expect_judged(store, deep, others, "there is no revocation list of its issuer CN=middle CA");
	X509_STORE_free(store);
	store = store_of(true);
	write_lists(lists, 2);
	expect_loaded(store);
	expect_judged(store, deep, others, NULL);
	X509_STORE_free(store);
	// A CA in between that was revoked takes what it issued with it.
	store = store_of(true);
	lists[0].revoked = middle;
	write_lists(lists, 2);
	expect_loaded(store);
	expect_judged(store, deep, others, "revoked");
	X509_STORE_free(store);
	sk_X509_free(others);
}

static void lists_that_prove_nothing_are_refused(void **state)
{
	(void)state;
	struct list list = {.issuer = middle, .key = middle_key, .from_s = -60, .to_s = 3600};
	write_lists(&list, 1);
	expect_refused("is of a CA that is not in CA file");
	list = (struct list){.issuer = ca, .key = middle_key, .from_s = -60, .to_s = 3600};
	write_lists(&list, 1);
	expect_refused("its signature is not of the CA that it names");
	list = (struct list){.issuer = ca, .key = forge_ca_key, .from_s = -7200, .to_s = -3600};
	write_lists(&list, 1);
	expect_refused("was to be replaced on");
	list = (struct list){.issuer = ca, .key = forge_ca_key, .from_s = 3600, .to_s = 7200};
	write_lists(&list, 1);
	expect_refused("begins on");
	list = (struct list){.issuer = ca, .key = forge_ca_key, .from_s = -60, .has_no_end = true};
	write_lists(&list, 1);
	expect_refused("does not say when the next one is due");
	// One bad list among good ones.
	struct list lists[2] = {{.issuer = ca, .key = forge_ca_key, .from_s = -60, .to_s = 3600},
	                        {.issuer = ca, .key = middle_key, .from_s = -60, .to_s = 3600}};
	write_lists(lists, 2);
	expect_refused("its signature is not");
}

static void write_text(const char *text, size_t length)
{
	FILE *file = fopen(list_path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

static void what_is_no_list_is_refused(void **state)
{
	(void)state;
	struct list list = {.issuer = ca, .key = forge_ca_key, .from_s = -60, .to_s = 3600};
	char text[4096];
	write_lists(&list, 1);
	FILE *file = fopen(list_path, "rb");
	size_t length = fread(text, 1, sizeof text, file);
	fclose(file);
	assert_int_equal(chmod(list_path, 0666), 0);
	expect_refused("chmod o-w");
	assert_int_equal(unlink(list_path), 0);
	expect_refused("does not exist");
	write_text("", 0);
	expect_refused("holds none in PEM form");
	for (size_t cut = 30; cut < length - 2; cut += 7) {
		char problem[IDENTITY_PROBLEM_BYTES];
		X509_STORE *store = store_of(false);
		write_text(text, cut);
		assert_int_equal(chain_load_lists(store, ca_path, list_path, problem), CHAIN_REFUSED);
		X509_STORE_free(store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_on_the_list_is_refused_and_nothing_else),
		cmocka_unit_test(every_ca_of_a_chain_needs_its_list),
		cmocka_unit_test(lists_that_prove_nothing_are_refused),
		cmocka_unit_test(what_is_no_list_is_refused),
	};
	return cmocka_run_group_tests_name("chain", tests, start, stop);
}
