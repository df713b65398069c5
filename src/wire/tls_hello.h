// What of a ClientHello decides which certificate its sender gets, and for which host. Pure: views into the bytes of
// the extensions, nothing is copied but the name.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A list of two-byte code points as it stands on the wire; {0} is an empty one.
struct tls_codes {
	const uint8_t *bytes;
	size_t length; // in bytes, even
};
bool tls_codes_have(const struct tls_codes *codes, uint16_t code);

// The body of an extension that holds one list of code points behind a length of `prefix` bytes (1 supported_versions,
// 2 signature_algorithms and signature_algorithms_cert). False: not well formed, *codes is empty then.
bool tls_hello_codes(const uint8_t *body, size_t length, size_t prefix, struct tls_codes *codes);

#define TLS_SNI_BYTES 256
// The host name of a server_name extension, in lower case and without the dot of an absolute one. False: not well
// formed, more than one name, or a name with other characters than host names have (letters, digits, '-', '.', '_').
// Spec: RFC 6066 3.
bool tls_hello_sni(const uint8_t *body, size_t length, char name[TLS_SNI_BYTES]);

// Whether bytes look like the beginning of an HTTP request: a method and a blank, or HTTP/2's preface.
bool tls_hello_is_http(const uint8_t *bytes, size_t length);
