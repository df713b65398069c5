#include "crypto/issue_file.h"

#include "core/secret.h"
#include "crypto/build.h"
#include "crypto/pair.h"
#include "crypto/refusal.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

_Static_assert((int)AUTHORITY_REFUSED == (int)PAIR_REFUSED && AUTHORITY_PROBLEM_BYTES == PAIR_PROBLEM_BYTES,
               "refusals are passed up");

void issue_file_fini(struct issue_file *file)
{
	X509_free(file->certificate);
	EVP_PKEY_free(file->key);
	*file = (struct issue_file){0};
}

static struct pair_content content_of(BIO *output)
{
	char *bytes = NULL;
	long length = BIO_get_mem_data(output, &bytes);

	return (struct pair_content){bytes, length > 0 ? (size_t)length : 0};
}

static int print_and_write(const struct issue_file *file, BIO *cert, BIO *key, char problem[PAIR_PROBLEM_BYTES])
{
	const struct pair_paths paths = {file->cert_path, file->key_path, file->force};
	const struct pair_single single = {"certificate", file->cert_path, 0644, file->force};

	if (!build_print(file->certificate, file->issuers, cert) ||
	    (file->key_path && PEM_write_bio_PrivateKey(key, file->key, NULL, NULL, 0, NULL, NULL) != 1))
		return refusal_by_library("writing PEM", problem);
	if (!file->key_path)
		return pair_write_single(&single, content_of(cert), problem);
	struct pair_content secret = content_of(key);
	int result = pair_write(&paths, content_of(cert), secret, problem);
	secret_wipe((void *)secret.bytes, secret.length);
	return result;
}

int issue_file_write(void *owner, char problem[AUTHORITY_PROBLEM_BYTES])
{
	BIO *cert = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_secmem());
	int result = cert && key ? print_and_write(owner, cert, key, problem) : refusal_by_library("writing PEM", problem);

	BIO_free(cert);
	BIO_free(key);
	return result;
}

int issue_file_write_key(EVP_PKEY *key, const char *path, bool force, char problem[AUTHORITY_PROBLEM_BYTES])
{
	const struct pair_single single = {"private key", path, 0600, force};
	BIO *output = BIO_new(BIO_s_secmem());
	int result = 0;

	if (!output || PEM_write_bio_PrivateKey(output, key, NULL, NULL, 0, NULL, NULL) != 1) {
		result = refusal_by_library("writing PEM", problem);
	} else {
		struct pair_content secret = content_of(output);
		result = pair_write_single(&single, secret, problem);
		secret_wipe((void *)secret.bytes, secret.length);
	}
	BIO_free(output);
	return result;
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat info_a, info_b;

	return stat(a, &info_a) == 0 && stat(b, &info_b) == 0 && info_a.st_dev == info_b.st_dev &&
	       info_a.st_ino == info_b.st_ino;
}

int issue_file_spare_ca(const struct authority_files *files, const char *path, char problem[AUTHORITY_PROBLEM_BYTES])
{
	char *index = NULL;

	if (!files->index_path && asprintf(&index, "%s.index", files->cert_path) < 0)
		index = NULL;
	bool is_own = is_same_file(path, files->cert_path) || (files->key_path && is_same_file(path, files->key_path)) ||
	              (files->index_path && is_same_file(path, files->index_path)) || (index && is_same_file(path, index));
	free(index);
	return is_own ? refusal(problem, "%s is the CA's own file; choose another name", path) : 0;
}
