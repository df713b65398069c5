#include "crypto/trust_lists.h"

#include "crypto/forge.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <poll.h>
#include <time.h>

static EVP_PKEY *middle_key, *false_key;
static X509 *root, *middle, *false_middle, *leaf, *deep, *false_deep;

static X509 *forge_middle(EVP_PKEY *key)
{
	return forge(
		&(struct forgery){.common_name = "middle", .key = key, .constraints = "critical,CA:TRUE", .issuer = root});
}

static int start(void **state)
{
	(void)state;
	forge_start();
	middle_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	false_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	root = forge(&(struct forgery){.common_name = "root", .key = forge_ca_key, .constraints = "critical,CA:TRUE"});
	middle = forge_middle(middle_key);
	false_middle = forge_middle(false_key);
	leaf = forge(&(struct forgery){.common_name = "leaf", .issuer = root});
	deep = forge(&(struct forgery){.common_name = "deep", .issuer = middle, .issuer_key = middle_key});
	false_deep = forge(&(struct forgery){.common_name = "deep", .issuer = false_middle, .issuer_key = false_key});
	return 0;
}

static int stop(void **state)
{
	X509 *all[] = {root, middle, false_middle, leaf, deep, false_deep};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++)
		X509_free(all[i]);
	EVP_PKEY_free(middle_key);
	EVP_PKEY_free(false_key);
	forge_stop();
	return 0;
}

struct wish {
	X509 *issuer;
	EVP_PKEY *key;
	X509 *revoked;
	long until_s;        // 0: an hour
	const char *partial; // an issuing distribution point
};

static void add_list(X509_STORE *store, const struct wish *wish)
{
	X509_CRL *list = X509_CRL_new();
	ASN1_TIME *time = X509_gmtime_adj(NULL, -7200);
	assert_int_equal(X509_CRL_set_version(list, X509_CRL_VERSION_2), 1);
	assert_int_equal(X509_CRL_set_issuer_name(list, X509_get_subject_name(wish->issuer)), 1);
	assert_int_equal(X509_CRL_set1_lastUpdate(list, time), 1);
	if (wish->revoked) {
		X509_REVOKED *entry = X509_REVOKED_new();
		assert_int_equal(X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(wish->revoked)), 1);
		assert_int_equal(X509_REVOKED_set_revocationDate(entry, time), 1);
		assert_int_equal(X509_CRL_add0_revoked(list, entry), 1);
	}
	if (wish->partial) {
		X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, NULL, NID_issuing_distribution_point, wish->partial);
		assert_non_null(extension);
		assert_int_equal(X509_CRL_add_ext(list, extension, -1), 1);
		X509_EXTENSION_free(extension);
	}
	X509_gmtime_adj(time, wish->until_s ? wish->until_s : 3600);
	assert_int_equal(X509_CRL_set1_nextUpdate(list, time), 1);
	assert_true(X509_CRL_sign(list, wish->key, EVP_sha256()) > 0);
	assert_int_equal(X509_STORE_add_crl(store, list), 1);
	ASN1_TIME_free(time);
	X509_CRL_free(list);
}

static X509_STORE *store_of(const struct wish *wishes, size_t count)
{
	X509_STORE *store = X509_STORE_new();
	assert_int_equal(X509_STORE_add_cert(store, root), 1);
	assert_int_equal(X509_STORE_add_cert(store, middle), 1);
	for (size_t i = 0; i < count; i++)
		add_list(store, &wishes[i]);
	assert_int_equal(X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL), 1);
	return store;
}

static unsigned long flags_of(X509_STORE *store)
{
	return X509_VERIFY_PARAM_get_flags(X509_STORE_get0_param(store)) &
	       (X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
}

static int check(const struct trust_lists *lists, X509 *certificate, X509 *issuer)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	sk_X509_push(chain, certificate);
	if (issuer)
		sk_X509_push(chain, issuer);
	sk_X509_push(chain, root);
	int verdict = trust_lists_check(lists, chain);
	assert_int_equal(ERR_peek_error(), 0);
	sk_X509_free(chain);
	return verdict;
}

static void each_issuer_of_a_chain_needs_a_list_and_nobody_may_be_on_it(void **state)
{
	(void)state;
	struct trust_lists lists = {0};
	const struct wish both[] = {{.issuer = root, .key = forge_ca_key}, {.issuer = middle, .key = middle_key}};
	X509_STORE *store = store_of(both, 2);
	assert_int_equal(trust_lists_take(&lists, store), 0);
	assert_int_equal(lists.count, 2);
	assert_int_equal(flags_of(store), 0); // the library asks no more
	assert_int_equal(check(&lists, leaf, NULL), X509_V_OK);
	assert_int_equal(check(&lists, deep, middle), X509_V_OK);
	// The name of an issuer whose list is here, and another key.
	assert_int_equal(check(&lists, false_deep, false_middle), X509_V_ERR_UNABLE_TO_GET_CRL);
	trust_lists_fini(&lists);
	X509_STORE_free(store);

	store = store_of(both, 1);
	assert_int_equal(trust_lists_take(&lists, store), 0);
	assert_int_equal(check(&lists, leaf, NULL), X509_V_OK);
	assert_int_equal(check(&lists, deep, middle), X509_V_ERR_UNABLE_TO_GET_CRL);
	trust_lists_fini(&lists);
	X509_STORE_free(store);
}

static void revoked_leaf_intermediate_and_root_are_found(void **state)
{
	(void)state;
	X509 *revoked[] = {leaf, middle, root};
	for (size_t i = 0; i < COUNT_OF(revoked); i++) {
		struct trust_lists lists = {0};
		const struct wish both[] = {{.issuer = root, .key = forge_ca_key, .revoked = revoked[i]},
		                            {.issuer = middle, .key = middle_key}};
		X509_STORE *store = store_of(both, 2);
		assert_int_equal(trust_lists_take(&lists, store), 0);
		assert_int_equal(check(&lists, leaf, NULL), i == 1 ? X509_V_OK : X509_V_ERR_CERT_REVOKED);
		assert_int_equal(check(&lists, deep, middle), i == 0 ? X509_V_OK : X509_V_ERR_CERT_REVOKED);
		trust_lists_fini(&lists);
		X509_STORE_free(store);
	}
}

static void list_that_is_over_is_none_and_a_newer_one_takes_its_place(void **state)
{
	(void)state;
	struct trust_lists lists = {0};
	const struct wish wishes[] = {{.issuer = root, .key = forge_ca_key, .until_s = 1},
	                              {.issuer = root, .key = forge_ca_key}};
	X509_STORE *store = store_of(wishes, 1);
	assert_int_equal(trust_lists_take(&lists, store), 0);
	time_t patience = time(NULL) + 20;
	while (check(&lists, leaf, NULL) == X509_V_OK) {
		(void)poll(NULL, 0, 20);
		assert_true(time(NULL) < patience);
	}
	assert_int_equal(check(&lists, leaf, NULL), X509_V_ERR_CRL_HAS_EXPIRED);
	trust_lists_fini(&lists);
	X509_STORE_free(store);
	store = store_of(wishes, 2);
	assert_int_equal(trust_lists_take(&lists, store), 0);
	assert_int_equal(check(&lists, leaf, NULL), X509_V_OK);
	trust_lists_fini(&lists);
	X509_STORE_free(store);
}

static void list_that_says_less_is_left_to_the_library(void **state)
{
	(void)state;
	struct trust_lists lists = {0};
	const struct wish wishes[] = {{.issuer = root, .key = forge_ca_key},
	                              {.issuer = middle, .key = middle_key, .partial = "critical,onlyuser:TRUE"}};
	X509_STORE *store = store_of(wishes, 2);
	assert_int_equal(trust_lists_take(&lists, store), 0);
	assert_int_equal(lists.count, 0);
	assert_int_not_equal(flags_of(store), 0);
	assert_int_equal(check(&lists, leaf, NULL), X509_V_OK); // nothing to add
	trust_lists_fini(&lists);
	X509_STORE_free(store);
	// One that no believed CA has signed never gets here, and would not be taken.
	const struct wish forged = {.issuer = root, .key = false_key};
	store = store_of(&forged, 1);
	assert_int_equal(trust_lists_take(&lists, store), 0);
	assert_int_equal(lists.count, 0);
	assert_int_not_equal(flags_of(store), 0);
	X509_STORE_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_issuer_of_a_chain_needs_a_list_and_nobody_may_be_on_it),
		cmocka_unit_test(revoked_leaf_intermediate_and_root_are_found),
		cmocka_unit_test(list_that_is_over_is_none_and_a_newer_one_takes_its_place),
		cmocka_unit_test(list_that_says_less_is_left_to_the_library),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
