// What the parts of link/control share: control.c (life, frames, clock), control_hello.c (the first message) and
// control_epoch.c (epoch exchanges). Nobody else includes this, except their tests.

#pragma once

#include "link/control.h"
#include "link/epoch.h"
#include "link/frame.h"
#include "link/hello.h"
#include "link/message.h"

#include <stdbool.h>
#include <stdint.h>

// What a message costs of LIMIT_CONTROL_MESSAGES_PER_S: an offer makes the responder compute for a quarter of a
// millisecond, a KEY is half a megabyte to copy, send and hash.
enum { CONTROL_COST_MESSAGE = 1, CONTROL_COST_OFFER = 50, CONTROL_COST_KEY = 500 };
// Our own offers keep this distance, which is half of what the other side's limit allows.
#define CONTROL_OFFER_DISTANCE_US 50000
// EPOCH_WANTs in one epoch: one, and one that crossed with an offer.
#define CONTROL_WANTS_PER_EPOCH 2

enum control_stage {
	CONTROL_STAGE_NEW,   // TLS is not done: nothing is sent, nothing may arrive
	CONTROL_STAGE_HELLO, // the peer's HELLO is awaited: only HELLO and CLOSE may arrive
	CONTROL_STAGE_OPEN,  // both HELLOs were exchanged: what may arrive depends on the exchange
	CONTROL_STAGE_ENDED, // on_close was called and all secrets are wiped
};

enum control_exchange {
	CONTROL_EXCHANGE_IDLE,       // responder: EPOCH_OFFER and KEY_WANT may arrive; initiator: EPOCH_WANT
	CONTROL_EXCHANGE_KEY_WANTED, // initiator sent KEY_WANT: KEY or EPOCH_RETRY may arrive
	CONTROL_EXCHANGE_KEY_COMING, // initiator got EPOCH_RETRY: KEY may arrive
	CONTROL_EXCHANGE_OFFERED,    // initiator sent EPOCH_OFFER: EPOCH_ACCEPT or EPOCH_RETRY may arrive
	CONTROL_EXCHANGE_ACCEPTED,   // responder sent EPOCH_ACCEPT: EPOCH_DONE may arrive
};

struct control {
	struct control_settings *settings; // until both HELLOs were exchanged; what is needed later:
	enum control_role role;
	uint8_t legs;
	uint32_t features, rotation_ms, heartbeat_ms, heartbeat_timeout_ms, missed_pongs_max;
	struct control_ops ops;
	void *owner;
	enum control_stage stage;
	struct framer framer;
	bool hello_sent;
	bool goaway_waiting; // asked for before our HELLO left
	enum control_reason goaway_reason;
	uint32_t goaway_deadline_ms;

	struct secret chain; // of the current epoch
	uint32_t epoch;      // the current one; 0 until the first is confirmed
	uint64_t start_us, epoch_since_us;
	uint64_t epoch_due_us; // initiator: the next offer; responder: the next EPOCH_WANT

	enum control_exchange exchange;
	struct epoch pending;
	unsigned retries;                 // EPOCH_RETRYs of this exchange
	uint8_t key_digest[DIGEST_BYTES]; // the responder's McEliece key, as announced last
	bool key_given;                   // responder: KEY went out since the last epoch
	bool want_sent;                   // responder: EPOCH_WANT went out since the last epoch
	unsigned wants_heard;             // initiator: likewise received
	uint64_t offered_us;              // initiator: begin of the last exchange

	uint64_t heard_us;
	uint64_t ping_due_us;
	uint64_t ping_sent_us;
	bool ping_outstanding;
	uint8_t ping[MESSAGE_PING_BYTES];
	uint32_t rtt_us;

	uint64_t charged_us; // when `debt_us` was right
	uint64_t debt_us;    // a second of it is the most a peer may run up
};

void control_send(struct control *control, const uint8_t *frame, size_t length);
// Ends the link by our own verdict: CLOSE is sent, secrets are wiped, on_close is called. Always CONTROL_ENDED; the
// frame being handled is gone when this returns.
int control_end(struct control *control, enum control_reason reason, const char *format, ...) PRINTF_LIKE(3, 4);
// The same, when an operation of ours failed (negative).
int control_fail(struct control *control, const char *what, int negative);
// False: the peer has used up its second.
bool control_charge(struct control *control, unsigned cost, uint64_t now_us);
static inline bool control_is_initiator(const struct control *control)
{
	return control->role == CONTROL_INITIATOR;
}
static inline bool control_is_reverse(const struct control *control)
{
	return control->features & HELLO_REVERSE;
}
static inline uint8_t control_legs(const struct control *control)
{
	return control->legs;
}

// control_hello.c
int control_send_hello(struct control *control);
int control_on_hello(struct control *control, const struct frame *frame, uint64_t now_us);

// control_epoch.c
// Initiator, right after HELLO: offers at once when nothing has to be asked first.
int control_epoch_early(struct control *control, uint64_t now_us);
// Initiator: begins an exchange. None may be in progress.
int control_epoch_begin(struct control *control, uint64_t now_us);
// Responder: asks for one, once per epoch.
void control_epoch_ask(struct control *control);
int control_on_key_want(struct control *control);
int control_on_key(struct control *control, const struct frame *frame, uint64_t now_us);
int control_on_epoch_offer(struct control *control, const struct frame *frame, uint64_t now_us);
int control_on_epoch_accept(struct control *control, const struct frame *frame, uint64_t now_us);
int control_on_epoch_done(struct control *control, const struct frame *frame, uint64_t now_us);
int control_on_epoch_want(struct control *control, uint64_t now_us);
int control_on_epoch_retry(struct control *control, const struct frame *frame);
