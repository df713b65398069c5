// Shared by the initiator*.c files only.

#pragma once

#include "link/initiator.h"

#include "crypto/digest.h"
#include "link/leftovers.h"
#include "net/dial.h"
#include "net/socket.h"

#include <pthread.h>

// A control connection that stands: the one that is about to come up, the one in use, or an earlier one.
struct line {
	struct initiator *initiator;
	struct line *next;
	struct session *session;
	struct link *link; // once it is up
	struct destination dest;
	struct address peer;
	bool has_successor; // or dest wants none of its new streams
	uint64_t retired_ms;
};

struct initiator {
	struct initiator_settings settings; // its texts and lists are ours
	char congestion[SOCKET_CONGESTION_BYTES];
	struct destinations dests;
	const struct initiator_ops *ops;
	void *owner;
	struct tls_profile *profile;
	uint8_t own_digest[DIGEST_BYTES];

	struct line *lines; // all of them
	struct line *in_use;
	struct line *fresh; // not up yet
	struct leftovers left;

	// The attempt that is going on, at most one.
	enum initiator_phase {
		INITIATOR_IDLE,
		INITIATOR_PAUSE, // before the next try
		INITIATOR_DIALING,
		INITIATOR_HANDSHAKE,
		INITIATOR_SESSION, // `fresh` is on its way up
	} phase;
	const char *wish;    // why a link in use is to be replaced, NULL: it is not
	bool is_failback;    // this round is over the better dests only
	uint64_t wished_ms;  // fail-back and expiry: when it was tried last
	uint64_t probed_ms;  // when it was asked for a sign of life, clock_ms; 0: it was not, or has answered
	uint64_t tried_ms;   // when the attempt that is going on began
	uint64_t hurried_ms; // when a GOAWAY made us dial at once last
	struct dial *dial;
	struct tls_conn *tls;
	struct loop_io *io;
	struct loop_timer *timer; // the handshake's deadline, or the pause before the next try
	struct address peer;
	uint32_t delay_ms;
	bool is_refused; // by its owner, which has just been told that it is up
	uint16_t spread; // random, of this initiator

	struct loop_timer *care;
	struct loop_task release;

	pthread_mutex_t lock;
	struct initiator_state state;
};

// initiator_dial.c
void initiator_show(struct initiator *initiator);
// A new round over the dests, the first of them `delay_ms` from now.
void initiator_begin(struct initiator *initiator, uint64_t delay_ms);
// The pause that back-off wants now.
uint32_t initiator_pause(struct initiator *initiator);
// This try came to nothing: the next dest, or the end of the round.
void initiator_fail(struct initiator *initiator, const char *reason);
void initiator_on_timer(void *owner);
// Drops what is being dialled; `fresh` is not touched.
void initiator_forget(struct initiator *initiator);
// tls_judge_fn, owner: the initiator
int initiator_judge(void *owner, X509 *certificate);
bool initiator_allows(const struct initiator *initiator, const struct sockaddr *address);

// initiator.c: takes the connection, whose handshake is done.
MUST_USE int initiator_establish(struct initiator *initiator);
unsigned initiator_retiring(const struct initiator *initiator);

// initiator_settings.c
MUST_USE int initiator_settings_take(struct initiator *initiator, const struct initiator_settings *settings);
void initiator_settings_drop(struct initiator *initiator);
