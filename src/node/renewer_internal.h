// node/renewer, shared by the renewer*.c files.

#pragma once

#include "core/loop.h"
#include "crypto/drop.h"
#include "net/dial.h"
#include "node/renewer.h"

#include <pthread.h>

#define RENEWER_TEXTS 128

enum renewer_state {
	RENEWER_IDLE,   // it is not time yet
	RENEWER_ASKING, // an answer is waited for
	RENEWER_PAUSED, // what failed is tried again later
	RENEWER_TAKEN,  // the files are new, the owner could not take them into use yet
};

struct renewer {
	struct loop *loop;
	renewer_fn on_renewed;
	void *owner;
	struct renewer_settings settings; // texts in `texts`
	char *texts[RENEWER_TEXTS];
	size_t text_count;
	char **crl_paths;
	unsigned jitter; // 0..1000: a thousandth of a tenth of `before`
	struct loop_timer *timer;
	unsigned failures; // in a row

	// ---- the drop folder
	struct drop *drop;
	struct loop_watch *watch;
	bool looks_soon;           // the timer is armed for what has just changed
	uint64_t missing_since_ms; // the request is gone and there is no answer; 0: it is there
	bool has_said_bad;         // one line about answers that are none is enough for an exchange

	// ---- the connection
	struct dial *dial;
	int fd; // -1: none
	struct loop_io *io;
	uint8_t *out, *in; // in: RENEWAL_MESSAGE_BYTES
	size_t out_length, out_at, in_length;

	pthread_mutex_t lock; // what the HTTP thread reads as well
	enum renewer_state state;
	enum renewer_method method;
	int64_t due, next; // Unix seconds: when it is time, when it is looked or tried again
	char last_error[256];
};

void renewer_enter(struct renewer *renewer, enum renewer_state state, int64_t next);
// The exchange is over: the answer was taken, or it failed.
void renewer_done(struct renewer *renewer);
void renewer_failed(struct renewer *renewer, const char *why);

// Starts an exchange, or calls one of those two; looks for an answer; gives it up without a word.
void renewer_drop_start(struct renewer *renewer);
void renewer_drop_look(struct renewer *renewer);
void renewer_drop_stop(struct renewer *renewer);
void renewer_link_start(struct renewer *renewer);
void renewer_link_look(struct renewer *renewer);
void renewer_link_stop(struct renewer *renewer);
