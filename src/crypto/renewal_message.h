// A renewal over a connection: one request, one answer, the end.
//
//   request:  "QRN1", u32 length, as many bytes: the text of crypto/renewal_request
//   answer:   "QRN1", u8 outcome, u32 length, as many bytes: the certificate and its issuers as PEM, or a reason
//
// Numbers are big-endian. Pure.

#pragma once

#include "core/outcome.h"
#include "limits.h"

#include <stddef.h>
#include <stdint.h>

enum renewal_outcome { RENEWAL_OUTCOME_SIGNED, RENEWAL_OUTCOME_REFUSED };

#define RENEWAL_REQUEST_HEAD_BYTES 8
#define RENEWAL_ANSWER_HEAD_BYTES 9
// The largest of either.
#define RENEWAL_MESSAGE_BYTES (LIMIT_RENEWAL_BYTES + RENEWAL_ANSWER_HEAD_BYTES)

// What stands in front of a body of 1..LIMIT_RENEWAL_BYTES bytes.
void renewal_message_request_head(size_t length, uint8_t head[RENEWAL_REQUEST_HEAD_BYTES]);
void renewal_message_answer_head(enum renewal_outcome outcome, size_t length, uint8_t head[RENEWAL_ANSWER_HEAD_BYTES]);

struct renewal_body {
	enum renewal_outcome outcome; // of an answer
	const uint8_t *bytes;         // lent from the input
	size_t length;
};
enum { RENEWAL_MESSAGE_MORE = 1, RENEWAL_MESSAGE_BAD = 2 };
// Hostile: what has arrived so far. Refused as soon as it can be seen; also when anything follows the message.
MUST_USE int renewal_message_request(const uint8_t *bytes, size_t length, struct renewal_body *body);
MUST_USE int renewal_message_answer(const uint8_t *bytes, size_t length, struct renewal_body *body);
