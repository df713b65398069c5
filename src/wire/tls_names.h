// The names of the CAs that a server believes, for its request for a client certificate: a client with several then
// shows one that will do, and a browser asks its user about those alone.

#pragma once

#include "core/outcome.h"
#include "crypto/trust.h"

STACK_OF(X509_NAME);

// Each name once, in no order. Empty, because then none is said, when there are more than LIMIT_CA_NAMES, or more than
// LIMIT_CA_NAMES_BYTES of them: every handshake would carry them. The caller frees it with sk_X509_NAME_pop_free. NULL:
// no memory.
STACK_OF(X509_NAME) * tls_names_of(const struct trust *trust);
