// The ttun wire against a stranger: byte 0 chooses role, cipher and whether the peer holds the key (then what follows
// is opened as a stranger's bytes behind a good handshake), whether it is the hybrid exchange, and whether the peer
// seals what follows, a list of records "u16 length | plaintext", as its frames: so that control frames get inside.

#include "wire/ttun.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ttun *make(enum ttun_role role, enum aead_cipher cipher)
{
	static const uint8_t nonce[TTUN_NONCE_BYTES];
	struct secret key = {0};
	struct ttun *ttun = NULL;
	if (secret_start() != 0 || ttun_key("fuzz", 4, &key) != 0 || ttun_new(role, cipher, &key, nonce, &ttun) != 0)
		abort();
	secret_fini(&key);
	return ttun;
}

// One side speaks, the other hears it.
static void pass(struct ttun *from, struct ttun *to)
{
	uint8_t bytes[TTUN_SPEAK_BYTES];
	size_t used, length = ttun_speak(from, bytes);
	assert(length > 0 && ttun_hear(to, bytes, length, &used) == 0 && used == length);
}

static int hear(struct ttun *ttun, uint8_t *bytes, size_t size, size_t *at)
{
	uint8_t out[TTUN_SPEAK_BYTES];
	int result = 0;
	while (!ttun_is_up(ttun) && result == 0) {
		size_t used = 0;
		assert(ttun_speak(ttun, out) <= sizeof out);
		result = ttun_hear(ttun, bytes + *at, size - *at, &used);
		assert(used <= size - *at && (result == 0 || used == 0));
		*at += used;
	}
	return result;
}

static void try_frames(struct ttun *ttun, uint8_t *bytes, size_t size)
{
	struct ttun_packet packet;
	while (ttun_open(ttun, bytes, size, &packet) == 0) {
		assert(packet.used <= size && packet.length + TTUN_OVERHEAD_BYTES == packet.used);
		assert(packet.bytes == bytes + TTUN_LENGTH_BYTES);
		bytes += packet.used;
		size -= packet.used;
	}
}

// Hostile: a peer that holds the keys may say anything in its frames.
static void try_said(struct ttun *ttun, struct ttun *peer, const uint8_t *bytes, size_t size)
{
	static uint8_t frame[TTUN_FRAME_BYTES];
	uint8_t out[TTUN_SPEAK_BYTES];
	struct ttun_packet packet;
	for (size_t at = 0; at + 2 <= size;) {
		size_t length = (size_t)bytes[at] << 8 | bytes[at + 1];
		at += 2;
		length = length < size - at ? length : size - at;
		if (length == 0 || length > TTUN_PACKET_BYTES)
			return;
		memcpy(frame + TTUN_LENGTH_BYTES, bytes + at, length);
		ttun_seal(peer, frame, length);
		int result = ttun_open(ttun, frame, length + TTUN_OVERHEAD_BYTES, &packet);
		assert(result == 0 || result == TTUN_CONTROL || result == TTUN_REFUSED);
		if (result == TTUN_CONTROL)
			result = ttun_hear_control(ttun, &packet);
		if (result == TTUN_REFUSED)
			return;
		assert(packet.used == length + TTUN_OVERHEAD_BYTES);
		assert(ttun_speak_control(ttun, out) <= sizeof out);
		at += length;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	enum ttun_role role = data[0] & 1 ? TTUN_SERVER : TTUN_CLIENT;
	enum aead_cipher cipher = data[0] & 2 ? AEAD_AES_256_GCM : AEAD_CHACHA20_POLY1305;
	struct ttun *ttun = make(role, cipher), *peer = make(role == TTUN_SERVER ? TTUN_CLIENT : TTUN_SERVER, cipher);
	struct ttun *first = role == TTUN_CLIENT ? ttun : peer, *second = role == TTUN_CLIENT ? peer : ttun;
	bool is_hybrid = (data[0] & 8) != 0;
	if (is_hybrid) {
		ttun_use_hybrid(first);
		ttun_use_hybrid(second);
	}
	uint8_t *bytes = malloc(size);
	size_t at = 0;
	if (!bytes)
		abort();
	memcpy(bytes, data + 1, size - 1);
	if (data[0] & 4) {
		pass(first, second);
		pass(second, first);
		pass(first, second);
		if (!is_hybrid)
			pass(second, first);
		if (data[0] & 16)
			try_said(ttun, peer, bytes, size - 1);
		else
			try_frames(ttun, bytes, size - 1);
	} else if (hear(ttun, bytes, size - 1, &at) == 0) {
		try_frames(ttun, bytes + at, size - 1 - at);
	}
	free(bytes);
	ttun_free(&ttun);
	ttun_free(&peer);
	return 0;
}
