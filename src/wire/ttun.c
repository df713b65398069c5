#include "wire/ttun_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROOF_BYTES 8
#define PROOF_FRAME_BYTES (PROOF_BYTES + TTUN_OVERHEAD_BYTES)

static const uint8_t proof[PROOF_BYTES] = {'T', 'T', 'U', 'N', '/', 'v', '1', 0};

int ttun_key(const void *psk, size_t length, struct secret *key)
{
	static const char label[] = "ttun/psk/v1";
	const struct digest_part parts[] = {{label, sizeof label - 1}, {psk, length}};
	return digest_blake2s(parts, COUNT_OF(parts), key);
}

int ttun_new(enum ttun_role role, enum aead_cipher cipher, const struct secret *key,
             const uint8_t nonce[TTUN_NONCE_BYTES], struct ttun **ttun)
{
	struct ttun *made = calloc(1, sizeof *made);
	if (!made)
		return -ENOMEM;
	*made = (struct ttun){
		.role = role,
		.cipher = cipher,
		.stage = role == TTUN_CLIENT ? TTUN_NONCE_OUT : TTUN_NONCE_IN,
		.tx = {.direction = role == TTUN_CLIENT ? 0 : 1},
		.rx = {.direction = role == TTUN_CLIENT ? 1 : 0},
	};
	memcpy(made->nonce, nonce, TTUN_NONCE_BYTES);
	int result = secret_set(&made->key, key->bytes, key->length);
	if (result < 0) {
		ttun_free(&made);
		return result;
	}
	*ttun = made;
	return 0;
}

void ttun_free(struct ttun **ttun)
{
	if (!*ttun)
		return;
	aead_free(&(*ttun)->tx.aead);
	aead_free(&(*ttun)->rx.aead);
	ttun_hybrid_fini(*ttun);
	secret_fini(&(*ttun)->key);
	free(*ttun);
	*ttun = NULL;
}

// direction || 0 0 0 || counter. Each value is used once: at ten million packets a second the counter lasts for 58 000
// years.
static void next_nonce(struct ttun_half *half, uint8_t nonce[AEAD_NONCE_BYTES])
{
	memset(nonce, 0, 4);
	nonce[0] = half->direction;
	for (int i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(half->counter >> (56 - 8 * i));
	half->counter++;
}

// ---- handshake

static int derive(struct ttun *ttun, const uint8_t peer_nonce[TTUN_NONCE_BYTES])
{
	static const char label[] = "ttun/sk/v1";
	const uint8_t *client = ttun->role == TTUN_CLIENT ? ttun->nonce : peer_nonce;
	const uint8_t *server = ttun->role == TTUN_CLIENT ? peer_nonce : ttun->nonce;
	const struct digest_part parts[] = {{label, sizeof label - 1},
	                                    {ttun->key.bytes, ttun->key.length},
	                                    {client, TTUN_NONCE_BYTES},
	                                    {server, TTUN_NONCE_BYTES}};
	struct secret session = {0};
	int result = digest_blake2s(parts, COUNT_OF(parts), &session);
	if (result == 0)
		result = aead_new(ttun->cipher, AEAD_SEALS, &session, &ttun->tx.aead);
	if (result == 0)
		result = aead_new(ttun->cipher, AEAD_OPENS, &session, &ttun->rx.aead);
	secret_fini(&session);
	secret_fini(&ttun->key); // it has done its work
	return result;
}

static size_t speak_nonce(struct ttun *ttun, uint8_t *out)
{
	memcpy(out, ttun->nonce, TTUN_NONCE_BYTES);
	return TTUN_NONCE_BYTES;
}

static size_t speak_proof(struct ttun *ttun, uint8_t *out)
{
	memcpy(out + TTUN_LENGTH_BYTES, proof, PROOF_BYTES);
	ttun_seal(ttun, out, PROOF_BYTES);
	return PROOF_FRAME_BYTES;
}

void ttun_use_hybrid(struct ttun *ttun)
{
	ttun->is_hybrid = true;
}

void ttun_set_judge(struct ttun *ttun, ttun_judge_fn judge, void *owner)
{
	ttun->judge = judge;
	ttun->judge_owner = owner;
}

bool ttun_is_hybrid(const struct ttun *ttun)
{
	return ttun->is_hybrid;
}

size_t ttun_speak(struct ttun *ttun, uint8_t out[TTUN_SPEAK_BYTES])
{
	if (ttun->is_hybrid)
		return ttun_hybrid_speak(ttun, out);
	switch (ttun->stage) {
	case TTUN_NONCE_OUT:
		ttun->stage = TTUN_NONCE_IN;
		return speak_nonce(ttun, out);
	case TTUN_ANSWER_OUT:
		ttun->stage = TTUN_PROOF_IN;
		return ttun->role == TTUN_CLIENT ? speak_proof(ttun, out) : speak_nonce(ttun, out);
	case TTUN_PROOF_OUT:
		ttun->stage = TTUN_UP;
		return speak_proof(ttun, out);
	case TTUN_NONCE_IN:
	case TTUN_PROOF_IN:
	case TTUN_UP:
		return 0;
	}
	return 0;
}

static int hear_nonce(struct ttun *ttun, const uint8_t *bytes, size_t length, size_t *used)
{
	if (length < TTUN_NONCE_BYTES)
		return TTUN_MORE;
	int result = derive(ttun, bytes);
	if (result < 0)
		return result;
	*used = TTUN_NONCE_BYTES;
	ttun->stage = TTUN_ANSWER_OUT;
	return 0;
}

// Hostile: the only frame whose length is known beforehand; whoever announces another is not waited for.
static int hear_proof(struct ttun *ttun, uint8_t *bytes, size_t length, size_t *used)
{
	struct ttun_packet packet;
	if (length >= TTUN_LENGTH_BYTES && (bytes[0] != 0 || bytes[1] != PROOF_BYTES + AEAD_TAG_BYTES))
		return TTUN_REFUSED;
	int result = ttun_open(ttun, bytes, length, &packet);
	if (result != 0)
		return result;
	if (!secret_is_equal(packet.bytes, proof, PROOF_BYTES))
		return TTUN_REFUSED;
	*used = packet.used;
	ttun->stage = ttun->role == TTUN_SERVER ? TTUN_PROOF_OUT : TTUN_UP;
	return 0;
}

int ttun_hear(struct ttun *ttun, uint8_t *bytes, size_t length, size_t *used)
{
	*used = 0;
	if (ttun->is_hybrid)
		return ttun_hybrid_hear(ttun, bytes, length, used);
	if (ttun->stage == TTUN_NONCE_IN)
		return hear_nonce(ttun, bytes, length, used);
	if (ttun->stage == TTUN_PROOF_IN)
		return hear_proof(ttun, bytes, length, used);
	return TTUN_MORE;
}

size_t ttun_wants(const struct ttun *ttun)
{
	if (ttun->is_hybrid)
		return ttun_hybrid_wants(ttun);
	return ttun->stage == TTUN_NONCE_IN ? TTUN_NONCE_BYTES : ttun->stage == TTUN_PROOF_IN ? PROOF_FRAME_BYTES : 0;
}

bool ttun_is_up(const struct ttun *ttun)
{
	return ttun->stage == TTUN_UP || ttun->stage == TTUN_PROOF_OUT;
}

// ---- packets

void ttun_lay(uint8_t *frame, size_t length)
{
	assert(length > 0 && length <= TTUN_PACKET_BYTES);
	frame[0] = (uint8_t)((length + AEAD_TAG_BYTES) >> 8);
	frame[1] = (uint8_t)(length + AEAD_TAG_BYTES);
}

static size_t sealed_bytes(const uint8_t *frame)
{
	return (size_t)frame[0] << 8 | frame[1];
}

void ttun_seal_laid(struct ttun *ttun, uint8_t *frames, size_t length)
{
	uint8_t nonce[AEAD_NONCE_BYTES];
	assert(ttun->tx.aead);
	for (size_t at = 0, sealed; at < length; at += TTUN_LENGTH_BYTES + sealed) {
		uint8_t *packet = frames + at + TTUN_LENGTH_BYTES;
		sealed = sealed_bytes(frames + at);
		next_nonce(&ttun->tx, nonce);
		aead_seal(ttun->tx.aead, nonce, packet, sealed - AEAD_TAG_BYTES, packet + sealed - AEAD_TAG_BYTES);
	}
}

void ttun_seal(struct ttun *ttun, uint8_t *frame, size_t length)
{
	ttun_lay(frame, length);
	ttun_seal_laid(ttun, frame, length + TTUN_OVERHEAD_BYTES);
}

int ttun_open(struct ttun *ttun, uint8_t *bytes, size_t length, struct ttun_packet *packet)
{
	uint8_t nonce[AEAD_NONCE_BYTES];
	assert(ttun->rx.aead);
	if (length < TTUN_LENGTH_BYTES)
		return TTUN_MORE;
	size_t sealed = sealed_bytes(bytes);
	// Hostile: a frame holds at least its tag.
	if (sealed < AEAD_TAG_BYTES)
		return TTUN_REFUSED;
	if (length < TTUN_LENGTH_BYTES + sealed)
		return TTUN_MORE;
	uint8_t *inside = bytes + TTUN_LENGTH_BYTES;
	size_t size = sealed - AEAD_TAG_BYTES;
	next_nonce(&ttun->rx, nonce);
	if (aead_open(ttun->rx.aead, nonce, inside, size, inside + size) != 0)
		return TTUN_REFUSED;
	*packet = (struct ttun_packet){.bytes = inside, .length = size, .used = TTUN_LENGTH_BYTES + sealed};
	return ttun->is_hybrid && size > 0 && inside[0] == 0 ? TTUN_CONTROL : 0;
}
