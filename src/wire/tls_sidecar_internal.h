// Shared by the tls_sidecar*.c files only: what a sidecar profile keeps of its settings.

#pragma once

#include "wire/tls_choice.h"
#include "wire/tls_internal.h"
#include "wire/tls_sidecar.h"

struct tls_sidecar_copy {
	struct tls_sidecar settings; // its pointers are to what is below, or NULL
	struct identity **identities;
	struct tls_choice *choices; // one for each identity
	uint8_t (*pins)[TLS_PIN_BYTES];
	uint8_t *alpn; // as on the wire
	size_t alpn_length;
};

// Whether a handshake that came to this group is one that the policy makes.
bool tls_sidecar_allows_group(const struct tls_sidecar_copy *sidecar, const char *group);
