#include "wire/tls_names.h"

#include "crypto/forge.h"
#include "limits.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64], path[96];
static BIO *bundle;

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-names-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/ca.crt", folder);
	bundle = BIO_new_file(path, "wb");
	forge_start();
	return bundle ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	forge_stop();
	unlink(path);
	return rmdir(folder);
}

static void add(const char *name, size_t length)
{
	X509 *ca = forge(&(struct forgery){
		.common_name = name, .common_name_length = length, .key = forge_ca_key, .constraints = "critical,CA:TRUE"});
	assert_int_equal(PEM_write_bio_X509(bundle, ca), 1);
	X509_free(ca);
}

static int count_names(void)
{
	char problem[IDENTITY_PROBLEM_BYTES] = "";
	const struct trust_files files = {.ca_path = path};
	struct trust *trust = NULL;
	BIO_free(bundle);
	if (trust_load(&files, &trust, problem) != 0)
		fail_msg("%s", problem);
	STACK_OF(X509_NAME) *names = tls_names_of(trust);
	assert_non_null(names);
	int count = sk_X509_NAME_num(names);
	sk_X509_NAME_pop_free(names, X509_NAME_free);
	trust_unref(&trust);
	return count;
}

static void add_many(int count)
{
	char name[32];
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof name, "CA %d", i);
		add(name, 0);
	}
}

static void each_ca_is_named_once(void **state)
{
	(void)state;
	add("one", 0);
	add("two", 0);
	add("one", 0); // renewed, with the same name
	assert_int_equal(count_names(), 2);
}

static void as_many_as_may_be_are_named(void **state)
{
	(void)state;
	add_many(LIMIT_CA_NAMES);
	assert_int_equal(count_names(), LIMIT_CA_NAMES);
}

static void more_than_that_are_not_named_at_all(void **state)
{
	(void)state;
	add_many(LIMIT_CA_NAMES + 1);
	assert_int_equal(count_names(), 0);
}

static void nor_are_long_ones(void **state)
{
	static char name[LIMIT_CA_NAMES_BYTES];
	(void)state;
	memset(name, 'x', sizeof name);
	add(name, sizeof name / 2);
	name[0] = 'y';
	add(name, sizeof name / 2);
	assert_int_equal(count_names(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_ca_is_named_once),
		TEST(as_many_as_may_be_are_named),
		TEST(more_than_that_are_not_named_at_all),
		TEST(nor_are_long_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
