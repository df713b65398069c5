// The PROXY protocol's header: the first bytes of a connection, in which a proxy says whose connection it is. Spec: the
// PROXY protocol, versions 1 and 2 (revision 3.4). Pure; the decoder takes whatever has arrived so far.

#pragma once

#include "core/outcome.h"
#include "limits.h"
#include "net/address.h"

#include <stdbool.h>
#include <stdint.h>

// ---- sending -------------------------------------------------------------------------------------------------------

// What is known of the client's secure connection; "" and NULL are left out.
struct proxy_tls {
	const char *version;     // "TLSv1.3"
	const char *cipher;      // "TLS_AES_256_GCM_SHA384"
	const char *common_name; // of the client's certificate, which has been verified; NULL: it had none
	const char *signature;   // algorithm that signed our certificate, "ecdsa-with-SHA256"
	const char *key;         // of our certificate, "P-256"
	const char *group;       // "X25519MLKEM768"
	const char *scheme;      // that we signed the handshake with, "ecdsa_secp256r1_sha256"
	const char *names;       // SANs of the client's certificate, "DNS:a,URI:spiffe://b/c"; only with a common_name
};

struct proxy_header {
	struct address client, server; // as the client sees it; length 0, or not IP: not known
	const struct proxy_tls *tls;   // NULL: not over TLS
	const char *authority;         // version 2: the name the client asked for (SNI); may be NULL
	const char *alpn;              // version 2: the protocol that was agreed on; may be NULL
	const char *origin;            // version 2: who it is when that is no address, "uid:N,pid:N"; may be NULL
};

// Names have no type of their own in the protocol, so they go in one of those it leaves to applications.
#define PROXY_TYPE_NAMES 0xe0
#define PROXY_TYPE_ORIGIN 0xe1

// Version 2. Both families are made the same (IPv4 in IPv6); without a client's address the family is UNSPEC, and the
// receiver uses the connection's own. A server that is not known is all zeros. Returns the length.
#define PROXY_HEADER_BYTES 1536
size_t proxy_header_encode(const struct proxy_header *header, uint8_t out[PROXY_HEADER_BYTES]);
// Version 1, text. "PROXY UNKNOWN" without a client's address.
#define PROXY_HEADER_TEXT_BYTES 108
size_t proxy_header_encode_text(const struct proxy_header *header, char out[PROXY_HEADER_TEXT_BYTES]);

// ---- receiving -----------------------------------------------------------------------------------------------------

struct proxy_peer {
	unsigned version;              // 1 or 2
	bool is_local;                 // the proxy speaks for itself (health checks): use the connection's own addresses
	struct address client, server; // length 0: not told, or not IP
	bool is_tls, has_certificate;  // the client's connection; has_certificate: and the certificate was verified
	char common_name[128];         // printable; "" when not told
	char authority[256];           // the name the client asked for (SNI), printable; "" when not told
};

enum { PROXY_MORE = 1, PROXY_BAD = 2 };
// 0: *used bytes were the header. PROXY_BAD: not a PROXY header, or one that breaks its own rules, also when it is
// longer than LIMIT_PROXY_HEADER_BYTES. TLVs of unknown types are skipped, a CRC-32c is not judged.
MUST_USE int proxy_header_decode(const uint8_t *bytes, size_t length, struct proxy_peer *peer, size_t *used);
