// Shared by the reverse*.c files only: the table of links that stand, with their parked connections (reverse_offers.c)
// and their wishes (reverse_wishes.c). Everything that more than one worker looks at is behind one lock, which is never
// held over a callback.

#pragma once

#include "link/reverse.h"

#include "link/session.h"
#include "policy/bucket.h"

#include <pthread.h>
#include <uthash.h>

struct parked {
	struct reverse_worker *worker;
	struct stream *stream;
	struct parked *newer, *older; // of this worker
	struct parked *above, *below; // on the shelf
};

struct wish {
	struct loop_task task;
	struct reverse *reverse;
	struct link *link;
	struct reverse_wish what;
	uint64_t due_ms;
	unsigned at; // the worker it was posted to
	bool promised;
	uint8_t token[STREAM_TOKEN_BYTES]; // once it is asked for
	struct wish *next;
};

struct shelf {
	struct parked *top;
	unsigned count, promised;
};

struct entry {
	struct link *link;
	struct reverse_worker *home;
	struct session *session;
	struct bucket pace;
	struct wish *asked;
	struct wish *waiting, **waiting_end;
	unsigned asked_count, wishes, parked;
	UT_hash_handle hh;
	struct shelf shelves[];
};

struct reverse_worker {
	struct reverse *reverse;
	struct loop *loop;
	unsigned index;
	struct parked *newest;
	struct loop_timer *care;
	bool caring;
};

struct reverse {
	pthread_mutex_t lock;
	struct entry *entries;
	unsigned wishes;
	unsigned worker_count;
	struct reverse_worker *workers[];
};

// With the lock held. NULL: the link is over.
struct entry *reverse_entry(struct reverse *reverse, struct link *link);

// ---- wishes --------------------------------------------------------------------------------------------------------

// With the lock held: one fewer is asked for, or one more connection is parked, so the next of the line may try.
void reverse_wishes_next(struct reverse *reverse, struct entry *entry);
// With the lock held: those of a link that goes; they count no more, and are the caller's to refuse.
struct wish *reverse_wishes_take(struct reverse *reverse, struct entry *entry);
// Without the lock.
void reverse_wishes_refuse(struct wish *list, unsigned index, enum header_status status, const char *reason);
// A data connection has come that claims a token.
void reverse_wishes_claim(struct reverse_worker *worker, struct stream *stream,
                          const uint8_t token[STREAM_TOKEN_BYTES]);
// loop_timer_fn of a worker.
void reverse_wishes_care(void *owner);

// ---- offers --------------------------------------------------------------------------------------------------------

// stream_header_fn, `park`: owns the stream.
void reverse_offers_park(struct reverse_worker *worker, struct stream *stream);
// With the lock held: the newest that is parked on that worker, the caller's, on its thread; NULL: none.
struct stream *reverse_offers_take(struct entry *entry, unsigned index);
// On its thread, at its end: what is parked there is closed.
void reverse_offers_close(struct reverse_worker *worker);
