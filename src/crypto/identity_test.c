#include "crypto/forge.h"
#include "crypto/identity.h"

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
#include <time.h>
#include <unistd.h>

static char folder[64], ca_path[128], cert_path[128], key_path[128];
static EVP_PKEY *other_key;
static X509 *ca;

static X509 *forge_server(void)
{
	return forge(&(struct forgery){
		.common_name = "server", .names = "DNS:server.example.org", .usage = "serverAuth", .issuer = ca});
}

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-identity-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(ca_path, sizeof ca_path, "%s/ca.crt", folder);
	snprintf(cert_path, sizeof cert_path, "%s/server.crt", folder);
	snprintf(key_path, sizeof key_path, "%s/server.key", folder);
	forge_start();
	other_key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	ca = forge(&(struct forgery){.common_name = "test CA", .key = forge_ca_key, .constraints = "critical,CA:TRUE"});
	return 0;
}

static int stop(void **state)
{
	char command[128];

	(void)state;
	X509_free(ca);
	forge_stop();
	EVP_PKEY_free(other_key);
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

// ---- files

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static void write_bytes(const char *name, const void *bytes, size_t length, mode_t mode)
{
	const char *path = path_of(name);
	unlink(path);
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void write_certificates(const char *name, X509 *first, X509 *second)
{
	BIO *output = BIO_new(BIO_s_mem());
	char *bytes = NULL;

	assert_int_equal(PEM_write_bio_X509(output, first), 1);
	if (second)
		assert_int_equal(PEM_write_bio_X509(output, second), 1);
	long length = BIO_get_mem_data(output, &bytes);
	write_bytes(name, bytes, (size_t)length, 0644);
	BIO_free(output);
}

static void write_key(const char *name, EVP_PKEY *key, mode_t mode, char *passphrase)
{
	BIO *output = BIO_new(BIO_s_mem());
	char *bytes = NULL;

	assert_int_equal(PEM_write_bio_PrivateKey(output, key, passphrase ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL,
	                                          passphrase),
	                 1);
	long length = BIO_get_mem_data(output, &bytes);
	write_bytes(name, bytes, (size_t)length, mode);
	BIO_free(output);
}

// The files of a good server, to be spoilt by a test.
static struct identity_files good_files(void)
{
	X509 *server = forge_server();

	write_certificates("ca.crt", ca, NULL);
	write_certificates("server.crt", server, NULL);
	write_key("server.key", forge_leaf_key, 0600, NULL);
	X509_free(server);
	return (struct identity_files){.ca_path = ca_path,
	                               .cert_path = cert_path,
	                               .key_path = key_path,
	                               .usage = IDENTITY_SERVER};
}

static void expect_loaded(const struct identity_files *files)
{
	struct identity *identity = NULL;
	char problem[IDENTITY_PROBLEM_BYTES] = "";

	if (identity_load(files, &identity, problem) != 0)
		fail_msg("refused: %s", problem);
	assert_int_equal(ERR_peek_error(), 0);
	identity_unref(&identity);
	assert_null(identity);
}

// Refused, with every one of the words in the text, nothing handed out and no error left in the library.
static void expect_refused(const struct identity_files *files, const char *words[4])
{
	struct identity *identity = NULL;
	char problem[IDENTITY_PROBLEM_BYTES] = "";

	assert_int_equal(identity_load(files, &identity, problem), IDENTITY_REFUSED);
	assert_null(identity);
	for (int i = 0; i < 4 && words[i]; i++) {
		if (!strstr(problem, words[i]))
			fail_msg("'%s' is not in: %s", words[i], problem);
	}
	assert_int_equal(ERR_peek_error(), 0);
}

#define WORDS(...)    \
	(const char *[4]) \
	{                 \
		__VA_ARGS__   \
	}

// ---- loading

static void good_files_load_and_their_parts_are_lent(void **state)
{
	struct identity_files files = good_files();
	struct identity *identity = NULL, *second;
	char problem[IDENTITY_PROBLEM_BYTES] = "";

	(void)state;
	assert_int_equal(identity_load(&files, &identity, problem), 0);
	second = identity_ref(identity);
	identity_unref(&identity);
	assert_null(identity);
	assert_int_equal(X509_check_private_key(identity_certificate(second), identity_key(second)), 1);
	assert_non_null(identity_store(second));
	assert_int_equal(sk_X509_num(identity_chain(second)), 0);
	identity_unref(&second);
	identity_unref(&second);
}

static void the_chain_holds_the_intermediates_without_the_root_in_order(void **state)
{
	struct identity_files files = good_files();
	struct identity *identity = NULL;
	char problem[IDENTITY_PROBLEM_BYTES] = "";

	(void)state;
	X509 *middle = forge(&(struct forgery){
		.common_name = "middle", .key = other_key, .issuer = ca, .constraints = "critical,CA:TRUE,pathlen:0"});
	X509 *leaf = forge(
		&(struct forgery){.common_name = "server", .usage = "serverAuth", .issuer = middle, .issuer_key = other_key});
	write_certificates("server.crt", leaf, NULL);
	expect_refused(&files, WORDS("not issued by the CA given", "server.crt"));

	// The root in the file is not sent: whoever believes it has it.
	BIO *output = BIO_new_file(path_of("server.crt"), "wb");
	PEM_write_bio_X509(output, leaf);
	PEM_write_bio_X509(output, ca);
	PEM_write_bio_X509(output, middle);
	BIO_free(output);
	assert_int_equal(identity_load(&files, &identity, problem), 0);
	assert_int_equal(sk_X509_num(identity_chain(identity)), 1);
	assert_int_equal(X509_cmp(sk_X509_value(identity_chain(identity), 0), middle), 0);
	identity_unref(&identity);

	// An intermediate alone is no root: there are no partial chains.
	write_certificates("ca.crt", middle, NULL);
	expect_refused(&files, WORDS("not issued by the CA given"));
	X509_free(middle);
	X509_free(leaf);
}

static void several_ca_certificates_may_stand_in_one_file(void **state)
{
	struct identity_files files = good_files();

	(void)state;
	X509 *another = forge(&(struct forgery){
		.common_name = "another CA", .key = other_key, .issuer_key = other_key, .constraints = "critical,CA:TRUE"});
	write_certificates("ca.crt", another, ca);
	expect_loaded(&files);
	write_certificates("ca.crt", another, NULL);
	expect_refused(&files, WORDS("server.crt", "ca.crt", "not issued by the CA given"));
	X509_free(another);
}

static void a_ca_of_the_same_name_with_another_key_is_not_the_ca(void **state)
{
	struct identity_files files = good_files();

	(void)state;
	X509 *twin = forge(&(struct forgery){
		.common_name = "test CA", .key = other_key, .issuer_key = other_key, .constraints = "critical,CA:TRUE"});
	write_certificates("ca.crt", twin, NULL);
	expect_refused(&files, WORDS("server.crt", "does not verify"));
	X509_free(twin);
}

static void each_missing_file_is_named(void **state)
{
	struct identity_files files = good_files();

	(void)state;
	files.ca_path = "/nowhere/ca.crt";
	expect_refused(&files, WORDS("CA file /nowhere/ca.crt does not exist"));
	files = good_files();
	files.cert_path = "/nowhere/server.crt";
	expect_refused(&files, WORDS("certificate /nowhere/server.crt does not exist"));
	files = good_files();
	files.key_path = "/nowhere/server.key";
	expect_refused(&files, WORDS("private key /nowhere/server.key does not exist"));
}

static void a_key_file_open_to_others_is_refused_with_the_command_that_mends_it(void **state)
{
	static const mode_t refused[] = {0644, 0604, 0602, 0601, 0660, 0620, 0610, 0777};
	static const mode_t allowed[] = {0600, 0400, 0640, 0440, 0700};
	struct identity_files files = good_files();
	char fix[160], octal[16];

	(void)state;
	snprintf(fix, sizeof fix, "chmod 600 %s", files.key_path);
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		write_key("server.key", forge_leaf_key, refused[i], NULL);
		snprintf(octal, sizeof octal, "mode %04o", refused[i]);
		expect_refused(&files, WORDS(fix, octal, files.key_path));
	}
	for (size_t i = 0; i < COUNT_OF(allowed); i++) {
		write_key("server.key", forge_leaf_key, allowed[i], NULL);
		expect_loaded(&files);
	}
}

static void a_key_file_of_a_group_or_owner_that_is_not_ours_is_refused(void **state)
{
	struct identity_files files = good_files();

	(void)state;
	if (geteuid() != 0) {
		print_message("only root can give files away\n");
		skip();
	}
	write_key("server.key", forge_leaf_key, 0640, NULL);
	assert_int_equal(chown(files.key_path, 0, 54321), 0);
	expect_refused(&files, WORDS("can be read by a group that is not ours", "gid 54321", "chmod 600"));
	write_key("server.key", forge_leaf_key, 0600, NULL);
	assert_int_equal(chown(files.key_path, 0, 54321), 0);
	expect_loaded(&files);
	assert_int_equal(chown(files.key_path, 54321, 0), 0);
	expect_refused(&files, WORDS("belongs to uid 54321", "chown 0"));
}

static void files_that_every_user_may_change_are_refused(void **state)
{
	struct identity_files files = good_files();

	(void)state;
	assert_int_equal(chmod(files.ca_path, 0666), 0);
	expect_refused(&files, WORDS("ca.crt", "can be changed by every user", "chmod o-w"));
	files = good_files();
	assert_int_equal(chmod(files.cert_path, 0666), 0);
	expect_refused(&files, WORDS("server.crt", "can be changed by every user", "chmod o-w"));
}

static void what_is_not_a_pem_file_is_refused(void **state)
{
	struct identity_files files = good_files();
	static char large[1024 * 1024 + 1];

	(void)state;
	write_bytes("server.crt", "", 0, 0644);
	expect_refused(&files, WORDS("server.crt holds no certificate"));
	write_bytes("server.crt", "\x30\x82\x01\x00garbage\0more", 16, 0644);
	expect_refused(&files, WORDS("server.crt holds no certificate"));
	write_bytes("server.crt", large, sizeof large, 0644);
	expect_refused(&files, WORDS("server.crt is larger than"));
	files = good_files();
	write_bytes("server.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 58, 0600);
	expect_refused(&files, WORDS("server.key holds no private key"));
	files = good_files();
	unlink(files.key_path);
	assert_int_equal(mkfifo(files.key_path, 0600), 0);
	expect_refused(&files, WORDS("server.key is not a regular file"));
	files.cert_path = folder;
	expect_refused(&files, WORDS("is not a regular file"));
}

static void swapped_files_are_recognised(void **state)
{
	struct identity_files files = good_files();

	(void)state;
	files.cert_path = key_path;
	expect_refused(&files, WORDS("server.key holds no certificate", "swapped"));
	files.cert_path = cert_path;
	assert_int_equal(chmod(cert_path, 0600), 0);
	files.key_path = cert_path;
	expect_refused(&files, WORDS("server.crt holds no private key", "swapped"));
}

static void a_certificate_cut_anywhere_is_refused(void **state)
{
	struct identity_files files = good_files();
	char bytes[4096];

	(void)state;
	FILE *file = fopen(files.cert_path, "rb");
	size_t length = fread(bytes, 1, sizeof bytes, file);
	fclose(file);
	for (size_t cut = 0; cut < length - 1; cut++) {
		write_bytes("server.crt", bytes, cut, 0644);
		expect_refused(&files, WORDS("server.crt"));
	}
	write_bytes("server.crt", bytes, length, 0644);
	expect_loaded(&files);
}

static void an_encrypted_key_is_refused_since_nobody_can_be_asked(void **state)
{
	struct identity_files files = good_files();
	char passphrase[] = "secret";

	(void)state;
	write_key("server.key", forge_leaf_key, 0600, passphrase);
	expect_refused(&files, WORDS("is encrypted", "openssl pkey"));
}

static void a_key_of_another_certificate_is_refused(void **state)
{
	struct identity_files files = good_files();

	(void)state;
	write_key("server.key", other_key, 0600, NULL);
	expect_refused(&files, WORDS("server.key does not belong to", "server.crt"));
}

static void a_certificate_outside_its_time_is_refused(void **state)
{
	struct identity_files files = good_files();
	struct forgery forgery = {
		.common_name = "old", .usage = "serverAuth", .issuer = ca, .from_s = -7200, .to_s = -3600};

	(void)state;
	X509 *certificate = forge(&forgery);
	write_certificates("server.crt", certificate, NULL);
	expect_refused(&files, WORDS("server.crt (CN=old) expired on 20", "UTC"));
	X509_free(certificate);
	forgery.from_s = 3600;
	forgery.to_s = 7200;
	certificate = forge(&forgery);
	write_certificates("server.crt", certificate, NULL);
	expect_refused(&files, WORDS("is not valid before 20", "clock"));
	X509_free(certificate);
}

static void an_expired_ca_is_refused(void **state)
{
	struct identity_files files = good_files();

	(void)state;
	X509 *old = forge(&(struct forgery){.common_name = "test CA",
	                                    .key = forge_ca_key,
	                                    .constraints = "critical,CA:TRUE",
	                                    .from_s = -7200,
	                                    .to_s = -3600});
	write_certificates("ca.crt", old, NULL);
	expect_refused(&files, WORDS("expired", "CN=test CA"));
	X509_free(old);
}

static void a_certificate_for_the_other_role_or_for_none_is_refused(void **state)
{
	struct identity_files files = good_files();
	struct forgery forgery = {.common_name = "x", .usage = "clientAuth", .issuer = ca};

	(void)state;
	X509 *certificate = forge(&forgery);
	write_certificates("server.crt", certificate, NULL);
	expect_refused(&files, WORDS("lacks serverAuth", "it is a client's", "qanat cert server"));
	files.usage = IDENTITY_CLIENT;
	expect_loaded(&files);
	X509_free(certificate);
	forgery.usage = NULL;
	certificate = forge(&forgery);
	write_certificates("server.crt", certificate, NULL);
	expect_refused(&files, WORDS("lacks clientAuth"));
	X509_free(certificate);
	forgery.usage = "anyExtendedKeyUsage";
	certificate = forge(&forgery);
	write_certificates("server.crt", certificate, NULL);
	expect_refused(&files, WORDS("lacks clientAuth"));
	X509_free(certificate);
}

static void a_ca_file_with_a_leaf_in_it_is_refused(void **state)
{
	struct identity_files files = good_files();

	(void)state;
	files.ca_path = files.cert_path;
	expect_refused(&files, WORDS("CA file", "is not a CA's"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_files_load_and_their_parts_are_lent),
		cmocka_unit_test(the_chain_holds_the_intermediates_without_the_root_in_order),
		cmocka_unit_test(several_ca_certificates_may_stand_in_one_file),
		cmocka_unit_test(a_ca_of_the_same_name_with_another_key_is_not_the_ca),
		cmocka_unit_test(each_missing_file_is_named),
		cmocka_unit_test(a_key_file_open_to_others_is_refused_with_the_command_that_mends_it),
		cmocka_unit_test(a_key_file_of_a_group_or_owner_that_is_not_ours_is_refused),
		cmocka_unit_test(files_that_every_user_may_change_are_refused),
		cmocka_unit_test(what_is_not_a_pem_file_is_refused),
		cmocka_unit_test(swapped_files_are_recognised),
		cmocka_unit_test(a_certificate_cut_anywhere_is_refused),
		cmocka_unit_test(an_encrypted_key_is_refused_since_nobody_can_be_asked),
		cmocka_unit_test(a_key_of_another_certificate_is_refused),
		cmocka_unit_test(a_certificate_outside_its_time_is_refused),
		cmocka_unit_test(an_expired_ca_is_refused),
		cmocka_unit_test(a_certificate_for_the_other_role_or_for_none_is_refused),
		cmocka_unit_test(a_ca_file_with_a_leaf_in_it_is_refused),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
