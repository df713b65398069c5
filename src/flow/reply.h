// What a client of the entry hears about its request, in the protocol it spoke. Pure.

#pragma once

#include "link/header.h"

#include <stddef.h>
#include <stdint.h>

enum reply_kind { REPLY_NONE, REPLY_SOCKS, REPLY_HTTP };

enum reply_verdict {
	REPLY_OK,
	REPLY_NO_SERVICE,  // dest does not offer it (or not to us)
	REPLY_NOT_ALLOWED, // it may not be asked for here
	REPLY_REFUSED,     // the target refuses connections or is down
	REPLY_TIMED_OUT,   // neither target nor dest answers
	REPLY_LIMIT,
	REPLY_NO_LINK,
	REPLY_FAILURE,
};

enum reply_verdict reply_of_status(enum header_status status);

#define REPLY_BYTES 512
// Returns the length; 0 for REPLY_NONE.
size_t reply_encode(enum reply_kind kind, enum reply_verdict verdict, uint8_t out[REPLY_BYTES]);
