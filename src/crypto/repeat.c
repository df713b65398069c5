#include "crypto/repeat.h"

#include "crypto/digest.h"
#include "crypto/identity.h"
#include "crypto/pair.h"
#include "crypto/pem.h"
#include "crypto/refusal.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert((int)REPEAT_REFUSED == (int)REFUSAL && REPEAT_PROBLEM_BYTES == REFUSAL_BYTES, "refusals are passed up");

enum { REPEAT_DIGEST_BYTES = (REPEAT_NAME_BYTES - 1) / 2 };

int repeat_name(X509 *old, EVP_PKEY *fresh, char name[REPEAT_NAME_BYTES])
{
	uint8_t digest[REPEAT_DIGEST_BYTES], *key = NULL;
	int key_length = i2d_PUBKEY(fresh, &key);
	size_t length = DIGEST_BYTES + (size_t)(key_length > 0 ? key_length : 0);
	uint8_t *bytes = key_length > 0 ? malloc(length) : NULL;
	int result = bytes && identity_digest(old, bytes) == 0 ? 0 : -ENOMEM;

	if (result == 0) {
		memcpy(bytes + DIGEST_BYTES, key, (size_t)key_length);
		digest_sha256(bytes, length, digest);
		for (size_t i = 0; i < sizeof digest; i++)
			snprintf(name + 2 * i, 3, "%02x", digest[i]);
	}
	free(bytes);
	OPENSSL_free(key);
	ERR_clear_error();
	return result;
}

// NULL without memory.
static char *path_of(const char *index_path, const char *name)
{
	char *path = NULL;
	return asprintf(&path, "%s.answers/%s.crt", index_path, name) < 0 ? NULL : path;
}

static X509 *read_answer(const char *path)
{
	char ignored[PEM_PROBLEM_BYTES];
	STACK_OF(X509) *certificates = NULL;
	X509 *answer = NULL;

	if (pem_certificates(path, "answer", PEM_TO_RELY_ON, &certificates, ignored) == 0)
		answer = sk_X509_shift(certificates);
	OSSL_STACK_OF_X509_free(certificates);
	return answer;
}

int repeat_find(const char *index_path, const char *name, X509 **answer)
{
	char *path = path_of(index_path, name);
	X509 *found = path ? read_answer(path) : NULL;

	free(path);
	if (!found)
		return REPEAT_NONE;
	*answer = found;
	return 0;
}

static int make_folder(const char *index_path, char problem[REPEAT_PROBLEM_BYTES])
{
	char *folder = NULL;
	int result = asprintf(&folder, "%s.answers", index_path) < 0 ? -ENOMEM : 0;

	if (result == 0 && mkdir(folder, 0700) != 0 && errno != EEXIST)
		result = refusal(problem, "the folder of answers %s cannot be made, so nothing is issued: %s", folder,
		                 outcome_text(-errno));
	free(folder);
	return result;
}

int repeat_keep(const char *index_path, const char *name, X509 *answer, char problem[REPEAT_PROBLEM_BYTES])
{
	char *path = path_of(index_path, name), *pem = NULL;
	BIO *output = BIO_new(BIO_s_mem());
	const struct pair_single single = {"answer", path, 0600, true};
	int result = path && output && PEM_write_bio_X509(output, answer) == 1 ? 0 : -ENOMEM;

	if (result == 0)
		result = make_folder(index_path, problem);
	if (result == 0) {
		size_t length = (size_t)BIO_get_mem_data(output, &pem);
		result = pair_write_single(&single, (struct pair_content){pem, length}, problem);
	}
	BIO_free(output);
	free(path);
	return result;
}

static bool is_over(const char *path, int64_t now)
{
	X509 *answer = read_answer(path);
	time_t when = (time_t)now;
	bool over = !answer || X509_cmp_time(X509_get0_notAfter(answer), &when) < 0;

	X509_free(answer);
	return over;
}

size_t repeat_prune(const char *index_path, int64_t now)
{
	char *folder = NULL, path[4096];
	DIR *listing = asprintf(&folder, "%s.answers", index_path) < 0 ? NULL : opendir(folder);
	size_t count = 0;

	for (struct dirent *entry; listing && (entry = readdir(listing));) {
		if (entry->d_name[0] != '.' && snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < (int)sizeof path &&
		    is_over(path, now))
			count += unlink(path) == 0;
	}
	if (listing)
		closedir(listing);
	free(folder);
	return count;
}
