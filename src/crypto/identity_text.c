// What people see of a certificate. Everything in it was chosen by its owner, so nothing of it is trusted to be text.

#include "crypto/identity.h"

#include "core/outcome.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// A text that is cut to its room; then it ends in "...".
struct line {
	char *start;
	size_t room; // with the final NUL
	size_t length;
	bool full;
};

static void line_init(struct line *line, char *start, size_t room)
{
	*line = (struct line){.start = start, .room = room};
	start[0] = 0;
}

static void line_add(struct line *line, const char *piece, size_t length)
{
	if (line->full)
		return;
	if (line->length + length < line->room) {
		memcpy(line->start + line->length, piece, length);
		line->length += length;
		line->start[line->length] = 0;
		return;
	}
	line->full = true;
	size_t end = line->length < line->room - 4 ? line->length : line->room - 4;
	memcpy(line->start + end, "...", 4);
}

// Hostile: a name may hold control characters, NUL, invalid UTF-8, or the separators and prefixes of a list of names.
// Everything that is not printable ASCII and every byte of `special` becomes \xNN.
static void line_add_escaped(struct line *line, const uint8_t *bytes, size_t length, const char *special)
{
	for (size_t i = 0; i < length && !line->full; i++) {
		char piece[5];
		if (bytes[i] >= 0x20 && bytes[i] < 0x7f && !strchr(special, bytes[i])) {
			line_add(line, (const char *)&bytes[i], 1);
			continue;
		}
		snprintf(piece, sizeof piece, "\\x%02x", bytes[i]);
		line_add(line, piece, 4);
	}
}

static void line_add_hex(struct line *line, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length && !line->full; i++) {
		char piece[3];
		snprintf(piece, sizeof piece, "%02x", bytes[i]);
		line_add(line, piece, 2);
	}
}

// RFC 2253 order and escapes, with a blank after each comma.
static void describe_name(const X509_NAME *name, char *text, size_t room)
{
	struct line line;
	char *bytes = NULL;
	BIO *output = BIO_new(BIO_s_mem());

	line_init(&line, text, room);
	if (output &&
	    X509_NAME_print_ex(output, name, 0,
	                       (XN_FLAG_RFC2253 & ~(unsigned long)XN_FLAG_SEP_MASK) | XN_FLAG_SEP_CPLUS_SPC) >= 0) {
		long length = BIO_get_mem_data(output, &bytes);
		line_add_escaped(&line, (const uint8_t *)bytes, length > 0 ? (size_t)length : 0, "");
	}
	BIO_free(output);
}

static void describe_common_name(const X509_NAME *name, char *text, size_t room)
{
	struct line line;
	unsigned char *bytes = NULL;
	int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);

	line_init(&line, text, room);
	if (index < 0)
		return;
	int length = ASN1_STRING_to_UTF8(&bytes, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index)));
	if (length > 0)
		line_add_escaped(&line, bytes, (size_t)length, "\\");
	OPENSSL_free(bytes);
}

static void add_address(struct line *line, const ASN1_OCTET_STRING *address)
{
	char text[INET6_ADDRSTRLEN] = "";
	int length = ASN1_STRING_length(address);
	const uint8_t *bytes = ASN1_STRING_get0_data(address);

	if (length == 4)
		inet_ntop(AF_INET, bytes, text, sizeof text);
	else if (length == 16)
		inet_ntop(AF_INET6, bytes, text, sizeof text);
	if (text[0])
		line_add(line, text, strlen(text));
	else
		line_add_hex(line, bytes, length > 0 ? (size_t)length : 0);
}

static void add_general_name(struct line *line, const GENERAL_NAME *name)
{
	const char *prefix = NULL;

	if (name->type == GEN_DNS)
		prefix = "DNS:";
	else if (name->type == GEN_URI)
		prefix = "URI:";
	else if (name->type == GEN_EMAIL)
		prefix = "email:";
	if (prefix) {
		line_add(line, prefix, strlen(prefix));
		line_add_escaped(line, ASN1_STRING_get0_data(name->d.ia5), (size_t)ASN1_STRING_length(name->d.ia5), "\\,");
	} else if (name->type == GEN_IPADD) {
		line_add(line, "IP:", 3);
		add_address(line, name->d.iPAddress);
	} else {
		line_add(line, "other", 5);
	}
}

void identity_describe_names(X509 *certificate, char *text, size_t room)
{
	struct line line;
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

	line_init(&line, text, room);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		if (i > 0)
			line_add(&line, ",", 1);
		add_general_name(&line, sk_GENERAL_NAME_value(names, i));
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
}

void identity_describe_issuer(X509 *certificate, char *text, size_t room)
{
	describe_name(X509_get_issuer_name(certificate), text, room);
	ERR_clear_error();
}

static void describe_fingerprint(const X509 *certificate, char *text, size_t room)
{
	struct line line;
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned length = 0;

	line_init(&line, text, room);
	if (X509_digest(certificate, EVP_sha256(), digest, &length) == 1)
		line_add_hex(&line, digest, length);
}

static void describe_key(X509 *certificate, char *text, size_t room)
{
	EVP_PKEY *key = X509_get0_pubkey(certificate);
	char group[32] = "";
	const char *name = NULL;

	if (!key) {
		snprintf(text, room, "unknown");
	} else if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1) {
		name = EC_curve_nid2nist(OBJ_txt2nid(group));
		snprintf(text, room, "%s", name ? name : group);
	} else if (EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "RSA-PSS")) {
		snprintf(text, room, "RSA-%d", EVP_PKEY_get_bits(key));
	} else {
		name = EVP_PKEY_get0_type_name(key);
		snprintf(text, room, "%s", name ? name : "unknown");
	}
}

static void describe_signature(const X509 *certificate, char *text, size_t room)
{
	const X509_ALGOR *algorithm = NULL;
	const ASN1_OBJECT *object = NULL;
	struct line line;
	char name[64] = "";

	X509_get0_signature(NULL, &algorithm, certificate);
	X509_ALGOR_get0(&object, NULL, NULL, algorithm);
	OBJ_obj2txt(name, sizeof name, object, 0);
	line_init(&line, text, room);
	line_add_escaped(&line, (const uint8_t *)name, strlen(name), "");
}

static void describe_serial(const X509 *certificate, char *text, size_t room)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
	struct line line;

	line_init(&line, text, room);
	if (ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER)
		line_add(&line, "-", 1);
	line_add_hex(&line, ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
}

static int64_t unix_seconds(const ASN1_TIME *when)
{
	struct tm parts;

	return ASN1_TIME_to_tm(when, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

void identity_describe(X509 *certificate, struct identity_text *text)
{
	describe_name(X509_get_subject_name(certificate), text->subject, sizeof text->subject);
	describe_name(X509_get_issuer_name(certificate), text->issuer, sizeof text->issuer);
	describe_common_name(X509_get_subject_name(certificate), text->common_name, sizeof text->common_name);
	identity_describe_names(certificate, text->names, sizeof text->names);
	describe_fingerprint(certificate, text->fingerprint, sizeof text->fingerprint);
	describe_key(certificate, text->key_type, sizeof text->key_type);
	describe_signature(certificate, text->signature, sizeof text->signature);
	describe_serial(certificate, text->serial, sizeof text->serial);
	text->not_before = unix_seconds(X509_get0_notBefore(certificate));
	text->not_after = unix_seconds(X509_get0_notAfter(certificate));
	ERR_clear_error();
}

int identity_digest(X509 *certificate, uint8_t digest[48])
{
	unsigned length = 0;
	if (X509_digest(certificate, EVP_sha384(), digest, &length) == 1 && length == 48)
		return 0;
	ERR_clear_error();
	return -EINVAL;
}
