// Which verified peers are let in: patterns on the names and the key of a certificate.
//
//   cn:NAME     a common name of the subject; '*' matches any run of characters, ASCII case does not count
//   dns:NAME    a SAN DNS name; '*' stands for one whole label: dns:*.svc.example, dns:api.*.example
//   uri:URI     a SAN URI, also a SPIFFE ID; '*' stands for a run of characters within one segment of the path:
//               uri:spiffe://corp/ns/*/sa/web. Scheme and authority are without '*' and ASCII case; the path has case.
//               No '*' matches a segment that is empty, "." or "..".
//   spki:HEX    SHA-256 of the SubjectPublicKeyInfo, as in crypto/pin.h
//   NAME        cn:NAME, or a SAN DNS or URI name: '*' matches any run of characters, ASCII case does not count
//
// A name with a NUL inside matches nothing, whatever the pattern.

#pragma once

#include "core/outcome.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

struct authorise;

// 1: a pattern is not acceptable; `problem` names it and says why, for people. Negative: no memory.
enum { AUTHORISE_REFUSED = 1 };
#define AUTHORISE_PROBLEM_BYTES 256
MUST_USE int authorise_new(const char *const *patterns, size_t count, struct authorise **authorise,
                           char problem[AUTHORISE_PROBLEM_BYTES]);
// One pattern, for who only checks a configuration. 0 or AUTHORISE_REFUSED.
MUST_USE int authorise_check(const char *pattern, char problem[AUTHORISE_PROBLEM_BYTES]);
// References are counted; safe from any thread.
struct authorise *authorise_ref(struct authorise *authorise);
void authorise_unref(struct authorise **authorise);

// Whether one pattern of the list matches. NULL or an empty list is no list: everybody who was verified. From any
// thread.
bool authorise_allows(const struct authorise *authorise, X509 *certificate);
