#include "crypto/revoke.h"

#include "crypto/pem.h"
#include "crypto/refusal.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>
#include <strings.h>

_Static_assert((int)REVOKE_REFUSED == (int)REFUSAL && (int)REVOKE_REFUSED == (int)AUTHORITY_REFUSED,
               "refusals are passed up");
_Static_assert(REVOKE_PROBLEM_BYTES == AUTHORITY_PROBLEM_BYTES, "and so are their texts");

// "0A:BC", "abc" -> as the index has it. False: not hexadecimal.
static bool normalise(const char *text, char serial[INDEX_SERIAL_BYTES])
{
	char digits[INDEX_SERIAL_BYTES] = "0";
	size_t length = 1;

	for (; *text; text++) {
		if (*text == ':')
			continue;
		if (!strchr("0123456789abcdefABCDEF", *text) || length + 1 >= sizeof digits)
			return false;
		digits[length++] = (char)(*text >= 'A' && *text <= 'F' ? *text + ('a' - 'A') : *text);
	}
	if (length == 1)
		return false;
	digits[length] = 0;
	// Whole bytes: the first '0' is one digit too many when there was an even number.
	memmove(serial, digits + length % 2, length + 1 - length % 2);
	return true;
}

// Also without leading zeros, which other programs leave out.
static const struct index_entry *find(const struct index *index, const char *serial)
{
	size_t count;
	const struct index_entry *entries = index_entries(index, &count);
	const char *wanted = serial + strspn(serial, "0");

	for (size_t i = count; i > 0; i--) {
		const char *known = entries[i - 1].serial;
		if (strcmp(known + strspn(known, "0"), wanted) == 0)
			return &entries[i - 1];
	}
	return NULL;
}

static int find_by_serial(const struct revoke_request *request, const struct authority *authority,
                          struct index_entry *entry, char problem[REVOKE_PROBLEM_BYTES])
{
	char serial[INDEX_SERIAL_BYTES];

	if (!normalise(request->serial, serial))
		return refusal(problem, "'%.64s' is not a serial number in hexadecimal", request->serial);
	const struct index_entry *known = find(authority->index, serial);
	if (!known)
		return refusal(problem,
		               "serial number %s is not in the index of CA %s. If it is of this CA, revoke it by its "
		               "certificate file: --cert FILE",
		               serial, request->ca.cert_path);
	*entry = *known;
	return 0;
}

static int find_by_file(const struct revoke_request *request, const struct authority *authority,
                        struct index_entry *entry, char problem[REVOKE_PROBLEM_BYTES])
{
	STACK_OF(X509) *certificates = NULL;
	int result = pem_certificates(request->cert_path, "certificate", PEM_TO_LOOK_AT, &certificates, problem);

	if (result != 0)
		return result;
	X509 *certificate = sk_X509_value(certificates, 0);
	if (!authority_has_signed(authority, certificate))
		result = refusal(problem, "certificate %s was not issued by CA %s, which cannot revoke it", request->cert_path,
		                 request->ca.cert_path);
	else if (X509_self_signed(certificate, 0) == 1)
		result = refusal(problem, "certificate %s is the CA's own: take it out of every node's CA file instead",
		                 request->cert_path);
	authority_describe(certificate, entry);
	if (result == 0 && entry->serial[0] == '-')
		result = refusal(problem, "certificate %s has a negative serial number, which no list can hold",
		                 request->cert_path);
	const struct index_entry *known = index_find(authority->index, entry->serial);
	if (known)
		*entry = *known;
	OSSL_STACK_OF_X509_free(certificates);
	return result;
}

int revoke_certificate(const struct revoke_request *request, struct index_entry *entry,
                       char problem[REVOKE_PROBLEM_BYTES])
{
	struct authority authority = {0};
	int result = authority_open(&request->ca, INDEX_TO_WRITE, &authority, problem);

	if (result == 0 && request->cert_path)
		result = find_by_file(request, &authority, entry, problem);
	else if (result == 0)
		result = find_by_serial(request, &authority, entry, problem);
	if (result == 0 && entry->revoked_at && entry->reason == request->reason)
		result = REVOKE_ALREADY;
	if (result == 0 && entry->revoked_at)
		result = refusal(problem, "serial number %s is revoked already, for another reason (%s)", entry->serial,
		                 index_reason_name(entry->reason));
	if (result == 0)
		result = index_add_revoked(authority.index, entry, request->reason, problem);
	if (result == 0)
		*entry = *index_find(authority.index, entry->serial);
	authority_close(&authority);
	ERR_clear_error();
	return result;
}
