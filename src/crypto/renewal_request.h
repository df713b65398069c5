// What a node sends to its CA to have its certificate renewed, as one PEM text of three blocks:
//
//   CERTIFICATE REQUEST    with the key of the new certificate; signed by that key, as every such request
//   CERTIFICATE            the one that is renewed, without its chain
//   QANAT RENEWAL PROOF    a signature by the key of that certificate over what is renewed and what for
//
// The request alone would prove nothing: everybody can make one with anybody's names. The proof is what makes a renewal
// as good as the certificate that it follows, wherever the text came from. It is a signature over
// "qanat renewal 1" and a NUL, the SHA-384 of the certificate's DER, and the request's DER; its digest is that with
// which such a key signs certificates here.

#pragma once

#include "core/outcome.h"

#include <openssl/types.h>
#include <stddef.h>
#include <stdint.h>

struct X509_req_st; // X509_REQ

#define RENEWAL_REQUEST_PROBLEM_BYTES 512
enum { RENEWAL_REQUEST_REFUSED = 1 };

// The null value is harmless to fini.
struct renewal_request {
	struct X509_req_st *request;
	X509 *certificate;
	uint8_t *proof;
	size_t proof_bytes;
};
void renewal_request_fini(struct renewal_request *request);

// The text, to be freed; at most LIMIT_RENEWAL_BYTES. `old_key` belongs to the certificate.
MUST_USE int renewal_request_encode(struct X509_req_st *request, X509 *certificate, EVP_PKEY *old_key, char **text,
                                    char problem[RENEWAL_REQUEST_PROBLEM_BYTES]);
// Hostile: one of each block and nothing else but text between them, no more than LIMIT_RENEWAL_BYTES.
MUST_USE int renewal_request_decode(const void *bytes, size_t length, struct renewal_request *request,
                                    char problem[RENEWAL_REQUEST_PROBLEM_BYTES]);
// Whether its sender has both private keys: the request's and the certificate's. Whose certificate it is, is not asked.
MUST_USE int renewal_request_prove(const struct renewal_request *request, char problem[RENEWAL_REQUEST_PROBLEM_BYTES]);
