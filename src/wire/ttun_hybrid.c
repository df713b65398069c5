// The exchange that two qanat nodes may put in place of ttun's handshake (docs/psk.md, "--pq"): the pre-shared key
// authenticates an ephemeral X25519 and ML-KEM-768 exchange, whose secrets go into the session keys with it. Renewed
// inside the session by three control frames; each direction changes its key at a place in its own stream that both
// sides know, so nothing is lost and nothing waits.

#include "wire/ttun_internal.h"

#include <assert.h>
#include <string.h>

#define MAGIC "qanatPQ1"
#define MAGIC_BYTES 8
#define HEAD_BYTES (MAGIC_BYTES + TTUN_NONCE_BYTES)
#define OFFER_BYTES (X25519_BYTES + MLKEM768_KEY_BYTES)
#define ACCEPT_BYTES (X25519_BYTES + MLKEM768_CIPHERTEXT_BYTES)
#define HELLO_BYTES (HEAD_BYTES + OFFER_BYTES + DIGEST_BYTES)
#define ANSWER_BYTES (HEAD_BYTES + ACCEPT_BYTES + DIGEST_BYTES)
// u8 0 (no version of IP) || u8 message
#define CONTROL_HEAD_BYTES 2

_Static_assert(HELLO_BYTES <= TTUN_SPEAK_BYTES, "the longest of the handshake");
_Static_assert(CONTROL_HEAD_BYTES + OFFER_BYTES + TTUN_OVERHEAD_BYTES <= TTUN_SPEAK_BYTES, "the longest control frame");

void ttun_hybrid_fini(struct ttun *ttun)
{
	struct ttun_hybrid *hybrid = &ttun->hybrid;
	secret_fini(&hybrid->psk);
	secret_fini(&hybrid->chain);
	kem_key_free(&hybrid->x25519);
	kem_key_free(&hybrid->mlkem);
	aead_free(&hybrid->next);
	secret_wipe(hybrid->confirm, sizeof hybrid->confirm);
}

// ---- key schedule

static int extract(const void *salt, size_t salt_length, const struct digest_part *parts, size_t count,
                   struct secret *out)
{
	return hkdf_extract(salt, salt_length, parts, count, out);
}

int ttun_hybrid_mix(struct secret *chain, const uint8_t transcript[DIGEST_BYTES], const struct secret *x25519,
                    const struct secret *mlkem)
{
	const struct digest_part parts[] = {{chain->bytes, chain->length},
	                                    {x25519->bytes, x25519->length},
	                                    {mlkem->bytes, mlkem->length}};
	struct secret fresh = {0};
	int result = extract(transcript, DIGEST_BYTES, parts, COUNT_OF(parts), &fresh);
	if (result == 0)
		secret_move(chain, &fresh);
	return result;
}

int ttun_hybrid_expand(const struct secret *chain, const char *label, size_t length, struct secret *out)
{
	return hkdf_expand(chain, label, strlen(label), length, out);
}

// The pre-shared key of this exchange: another one than that of the plain wire.
static int begin_psk(struct ttun *ttun)
{
	static const char salt[] = "qanat psk pq/1";
	const struct digest_part part = {ttun->key.bytes, ttun->key.length};
	return extract(salt, sizeof salt - 1, &part, 1, &ttun->hybrid.psk);
}

// The client's proof, over its whole hello: before the server does any work for it.
static int mac(const struct ttun *ttun, const uint8_t *bytes, size_t length, uint8_t out[DIGEST_BYTES])
{
	struct secret result = {0};
	const struct digest_part parts[] = {{"hello", 5}, {bytes, length}};
	int failed = extract(ttun->hybrid.psk.bytes, ttun->hybrid.psk.length, parts, COUNT_OF(parts), &result);
	if (failed == 0)
		memcpy(out, result.bytes, DIGEST_BYTES);
	secret_fini(&result);
	return failed;
}

static int make_aead(const struct ttun *ttun, enum ttun_role from, enum aead_direction direction, struct aead **aead)
{
	struct secret key = {0};
	const char *label = from == TTUN_CLIENT ? "client key" : "server key";
	int result = ttun_hybrid_expand(&ttun->hybrid.chain, label, AEAD_KEY_BYTES, &key);
	if (result == 0)
		result = aead_new(ttun->cipher, direction, &key, aead);
	secret_fini(&key);
	return result;
}

static void change(struct ttun_half *half, struct aead **aead)
{
	aead_free(&half->aead);
	half->aead = *aead;
	*aead = NULL;
	half->counter = 0;
}

static int confirm_of(const struct ttun *ttun, const char *label, uint8_t out[DIGEST_BYTES])
{
	struct secret confirm = {0};
	int result = ttun_hybrid_expand(&ttun->hybrid.chain, label, DIGEST_BYTES, &confirm);
	if (result == 0)
		memcpy(out, confirm.bytes, DIGEST_BYTES);
	secret_fini(&confirm);
	return result;
}

static void note_transcript(struct ttun *ttun, const uint8_t *bytes, size_t length)
{
	const struct digest_part parts[] = {{bytes, length}};
	digest_sha384(parts, 1, ttun->hybrid.transcript);
}

static int mix(struct ttun *ttun, const uint8_t *answer, size_t length, const struct secret *x25519,
               const struct secret *mlkem)
{
	uint8_t transcript[DIGEST_BYTES];
	const struct digest_part parts[] = {{ttun->hybrid.transcript, DIGEST_BYTES}, {answer, length}};
	digest_sha384(parts, COUNT_OF(parts), transcript);
	return ttun_hybrid_mix(&ttun->hybrid.chain, transcript, x25519, mlkem);
}

// ---- the exchange itself, the same in the handshake and in a renewal

static int make_offer(struct ttun *ttun, uint8_t out[OFFER_BYTES])
{
	kem_key_free(&ttun->hybrid.x25519);
	kem_key_free(&ttun->hybrid.mlkem);
	int result = x25519_generate(&ttun->hybrid.x25519, out);
	return result == 0 ? mlkem768_generate(&ttun->hybrid.mlkem, out + X25519_BYTES) : result;
}

static int outcome_of(int result)
{
	return result > 0 ? TTUN_REFUSED : result;
}

// The server's half; the chain then holds the secrets. `head` bytes of the message stand before `out` already.
static int make_accept(struct ttun *ttun, const uint8_t offer[OFFER_BYTES], uint8_t *message, size_t head)
{
	struct secret x25519 = {0}, mlkem = {0};
	struct kem_key *own = NULL;
	uint8_t *out = message + head;
	int result = x25519_generate(&own, out);
	if (result == 0)
		result = x25519_derive(own, offer, &x25519);
	if (result == 0)
		result = mlkem768_encapsulate(offer + X25519_BYTES, out + X25519_BYTES, &mlkem);
	if (result == 0)
		result = mix(ttun, message, head + ACCEPT_BYTES, &x25519, &mlkem);
	kem_key_free(&own);
	secret_fini(&x25519);
	secret_fini(&mlkem);
	return outcome_of(result);
}

// The client's half.
static int take_accept(struct ttun *ttun, const uint8_t *message, size_t head)
{
	struct secret x25519 = {0}, mlkem = {0};
	const uint8_t *accept = message + head;
	int result = x25519_derive(ttun->hybrid.x25519, accept, &x25519);
	if (result == 0)
		result = mlkem768_decapsulate(ttun->hybrid.mlkem, accept + X25519_BYTES, &mlkem);
	if (result == 0)
		result = mix(ttun, message, head + ACCEPT_BYTES, &x25519, &mlkem);
	kem_key_free(&ttun->hybrid.x25519);
	kem_key_free(&ttun->hybrid.mlkem);
	secret_fini(&x25519);
	secret_fini(&mlkem);
	return outcome_of(result);
}

// ---- handshake

static void write_head(const struct ttun *ttun, uint8_t *out)
{
	memcpy(out, MAGIC, MAGIC_BYTES);
	memcpy(out + MAGIC_BYTES, ttun->nonce, TTUN_NONCE_BYTES);
}

// 0 on failure: the caller's connection then ends at its deadline or with the peer's patience; there was no memory.
static size_t speak_hello(struct ttun *ttun, uint8_t *out)
{
	write_head(ttun, out);
	if (begin_psk(ttun) != 0 || make_offer(ttun, out + HEAD_BYTES) != 0 ||
	    mac(ttun, out, HELLO_BYTES - DIGEST_BYTES, out + HELLO_BYTES - DIGEST_BYTES) != 0)
		return 0;
	note_transcript(ttun, out, HELLO_BYTES);
	return HELLO_BYTES;
}

size_t ttun_hybrid_speak(struct ttun *ttun, uint8_t *out)
{
	if (ttun->stage == TTUN_NONCE_OUT) {
		ttun->stage = TTUN_NONCE_IN;
		return speak_hello(ttun, out);
	}
	if (ttun->stage != TTUN_ANSWER_OUT)
		return 0;
	ttun->stage = ttun->role == TTUN_SERVER ? TTUN_PROOF_IN : TTUN_UP;
	memcpy(out, ttun->hybrid.message, ttun->hybrid.length);
	return ttun->hybrid.length;
}

static int begin_session(struct ttun *ttun)
{
	enum ttun_role peer = ttun->role == TTUN_CLIENT ? TTUN_SERVER : TTUN_CLIENT;
	int result = make_aead(ttun, ttun->role, AEAD_SEALS, &ttun->tx.aead);
	if (result == 0)
		result = make_aead(ttun, peer, AEAD_OPENS, &ttun->rx.aead);
	secret_fini(&ttun->hybrid.psk);
	secret_fini(&ttun->key);
	return result;
}

static int start_chain(struct ttun *ttun)
{
	return secret_set(&ttun->hybrid.chain, ttun->hybrid.psk.bytes, ttun->hybrid.psk.length);
}

static int hear_hello(struct ttun *ttun, const uint8_t *hello)
{
	uint8_t wanted[DIGEST_BYTES];
	int result = begin_psk(ttun);
	if (result == 0)
		result = mac(ttun, hello, HELLO_BYTES - DIGEST_BYTES, wanted);
	if (result == 0 && !secret_is_equal(wanted, hello + HELLO_BYTES - DIGEST_BYTES, DIGEST_BYTES))
		return TTUN_REFUSED;
	if (result == 0 && ttun->judge && !ttun->judge(ttun->judge_owner, hello + MAGIC_BYTES))
		return TTUN_REPEATED;
	note_transcript(ttun, hello, HELLO_BYTES);
	write_head(ttun, ttun->hybrid.message);
	if (result == 0)
		result = start_chain(ttun);
	if (result == 0)
		result = make_accept(ttun, hello + HEAD_BYTES, ttun->hybrid.message, HEAD_BYTES);
	if (result == 0)
		result = confirm_of(ttun, "server confirm", ttun->hybrid.message + ANSWER_BYTES - DIGEST_BYTES);
	if (result == 0)
		result = confirm_of(ttun, "client confirm", ttun->hybrid.confirm);
	ttun->hybrid.length = ANSWER_BYTES;
	ttun->stage = TTUN_ANSWER_OUT;
	return result;
}

static int hear_answer(struct ttun *ttun, const uint8_t *answer)
{
	uint8_t wanted[DIGEST_BYTES];
	int result = start_chain(ttun);
	if (result == 0)
		result = take_accept(ttun, answer, HEAD_BYTES);
	if (result == 0)
		result = confirm_of(ttun, "server confirm", wanted);
	if (result == 0 && !secret_is_equal(wanted, answer + ANSWER_BYTES - DIGEST_BYTES, DIGEST_BYTES))
		return TTUN_REFUSED;
	if (result == 0)
		result = confirm_of(ttun, "client confirm", ttun->hybrid.message);
	ttun->hybrid.length = DIGEST_BYTES;
	ttun->stage = TTUN_ANSWER_OUT;
	return result == 0 ? begin_session(ttun) : result;
}

static int hear_confirm(struct ttun *ttun, const uint8_t *confirm)
{
	if (!secret_is_equal(confirm, ttun->hybrid.confirm, DIGEST_BYTES))
		return TTUN_REFUSED;
	ttun->stage = TTUN_UP;
	return begin_session(ttun);
}

size_t ttun_hybrid_wants(const struct ttun *ttun)
{
	if (ttun->stage == TTUN_NONCE_IN)
		return ttun->role == TTUN_SERVER ? HELLO_BYTES : ANSWER_BYTES;
	return ttun->stage == TTUN_PROOF_IN ? DIGEST_BYTES : 0;
}

int ttun_hybrid_hear(struct ttun *ttun, uint8_t *bytes, size_t length, size_t *used)
{
	size_t wanted = ttun_hybrid_wants(ttun), known = length < MAGIC_BYTES ? length : MAGIC_BYTES;
	// Hostile: a peer without this exchange is refused by its first bytes, not at the deadline, and never served less.
	if (ttun->stage == TTUN_NONCE_IN && memcmp(bytes, MAGIC, known) != 0)
		return TTUN_REFUSED;
	if (wanted == 0 || length < wanted)
		return TTUN_MORE;
	*used = wanted;
	int result = ttun->stage == TTUN_PROOF_IN ? hear_confirm(ttun, bytes)
	             : ttun->role == TTUN_SERVER  ? hear_hello(ttun, bytes)
	                                          : hear_answer(ttun, bytes);
	*used = result == 0 ? wanted : 0;
	return result;
}

// ---- renewal

bool ttun_renew(struct ttun *ttun)
{
	struct ttun_hybrid *hybrid = &ttun->hybrid;
	if (!ttun->is_hybrid || ttun->role != TTUN_CLIENT || ttun->stage != TTUN_UP || hybrid->to_send || hybrid->awaited)
		return false;
	hybrid->message[0] = 0;
	hybrid->message[1] = TTUN_OFFER;
	if (make_offer(ttun, hybrid->message + CONTROL_HEAD_BYTES) != 0)
		return false;
	hybrid->length = CONTROL_HEAD_BYTES + OFFER_BYTES;
	note_transcript(ttun, hybrid->message, hybrid->length);
	hybrid->to_send = TTUN_OFFER;
	return true;
}

bool ttun_is_renewing(const struct ttun *ttun)
{
	return ttun->hybrid.to_send != TTUN_NOTHING || ttun->hybrid.awaited != TTUN_NOTHING;
}

uint32_t ttun_generation(const struct ttun *ttun)
{
	return ttun->hybrid.generation;
}

bool ttun_has_control(const struct ttun *ttun)
{
	return ttun->hybrid.to_send != TTUN_NOTHING;
}

size_t ttun_speak_control(struct ttun *ttun, uint8_t out[TTUN_SPEAK_BYTES])
{
	struct ttun_hybrid *hybrid = &ttun->hybrid;
	size_t length = hybrid->length;
	enum ttun_hybrid_message sent = hybrid->to_send;
	if (sent == TTUN_NOTHING)
		return 0;
	memcpy(out + TTUN_LENGTH_BYTES, hybrid->message, length);
	ttun_seal(ttun, out, length);
	hybrid->to_send = TTUN_NOTHING;
	if (sent == TTUN_OFFER) {
		hybrid->awaited = TTUN_ACCEPT;
	} else {
		// Whatever we send after this frame has the new key.
		change(&ttun->tx, &hybrid->next);
		hybrid->awaited = sent == TTUN_ACCEPT ? TTUN_DONE : TTUN_NOTHING;
		hybrid->generation += sent == TTUN_DONE;
	}
	return length + TTUN_OVERHEAD_BYTES;
}

static int hear_offer(struct ttun *ttun, const uint8_t *bytes, size_t length)
{
	struct ttun_hybrid *hybrid = &ttun->hybrid;
	if (ttun->role != TTUN_SERVER || hybrid->to_send || hybrid->awaited || length != CONTROL_HEAD_BYTES + OFFER_BYTES)
		return TTUN_REFUSED;
	note_transcript(ttun, bytes, length);
	hybrid->message[0] = 0;
	hybrid->message[1] = TTUN_ACCEPT;
	int result = make_accept(ttun, bytes + CONTROL_HEAD_BYTES, hybrid->message, CONTROL_HEAD_BYTES);
	if (result == 0)
		result = make_aead(ttun, TTUN_SERVER, AEAD_SEALS, &hybrid->next);
	hybrid->length = CONTROL_HEAD_BYTES + ACCEPT_BYTES;
	hybrid->to_send = TTUN_ACCEPT;
	return result;
}

// Whatever the server sends after this frame has the new key; ours changes behind DONE.
static int hear_accept(struct ttun *ttun, const uint8_t *bytes, size_t length)
{
	struct ttun_hybrid *hybrid = &ttun->hybrid;
	struct aead *rx = NULL;
	if (hybrid->awaited != TTUN_ACCEPT || length != CONTROL_HEAD_BYTES + ACCEPT_BYTES)
		return TTUN_REFUSED;
	int result = take_accept(ttun, bytes, CONTROL_HEAD_BYTES);
	if (result == 0)
		result = make_aead(ttun, TTUN_SERVER, AEAD_OPENS, &rx);
	if (result == 0)
		result = make_aead(ttun, TTUN_CLIENT, AEAD_SEALS, &hybrid->next);
	if (result != 0) {
		aead_free(&rx);
		return result;
	}
	change(&ttun->rx, &rx);
	hybrid->message[0] = 0;
	hybrid->message[1] = TTUN_DONE;
	hybrid->length = CONTROL_HEAD_BYTES;
	hybrid->awaited = TTUN_NOTHING;
	hybrid->to_send = TTUN_DONE;
	return 0;
}

static int hear_done(struct ttun *ttun, size_t length)
{
	struct aead *rx = NULL;
	if (ttun->hybrid.awaited != TTUN_DONE || length != CONTROL_HEAD_BYTES)
		return TTUN_REFUSED;
	int result = make_aead(ttun, TTUN_CLIENT, AEAD_OPENS, &rx);
	if (result != 0)
		return result;
	change(&ttun->rx, &rx);
	ttun->hybrid.awaited = TTUN_NOTHING;
	ttun->hybrid.generation++;
	return 0;
}

int ttun_hear_control(struct ttun *ttun, const struct ttun_packet *packet)
{
	const uint8_t *bytes = packet->bytes;
	size_t length = packet->length;
	if (length < CONTROL_HEAD_BYTES)
		return TTUN_REFUSED;
	switch (bytes[1]) {
	case TTUN_OFFER:
		return hear_offer(ttun, bytes, length);
	case TTUN_ACCEPT:
		return hear_accept(ttun, bytes, length);
	case TTUN_DONE:
		return hear_done(ttun, length);
	default:
		return TTUN_REFUSED;
	}
}
