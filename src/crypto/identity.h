// What a node proves itself with: its certificate chain, its private key, and the CA certificates it believes. The
// private bytes are never handed out: wire/tls borrows the key object.

#pragma once

#include "core/outcome.h"

#include <openssl/safestack.h>
#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

STACK_OF(X509);

struct identity;

enum identity_usage { IDENTITY_SERVER, IDENTITY_CLIENT };

struct identity_files {
	const char *ca_path;          // one or more PEM CA certificates; not read with any_issuer
	const char *cert_path;        // PEM leaf, then intermediates
	const char *key_path;         // PEM private key
	const char *const *crl_paths; // PEM revocation lists, may be none
	size_t crl_count;
	enum identity_usage usage;
	// Peers judge our certificate, not we: any CA's, or its own signature. What must be right is the key, the times,
	// the usage where one is given, the strength, and that what follows the leaf is its chain. There is no store then.
	bool any_issuer;
	const char *ocsp_path; // DER of an OCSP response for the leaf, to be stapled; NULL: none (crypto/ocsp.h)
};

// 1: a file is not acceptable. `problem` then says which file, what is wrong and how to mend it, for people: missing;
// not readable (owner, mode, our uid); key readable by others ("chmod 600 FILE" or 640 with our own group is fine;
// files of another owner than us or root are refused); not PEM; key does not match the certificate; certificate expired
// or not yet valid; wrong EKU for its usage; not issued by the CA given; too weak for TLS;
// a revocation list that is over or of another CA; our own certificate revoked, or without a list of its issuer when
// there is any. Negative: no memory.
enum { IDENTITY_REFUSED = 1 };
#define IDENTITY_PROBLEM_BYTES 512
MUST_USE int identity_load(const struct identity_files *files, struct identity **identity,
                           char problem[IDENTITY_PROBLEM_BYTES]);
// References are counted; safe from any thread.
struct identity *identity_ref(struct identity *identity);
void identity_unref(struct identity **identity);

// Lent for the life of the identity.
X509 *identity_certificate(const struct identity *identity);
STACK_OF(X509) * identity_chain(const struct identity *identity); // intermediates without the root; may be empty
EVP_PKEY *identity_key(const struct identity *identity);
X509_STORE *identity_store(const struct identity *identity); // NULL with any_issuer
// Its OCSP response while that is current, lent for the life of the identity; NULL: none, or it is over.
const uint8_t *identity_staple(const struct identity *identity, size_t *length);
int64_t identity_staple_until(const struct identity *identity); // Unix seconds; 0: none
// The response is over, and nobody has been told: true once. From any thread.
bool identity_staple_news(struct identity *identity);
// Whether both show the same certificates, in the same order.
bool identity_shows_same(const struct identity *a, const struct identity *b);

// What people see of a certificate, printable ASCII only (everything else escaped as \xNN, in names also the backslash
// and the comma, so that a name cannot look like two). What was cut to fit ends in "...".
struct identity_text {
	char subject[256];             // "CN=..., O=..." (RFC 2253 order)
	char issuer[256];              // the same of who signed it
	char common_name[128];         // first CN, "" when there is none
	char names[256];               // SANs: "DNS:a,IP:b,URI:c"
	char fingerprint[65];          // SHA-256 of the DER, lower-case hex
	char key_type[32];             // "P-256", "ED25519", "ML-DSA-65", "RSA-2048", ...
	char signature[32];            // algorithm that signed it, "ecdsa-with-SHA256", "ML-DSA-65", ...
	char serial[48];               // hex
	int64_t not_before, not_after; // Unix seconds
};
// Unix seconds: our own certificate, and the first of the CA certificates to end (0: unknown).
void identity_expiry(const struct identity *identity, int64_t *own, int64_t *ca);
void identity_describe(X509 *certificate, struct identity_text *text);
// All SANs, and the issuer's name as `subject` above, into a caller's room; cut to it, at least 8 bytes.
void identity_describe_names(X509 *certificate, char *text, size_t room);
void identity_describe_issuer(X509 *certificate, char *text, size_t room);

// SHA-384 of the certificate's DER. Negative when it cannot be encoded.
MUST_USE int identity_digest(X509 *certificate, uint8_t digest[48]);

// EKU must be present and contain serverAuth / clientAuth.
bool identity_has_usage(X509 *certificate, enum identity_usage usage);
// True when `name` (host name, wildcard SANs honoured for one left-most label; or an IP literal, with or without
// brackets) is among the SANs. The CN is never consulted.
bool identity_has_name(X509 *certificate, const char *name);
// True when a CN or SAN DNS/URI value matches a pattern of policy/pattern (anchored, '*' matches any run). A pattern
// that begins with "CN=", "DNS:" or "URI:" is for values of that kind only.
bool identity_matches(X509 *certificate, const char *pattern);
// Tells each common name and each SAN DNS and URI value, as UTF-8, but those with a NUL inside; until `visit` says
// stop.
enum identity_name_kind { IDENTITY_COMMON_NAME, IDENTITY_DNS, IDENTITY_URI };
typedef bool (*identity_name_fn)(void *owner, enum identity_name_kind kind, const char *name); // false: stop
void identity_visit_names(X509 *certificate, identity_name_fn visit, void *owner);
// A reference to a certificate for whoever keeps it longer than its connection lives. From any thread.
X509 *identity_keep(X509 *certificate);
void identity_drop(X509 **certificate); // leaves NULL, harmless on NULL
// The same for a chain of certificates; NULL for NULL, and without memory.
STACK_OF(X509) * identity_keep_chain(STACK_OF(X509) * chain);
void identity_drop_chain(STACK_OF(X509) * *chain);
