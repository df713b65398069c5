// The key schedule of a link. Spec: docs/protocol.md. Pure computation on secrets.

#pragma once

#include "core/outcome.h"
#include "core/secret.h"
#include "crypto/digest.h"

#include <stdint.h>

enum { LEG_X25519 = 1, LEG_MLKEM768 = 2, LEG_MCELIECE = 4 };

#define LINK_ID_BYTES 16
#define PSK_IDENTITY_BYTES 30 // "q1" | link_id | u32 epoch | u64 index
#define PSK_BYTES 48

// Context of the TLS exporter "EXPORTER-qanat-link": H("qanat/1 hello" || H(cert_i) || H(cert_r) || frame_i ||
// frame_r), where the certificates are DER and the frames whole control frames with their header.
void schedule_hello_context(const uint8_t cert_i_digest[DIGEST_BYTES], const uint8_t cert_r_digest[DIGEST_BYTES],
                            const struct digest_part *frame_i, const struct digest_part *frame_r,
                            uint8_t context[DIGEST_BYTES]);
MUST_USE int schedule_link_id(const struct secret *chain_0, uint8_t link_id[LINK_ID_BYTES]);

struct schedule_epoch {
	struct secret chain, data, confirm_r, confirm_i;
};
struct schedule_input {
	uint32_t epoch; // the new epoch's number
	uint8_t legs;
	const struct secret *chain;            // of the epoch before
	const struct secret *x25519;           // always
	const struct secret *mlkem768;         // NULL when the leg was not agreed
	const struct secret *mceliece;         // NULL when the leg was not agreed
	uint8_t offer_digest[DIGEST_BYTES];    // of the whole EPOCH_OFFER frame
	uint8_t accept_digest[DIGEST_BYTES];   // of the EPOCH_ACCEPT frame (header as sent) without its confirmation
	uint8_t mceliece_digest[DIGEST_BYTES]; // SHA-384 of the public key, or of "" when the leg is absent
};
MUST_USE int schedule_epoch_derive(const struct schedule_input *input, struct schedule_epoch *out);
void schedule_epoch_fini(struct schedule_epoch *epoch);

struct psk_identity {
	uint8_t link_id[LINK_ID_BYTES];
	uint32_t epoch;
	uint64_t index;
};
void psk_identity_encode(const struct psk_identity *identity, uint8_t out[PSK_IDENTITY_BYTES]);
enum { PSK_IDENTITY_BAD = 1 };
MUST_USE int psk_identity_decode(const uint8_t *bytes, size_t length, struct psk_identity *identity);

// HKDF-Expand(data, "qanat/1 stream" || u8 role || link_id || u32 epoch || u64 index || u16 suite, 48). role is 0 for
// connections dialled by the initiator (the only one in version 1).
MUST_USE int schedule_psk(const struct secret *data, const struct psk_identity *identity, uint16_t suite,
                          struct secret *psk);
