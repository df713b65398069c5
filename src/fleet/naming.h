// How devices are called, and how a certificate says it. Pure.
//
// A name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}. It becomes a file name, so nothing else may be in it. A rule: "CN=*",
// "DNS:*.robots.example.org", "URI:urn:qanat:device:*": one kind of name of the certificate, with one '*' for the
// device's name; around it characters count as they are.

#pragma once

#include "core/outcome.h"
#include "crypto/identity.h"
#include "limits.h"

#include <stdbool.h>
#include <stddef.h>

#define NAMING_BYTES (LIMIT_DEVICE_NAME_BYTES + 1)

bool naming_is_good(const char *name);
// NULL, or why the rule is none.
const char *naming_rule_problem(const char *rule);

// One value of a certificate by one rule. NAMING_NONE: it does not match, or what it gives is no name.
enum { NAMING_NONE = 1, NAMING_SEVERAL = 2, NAMING_OTHER = 3 };
MUST_USE int naming_apply(const char *rule, enum identity_name_kind kind, const char *value, char name[NAMING_BYTES]);

// The name of a certificate's device: the first rule that gives any decides. `claimed` ("" for none) must be among what
// it gives (else NAMING_OTHER, with one that it does give); without a claim it must give one only (NAMING_SEVERAL).
MUST_USE int naming_find(X509 *certificate, const char *const *rules, size_t count, const char *claimed,
                         char name[NAMING_BYTES]);
