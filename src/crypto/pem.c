#include "crypto/pem.h"

#include "core/secret.h"
#include "crypto/legacy.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A system's whole bundle of CA certificates has a quarter of it.
enum { PEM_MAX_BYTES = 1024 * 1024 };

#define NOBODY_TO_ASK ", and a service has nobody to ask for the passphrase. "

struct content {
	char *bytes;
	size_t length;
};

static void content_fini(struct content *content)
{
	if (content->bytes)
		secret_wipe(content->bytes, content->length);
	free(content->bytes);
	*content = (struct content){0};
}

PRINTF_LIKE(2, 3) static int refuse(char problem[PEM_PROBLEM_BYTES], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, PEM_PROBLEM_BYTES, format, arguments);
	va_end(arguments);
	ERR_clear_error();
	return PEM_REFUSED;
}

// ---- the file

static int refuse_unopened(const char *path, const char *what, int error, char problem[PEM_PROBLEM_BYTES])
{
	struct stat info;

	if (error == ENOENT)
		return refuse(problem, "%s %s does not exist", what, path);
	if (error == EACCES && stat(path, &info) == 0)
		return refuse(
			problem,
			"%s %s cannot be read by us (uid %u, gid %u): it belongs to uid %u, gid %u, mode %04o. Run as its "
			"owner, or: chown %u %s",
			what, path, geteuid(), getegid(), info.st_uid, info.st_gid, info.st_mode & 07777, geteuid(), path);
	if (error == EACCES)
		return refuse(problem, "%s %s cannot be reached by us (uid %u, gid %u): a folder on its path is closed to us",
		              what, path, geteuid(), getegid());
	return refuse(problem, "%s %s cannot be opened: %s", what, path, outcome_text(-error));
}

static bool is_our_group(gid_t group)
{
	if (group == getegid())
		return true;
	int count = getgroups(0, NULL);
	gid_t *groups = count > 0 ? calloc((size_t)count, sizeof *groups) : NULL;
	bool found = false;
	if (groups)
		count = getgroups(count, groups);
	for (int i = 0; groups && i < count; i++)
		found = found || groups[i] == group;
	free(groups);
	return found;
}

static int judge_key_file(const char *path, const struct stat *info, char problem[PEM_PROBLEM_BYTES])
{
	unsigned mode = info->st_mode & 07777;
	const char *wrong = NULL;

	if (info->st_uid != geteuid() && info->st_uid != 0)
		return refuse(
			problem,
			"private key %s belongs to uid %u (mode %04o), neither to us (uid %u) nor to root: its owner could "
			"exchange it. If it is meant for us: chown %u %s",
			path, info->st_uid, mode, geteuid(), geteuid(), path);
	if (mode & 0007)
		wrong = "is open to every user of this machine";
	else if (mode & 0030)
		wrong = "can be changed or run by its group";
	else if ((mode & 0040) && !is_our_group(info->st_gid))
		wrong = "can be read by a group that is not ours";
	if (!wrong)
		return 0;
	return refuse(
		problem,
		"private key %s %s (owner uid %u, gid %u, mode %04o; we are uid %u, gid %u). To mend it: chmod 600 %s "
		"(640 lets our own group read it)",
		path, wrong, info->st_uid, info->st_gid, mode, geteuid(), getegid(), path);
}

static int judge_certificate_file(const char *path, const char *what, const struct stat *info,
                                  char problem[PEM_PROBLEM_BYTES])
{
	if (!(info->st_mode & 0002))
		return 0;
	return refuse(problem, "%s %s can be changed by every user of this machine (mode %04o). To mend it: chmod o-w %s",
	              what, path, info->st_mode & 07777, path);
}

static int read_all(int file, struct content *content)
{
	size_t length = 0;

	while (length < content->length) {
		ssize_t got = read(file, content->bytes + length, content->length - length);
		if (got < 0 && errno != EINTR)
			return -errno;
		if (got == 0)
			break;
		if (got > 0)
			length += (size_t)got;
	}
	content->length = length;
	return 0;
}

// What a file is for, and how it is named in a problem.
struct source {
	const char *path;
	const char *what;
	enum { SOURCE_KEY, SOURCE_TRUSTED, SOURCE_ANY } role;
};

static int read_open_file(int file, const struct source *source, struct content *content,
                          char problem[PEM_PROBLEM_BYTES])
{
	const char *name = source->what, *path = source->path;
	struct stat info;
	int result = 0;

	if (fstat(file, &info) != 0)
		return refuse(problem, "%s %s cannot be looked at: %s", name, path, outcome_text(-errno));
	if (!S_ISREG(info.st_mode))
		return refuse(problem, "%s %s is not a regular file", name, path);
	if (info.st_size > PEM_MAX_BYTES)
		return refuse(problem, "%s %s is larger than %d bytes: no PEM file of ours", name, path, PEM_MAX_BYTES);
	if (source->role == SOURCE_KEY)
		result = judge_key_file(path, &info, problem);
	else if (source->role == SOURCE_TRUSTED)
		result = judge_certificate_file(path, name, &info, problem);
	if (result != 0)
		return result;
	content->length = (size_t)info.st_size;
	content->bytes = calloc(1, content->length + 1);
	if (!content->bytes)
		return -ENOMEM;
	result = read_all(file, content);
	if (result < 0)
		return refuse(problem, "%s %s cannot be read: %s", name, path, outcome_text(result));
	return 0;
}

// O_NONBLOCK: opening a named pipe would wait for its writer.
static int read_file(const struct source *source, struct content *content, char problem[PEM_PROBLEM_BYTES])
{
	int file = open(source->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (file < 0)
		return refuse_unopened(source->path, source->what, errno, problem);
	int result = read_open_file(file, source, content, problem);
	close(file);
	if (result != 0)
		content_fini(content);
	return result;
}

// ---- what is in it

// Hostile: a block of any kind may say that it is encrypted.
int pem_refuse_to_ask(char *buffer, int size, int is_writing, void *asked)
{
	(void)buffer;
	(void)size;
	(void)is_writing;
	if (asked)
		*(bool *)asked = true;
	return -1;
}

static bool holds(const struct content *content, const char *text)
{
	return content->bytes && memmem(content->bytes, content->length, text, strlen(text));
}

static int read_certificates(BIO *input, const char *path, const char *what, STACK_OF(X509) * certificates,
                             char problem[PEM_PROBLEM_BYTES])
{
	bool asked = false;

	for (;;) {
		X509 *certificate = PEM_read_bio_X509(input, NULL, pem_refuse_to_ask, &asked);
		if (!certificate)
			break;
		if (sk_X509_push(certificates, certificate) <= 0) {
			X509_free(certificate);
			return -ENOMEM;
		}
	}
	// "No further start line" is how the end of the file looks.
	bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	if (at_end)
		return 0;
	int number = sk_X509_num(certificates) + 1;
	if (asked)
		return refuse(problem,
		              "%s %s: its certificate %d is encrypted" NOBODY_TO_ASK
		              "Decrypt it: openssl x509 -in %s -out NEW.pem",
		              what, path, number, path);
	return refuse(problem, "%s %s: its certificate %d is damaged", what, path, number);
}

// What is relied on must have a key that can be used at all; the library says only later, and less clearly, that not.
static int judge_algorithms(const char *path, const char *what, STACK_OF(X509) * certificates,
                            char problem[PEM_PROBLEM_BYTES])
{
	for (int i = 0; i < sk_X509_num(certificates); i++) {
		const char *legacy = legacy_of_pubkey(X509_get_X509_PUBKEY(sk_X509_value(certificates, i)));
		if (legacy)
			return refuse(problem, "%s %s: the key of its certificate %d is %s", what, path, i + 1, legacy);
		legacy = legacy_of_signature(sk_X509_value(certificates, i));
		if (legacy)
			return refuse(problem, "%s %s: its certificate %d was signed with %s", what, path, i + 1, legacy);
	}
	return 0;
}

int pem_certificates(const char *path, const char *what, enum pem_care care, STACK_OF(X509) * *certificates,
                     char problem[PEM_PROBLEM_BYTES])
{
	const struct source source = {path, what, care == PEM_TO_RELY_ON ? SOURCE_TRUSTED : SOURCE_ANY};
	struct content content = {0};
	int result = read_file(&source, &content, problem);

	if (result != 0)
		return result;
	BIO *input = BIO_new_mem_buf(content.bytes, (int)content.length);
	STACK_OF(X509) *found = sk_X509_new_null();
	result = input && found ? read_certificates(input, path, what, found, problem) : -ENOMEM;
	if (result == 0 && sk_X509_num(found) == 0) {
		result = refuse(problem, "%s %s holds no certificate in PEM form%s", what, path,
		                holds(&content, "PRIVATE KEY-----") ? ", but a private key: are the two files swapped?" : "");
	}
	if (result == 0 && care == PEM_TO_RELY_ON)
		result = judge_algorithms(path, what, found, problem);
	if (result == 0)
		*certificates = found;
	else
		OSSL_STACK_OF_X509_free(found);
	BIO_free(input);
	content_fini(&content);
	return result;
}

static int read_lists(BIO *input, const char *path, STACK_OF(X509_CRL) * lists, char problem[PEM_PROBLEM_BYTES])
{
	bool asked = false;

	for (;;) {
		X509_CRL *list = PEM_read_bio_X509_CRL(input, NULL, pem_refuse_to_ask, &asked);
		if (!list)
			break;
		if (sk_X509_CRL_push(lists, list) <= 0) {
			X509_CRL_free(list);
			return -ENOMEM;
		}
	}
	bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	if (asked)
		return refuse(problem,
		              "revocation list %s: its list %d is encrypted" NOBODY_TO_ASK
		              "Decrypt it: openssl crl -in %s -out NEW.pem",
		              path, sk_X509_CRL_num(lists) + 1, path);
	if (!at_end)
		return refuse(problem, "revocation list %s: its list %d is damaged", path, sk_X509_CRL_num(lists) + 1);
	if (sk_X509_CRL_num(lists) == 0)
		return refuse(problem,
		              "revocation list %s holds none in PEM form (-----BEGIN X509 CRL-----). From DER: openssl crl "
		              "-inform DER -in %s -out NEW.pem",
		              path, path);
	return 0;
}

void pem_lists_free(STACK_OF(X509_CRL) * lists)
{
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
}

int pem_revocation_lists(const char *path, STACK_OF(X509_CRL) * *lists, char problem[PEM_PROBLEM_BYTES])
{
	const struct source source = {path, "revocation list", SOURCE_TRUSTED};
	struct content content = {0};
	int result = read_file(&source, &content, problem);

	if (result != 0)
		return result;
	BIO *input = BIO_new_mem_buf(content.bytes, (int)content.length);
	STACK_OF(X509_CRL) *found = sk_X509_CRL_new_null();
	result = input && found ? read_lists(input, path, found, problem) : -ENOMEM;
	if (result == 0)
		*lists = found;
	else
		pem_lists_free(found);
	BIO_free(input);
	content_fini(&content);
	return result;
}

int pem_other(const char *path, const char *what, uint8_t **bytes, size_t *length, char problem[PEM_PROBLEM_BYTES])
{
	const struct source source = {path, what, SOURCE_TRUSTED};
	struct content content = {0};
	int result = read_file(&source, &content, problem);

	if (result != 0)
		return result;
	*bytes = (uint8_t *)content.bytes;
	*length = content.length;
	return 0;
}

int pem_request(const char *path, X509_REQ **request, char problem[PEM_PROBLEM_BYTES])
{
	const struct source source = {path, "request", SOURCE_ANY};
	struct content content = {0};
	bool asked = false;
	int result = read_file(&source, &content, problem);

	if (result != 0)
		return result;
	BIO *input = BIO_new_mem_buf(content.bytes, (int)content.length);
	X509_REQ *found = input ? PEM_read_bio_X509_REQ(input, NULL, pem_refuse_to_ask, &asked) : NULL;
	if (!input)
		result = -ENOMEM;
	else if (asked)
		result = refuse(problem, "request %s is encrypted" NOBODY_TO_ASK "Decrypt it: openssl req -in %s -out NEW.csr",
		                path, path);
	else if (!found)
		result = refuse(problem, "request %s %s (-----BEGIN CERTIFICATE REQUEST-----)", path,
		                holds(&content, "CERTIFICATE REQUEST-----") ? "is damaged" : "holds none in PEM form");
	if (result == 0)
		*request = found;
	ERR_clear_error();
	BIO_free(input);
	content_fini(&content);
	return result;
}

int pem_look(const char *path, struct pem_kinds *kinds, char problem[PEM_PROBLEM_BYTES])
{
	const struct source source = {path, "file", SOURCE_ANY};
	struct content content = {0};
	int result = read_file(&source, &content, problem);

	*kinds = (struct pem_kinds){0};
	if (result != 0)
		return result;
	kinds->certificate = holds(&content, "-----BEGIN CERTIFICATE-----") ||
	                     holds(&content, "-----BEGIN TRUSTED CERTIFICATE-----") ||
	                     holds(&content, "-----BEGIN X509 CERTIFICATE-----");
	kinds->request = holds(&content, "CERTIFICATE REQUEST-----");
	kinds->list = holds(&content, "-----BEGIN X509 CRL-----");
	content_fini(&content);
	return 0;
}

int pem_private_key(const char *path, EVP_PKEY **key, char problem[PEM_PROBLEM_BYTES])
{
	const struct source source = {path, "private key", SOURCE_KEY};
	struct content content = {0};
	bool asked = false;
	int result = read_file(&source, &content, problem);

	if (result != 0)
		return result;
	BIO *input = BIO_new_mem_buf(content.bytes, (int)content.length);
	EVP_PKEY *found = input ? PEM_read_bio_PrivateKey_ex(input, NULL, pem_refuse_to_ask, &asked, NULL, NULL) : NULL;
	if (!input)
		result = -ENOMEM;
	else if (asked)
		result = refuse(problem,
		                "private key %s is encrypted" NOBODY_TO_ASK
		                "Keep it as a file that only we can read: (umask 077; openssl pkey -in %s -out NEW.key)",
		                path, path);
	else if (!found && legacy_of_pem(content.bytes, content.length))
		result = refuse(problem, "private key %s is a key of %s", path, legacy_of_pem(content.bytes, content.length));
	else if (!found)
		result = refuse(problem, "private key %s holds no private key in PEM form%s", path,
		                holds(&content, "CERTIFICATE-----") ? ", but a certificate: are the two files swapped?" : "");
	if (result == 0)
		*key = found;
	ERR_clear_error();
	BIO_free(input);
	content_fini(&content);
	return result;
}
