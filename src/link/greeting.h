// The handshake of a pre-shared-key tunnel on one connection, from the first byte to the proof, with one deadline for
// all of it. Any number may be under way at once; whoever holds no key costs a socket and less than 4 KiB until then.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "net/address.h"
#include "wire/ttun.h"

struct greeting;

struct greeting_settings {
	struct loop *loop;
	enum ttun_role role;
	enum aead_cipher cipher;
	const struct secret *key; // copied
	bool is_hybrid;           // the exchange of two qanat nodes instead of ttun's
	uint32_t timeout_ms;
	ttun_judge_fn judge; // of a hybrid server, may be NULL; called with `judge_owner`
	void *judge_owner;
};

// ttun is NULL on failure, and `problem` says why (lent). On success the owner takes the socket and the session. Either
// way `greeting` is gone afterwards.
struct greeting_result {
	int fd;
	struct ttun *ttun;
	struct address peer;
	const char *problem;
};
typedef void (*greeting_fn)(void *owner, struct greeting *greeting, struct greeting_result *result);

// Takes fd, which becomes -1. The callback comes later from the loop. Negative: no memory; fd is still the caller's.
MUST_USE int greeting_start(const struct greeting_settings *settings, int *fd, const struct address *peer,
                            greeting_fn on_done, void *owner, struct greeting **greeting);
// Harmless on NULL; no callback afterwards. Closes the socket.
void greeting_cancel(struct greeting **greeting);
