#include "crypto/renewal.h"

#include "crypto/authority.h"
#include "crypto/build.h"
#include "crypto/issue_file.h"
#include "crypto/pair.h"
#include "crypto/pem.h"
#include "crypto/refusal.h"
#include "crypto/renewal_request.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert((int)RENEWAL_REFUSED == (int)REFUSAL && RENEWAL_PROBLEM_BYTES == REFUSAL_BYTES,
               "refusals are passed up");

// The leaf and its intermediates.
enum { RENEWAL_CHAIN_MOST = 8, PENDING_PATH_BYTES = 4096 };

struct pending {
	char cert[PENDING_PATH_BYTES], key[PENDING_PATH_BYTES];
};

static int pending_paths(const struct renewal_files *files, struct pending *pending,
                         char problem[RENEWAL_PROBLEM_BYTES])
{
	if (snprintf(pending->cert, sizeof pending->cert, "%s.pending", files->identity.cert_path) <
	        (int)sizeof pending->cert &&
	    snprintf(pending->key, sizeof pending->key, "%s.pending", files->identity.key_path) < (int)sizeof pending->key)
		return 0;
	return refusal(problem, "the path of the certificate or of the key is too long");
}

// ---- files

static bool is_there(const char *path)
{
	struct stat info;
	return lstat(path, &info) == 0;
}

static int open_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int file = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	free(folder);
	return file;
}

static int check_file(const char *path, char problem[RENEWAL_PROBLEM_BYTES])
{
	struct stat info;

	if (lstat(path, &info) != 0)
		return refusal(problem, "%s cannot be looked at: %s", path, outcome_text(-errno));
	if (!S_ISREG(info.st_mode))
		return refusal(problem, "%s is no regular file, and a renewal would replace it: name the file itself", path);
	int folder = open_folder(path);
	// Syscalls: faccessat2, faccessat
	bool is_ours = folder >= 0 && faccessat(folder, ".", W_OK | X_OK, AT_EACCESS) == 0;
	int error = errno;
	if (folder >= 0)
		close(folder);
	return is_ours ? 0
	               : refusal(problem,
	                         "the folder of %s is not ours to write in (%s), so a renewal could not replace the file",
	                         path, outcome_text(-error));
}

int renewal_check(const struct renewal_files *files, char problem[RENEWAL_PROBLEM_BYTES])
{
	struct pending pending;
	int result = pending_paths(files, &pending, problem);

	if (result == 0)
		result = check_file(files->identity.cert_path, problem);
	if (result == 0 && files->new_key)
		result = check_file(files->identity.key_path, problem);
	return result;
}

// On the disk when it returns.
// Syscalls: rename, fsync
static int move(const char *from, const char *to, char problem[RENEWAL_PROBLEM_BYTES])
{
	if (rename(from, to) != 0)
		return refusal(problem, "%s cannot be put in the place of %s: %s", from, to, outcome_text(-errno));
	int folder = open_folder(to);
	if (folder >= 0) {
		(void)fsync(folder); // some file systems cannot; the rename is done in any case
		close(folder);
	}
	return 0;
}

// ---- what a crash left

// Whether the certificate is for that key.
static bool do_match(const char *cert_path, const char *key_path)
{
	char ignored[PEM_PROBLEM_BYTES];
	STACK_OF(X509) *certificates = NULL;
	EVP_PKEY *key = NULL;
	bool match = pem_certificates(cert_path, "certificate", PEM_TO_RELY_ON, &certificates, ignored) == 0 &&
	             pem_private_key(key_path, &key, ignored) == 0 &&
	             X509_check_private_key(sk_X509_value(certificates, 0), key) == 1;

	EVP_PKEY_free(key);
	OSSL_STACK_OF_X509_free(certificates);
	ERR_clear_error();
	return match;
}

static int verify(const struct renewal_files *files, const char *cert_path, const char *key_path,
                  char problem[RENEWAL_PROBLEM_BYTES])
{
	struct identity_files identity_files = files->identity;
	struct identity *identity = NULL;

	identity_files.cert_path = cert_path;
	identity_files.key_path = key_path;
	int result = identity_load(&identity_files, &identity, problem);
	identity_unref(&identity);
	return result;
}

// The staged certificate and its key take their places.
static int swap(const struct renewal_files *files, const struct pending *pending, bool has_pending_key,
                char problem[RENEWAL_PROBLEM_BYTES])
{
	int result = has_pending_key ? move(pending->key, files->identity.key_path, problem) : 0;
	return result == 0 ? move(pending->cert, files->identity.cert_path, problem) : result;
}

int renewal_recover(const struct renewal_files *files, bool *moved, char problem[RENEWAL_PROBLEM_BYTES])
{
	struct pending pending;
	char ignored[RENEWAL_PROBLEM_BYTES];
	int result = pending_paths(files, &pending, problem);

	*moved = false;
	if (result != 0 || !is_there(pending.cert))
		return result;
	// The key was moved and the certificate was not: whatever it is worth by now, no other one fits.
	if (!do_match(files->identity.cert_path, files->identity.key_path) &&
	    do_match(pending.cert, files->identity.key_path)) {
		*moved = true;
		return move(pending.cert, files->identity.cert_path, problem);
	}
	bool has_pending_key = is_there(pending.key) && do_match(pending.cert, pending.key);
	const char *key = has_pending_key ? pending.key : files->identity.key_path;
	if (verify(files, pending.cert, key, ignored) == 0) {
		*moved = true;
		return swap(files, &pending, has_pending_key, problem);
	}
	(void)unlink(pending.cert);
	return 0;
}

// ---- the request

static int pending_key(const struct renewal_files *files, const char *path, EVP_PKEY *old, EVP_PKEY **key,
                       char problem[RENEWAL_PROBLEM_BYTES])
{
	enum issue_key kind = files->key;

	if (pem_private_key(path, key, problem) == 0 && EVP_PKEY_eq(*key, old) != 1)
		return 0;
	EVP_PKEY_free(*key);
	*key = NULL;
	if (!files->other_algorithm && issue_key_of(old, &kind) != 0)
		return refusal(problem,
		               "the key of certificate %s is of a kind that is not made here: choose one with renewal.key",
		               files->identity.cert_path);
	*key = issue_make_key(kind);
	if (!*key)
		return refusal_by_library("making the key", problem);
	return issue_file_write_key(*key, path, true, problem);
}

static bool copy_extensions(X509 *certificate, X509_REQ *request)
{
	static const int copied[] = {NID_ext_key_usage, NID_subject_alt_name};
	STACK_OF(X509_EXTENSION) *extensions = NULL;
	bool done = true;

	for (size_t i = 0; i < COUNT_OF(copied) && done; i++) {
		int at = X509_get_ext_by_NID(certificate, copied[i], -1);
		done = at < 0 || X509v3_add_ext(&extensions, X509_get_ext(certificate, at), -1);
	}
	done = done && (!extensions || X509_REQ_add_extensions(request, extensions) == 1);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	return done;
}

static X509_REQ *make_request(X509 *certificate, EVP_PKEY *key)
{
	X509_REQ *request = X509_REQ_new();

	if (request && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 && X509_REQ_set_pubkey(request, key) == 1 &&
	    X509_REQ_set_subject_name(request, X509_get_subject_name(certificate)) == 1 &&
	    copy_extensions(certificate, request) && X509_REQ_sign(request, key, authority_digest(key)) > 0)
		return request;
	X509_REQ_free(request);
	return NULL;
}

static int ask(const struct renewal_files *files, X509 *certificate, EVP_PKEY *old, char **text,
               char problem[RENEWAL_PROBLEM_BYTES])
{
	struct pending pending;
	EVP_PKEY *fresh = NULL;
	int result = pending_paths(files, &pending, problem);

	if (result == 0 && files->new_key)
		result = pending_key(files, pending.key, old, &fresh, problem);
	X509_REQ *request = result == 0 ? make_request(certificate, fresh ? fresh : old) : NULL;
	if (result == 0)
		result = request ? renewal_request_encode(request, certificate, old, text, problem)
		                 : refusal_by_library("making the request", problem);
	X509_REQ_free(request);
	EVP_PKEY_free(fresh);
	return result;
}

int renewal_ask(const struct renewal_files *files, char **text, char problem[RENEWAL_PROBLEM_BYTES])
{
	STACK_OF(X509) *certificates = NULL;
	EVP_PKEY *old = NULL;
	int result = pem_certificates(files->identity.cert_path, "certificate", PEM_TO_RELY_ON, &certificates, problem);

	if (result == 0)
		result = pem_private_key(files->identity.key_path, &old, problem);
	if (result == 0)
		result = ask(files, sk_X509_value(certificates, 0), old, text, problem);
	EVP_PKEY_free(old);
	OSSL_STACK_OF_X509_free(certificates);
	ERR_clear_error();
	return result;
}

// ---- the answer

static int read_chain(const void *bytes, size_t length, STACK_OF(X509) * chain, char problem[RENEWAL_PROBLEM_BYTES])
{
	BIO *input = BIO_new_mem_buf(bytes, (int)length);
	X509 *certificate = NULL;
	bool fits = true;

	while (input && fits && (certificate = PEM_read_bio_X509(input, NULL, pem_refuse_to_ask, NULL))) {
		fits = sk_X509_num(chain) < RENEWAL_CHAIN_MOST && sk_X509_push(chain, certificate) > 0;
		if (!fits)
			X509_free(certificate);
	}
	BIO_free(input);
	ERR_clear_error();
	if (fits && sk_X509_num(chain) > 0)
		return 0;
	return refusal(problem, fits ? "the answer holds no certificate" : "the answer holds too many certificates");
}

static bool is_same_extension(X509 *a, X509 *b, int nid)
{
	int at_a = X509_get_ext_by_NID(a, nid, -1), at_b = X509_get_ext_by_NID(b, nid, -1);

	if (at_a < 0 || at_b < 0)
		return at_a < 0 && at_b < 0;
	return ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(X509_get_ext(a, at_a)),
	                             X509_EXTENSION_get_data(X509_get_ext(b, at_b))) == 0;
}

static int judge_answer(X509 *fresh, X509 *old, EVP_PKEY *key, char problem[RENEWAL_PROBLEM_BYTES])
{
	if (X509_check_private_key(fresh, key) != 1)
		return refusal(problem, "the answer is a certificate for another key than the one we asked with");
	if (X509_NAME_cmp(X509_get_subject_name(fresh), X509_get_subject_name(old)) != 0 ||
	    !is_same_extension(fresh, old, NID_subject_alt_name))
		return refusal(problem, "the answer is a certificate for other names than ours");
	if (!is_same_extension(fresh, old, NID_ext_key_usage))
		return refusal(problem, "the answer is a certificate for another usage than ours");
	if (ASN1_TIME_compare(X509_get0_notAfter(fresh), X509_get0_notAfter(old)) <= 0)
		return refusal(problem, "the answer is a certificate that ends no later than ours");
	return 0;
}

static int stage(STACK_OF(X509) * chain, const char *path, char problem[RENEWAL_PROBLEM_BYTES])
{
	const struct pair_single single = {"certificate", path, 0644, true};
	BIO *output = BIO_new(BIO_s_mem());
	bool done = output;
	char *pem = NULL;

	for (int i = 0; done && i < sk_X509_num(chain); i++)
		done = PEM_write_bio_X509(output, sk_X509_value(chain, i)) == 1;
	int result = done ? 0 : refusal_by_library("writing PEM", problem);
	if (result == 0) {
		size_t length = (size_t)BIO_get_mem_data(output, &pem);
		result = pair_write_single(&single, (struct pair_content){pem, length}, problem);
	}
	BIO_free(output);
	return result;
}

static int stage_and_swap(const struct renewal_files *files, const struct pending *pending, STACK_OF(X509) * chain,
                          char problem[RENEWAL_PROBLEM_BYTES])
{
	int result = stage(chain, pending->cert, problem);

	if (result != 0)
		return result;
	result = verify(files, pending->cert, files->new_key ? pending->key : files->identity.key_path, problem);
	if (result != 0) {
		(void)unlink(pending->cert);
		return result;
	}
	return swap(files, pending, files->new_key, problem);
}

int renewal_take(const struct renewal_files *files, const void *bytes, size_t length,
                 char problem[RENEWAL_PROBLEM_BYTES])
{
	struct pending pending;
	STACK_OF(X509) *old = NULL, *chain = sk_X509_new_null();
	EVP_PKEY *key = NULL;
	int result = length <= LIMIT_RENEWAL_BYTES ? pending_paths(files, &pending, problem)
	                                           : refusal(problem, "the answer is too large");

	if (result == 0)
		result = chain ? read_chain(bytes, length, chain, problem) : -ENOMEM;
	if (result == 0)
		result = pem_certificates(files->identity.cert_path, "certificate", PEM_TO_RELY_ON, &old, problem);
	if (result == 0)
		result = pem_private_key(files->new_key ? pending.key : files->identity.key_path, &key, problem);
	if (result == 0)
		result = judge_answer(sk_X509_value(chain, 0), sk_X509_value(old, 0), key, problem);
	if (result == 0)
		result = stage_and_swap(files, &pending, chain, problem);
	EVP_PKEY_free(key);
	OSSL_STACK_OF_X509_free(old);
	OSSL_STACK_OF_X509_free(chain);
	ERR_clear_error();
	return result;
}
