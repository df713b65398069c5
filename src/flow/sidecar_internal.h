// Shared by the sidecar_*.c files: sidecar.c (all of a worker: settings, sweep), sidecar_arrive.c (from accept to a
// finished handshake), sidecar_reach.c (the target), sidecar_move.c (joined), sidecar_end.c (how it ends and what is
// said of it).

#pragma once

#include "core/brake.h"
#include "core/counter.h"
#include "flow/farewell.h"
#include "flow/joint.h"
#include "flow/sidecar.h"
#include "flow/sidecar_walk.h"
#include "limits.h"
#include "net/dial.h"
#include "net/socket.h"

struct sidecar_chain { // oldest first in time
	struct sidecar *newest, *oldest;
	unsigned count;
};

struct sidecar_told { // by a PROXY header
	struct address client, server;
};

struct sidecar {
	struct sidecars *all;
	struct sidecar_chain *chain;
	struct sidecar *newer, *older;
	uint64_t id; // in this process, for the log
	enum sidecar_phase {
		SIDECAR_FIRST,     // a PROXY header, or the first byte of a handshake, is waited for
		SIDECAR_HANDSHAKE, // with the client (server) or the target (client)
		SIDECAR_REACHING,  // the target is dialled
		SIDECAR_JOINED,
	} phase;
	int fd; // accepted; -1 once it belongs to `tls` or `joint`
	struct tls_conn *tls;
	struct joint joint;
	struct loop_io *tls_io, *plain_io; // the accepted socket's is there from the beginning
	struct dial *dial;
	struct targets *targets; // that `pick` is of
	struct target_pick pick;
	struct tally *tally; // of the target; NULL: none yet
	struct address peer;
	struct sidecar_told *told;
	uint8_t *partial; // the beginning of a PROXY header
	size_t partial_length;
	uint64_t begun_ms, due_ms, moved_at_ms;
	uint64_t handshake_ns;   // when it began
	uint64_t sent, received; // to and from the target
	struct quota_key key;
	unsigned age; // of the settings it was judged by
	bool has_header, entered, charged, begun, joined_counted;
	bool is_proved; // its handshake is done
	bool is_tls13, touched, trimmed, closed;
	bool client_ended; // while the target was reached
	struct loop_task release;
};

struct sidecars {
	struct sidecars_settings settings;
	char congestion[SOCKET_CONGESTION_BYTES];
	struct cidr *header_from; // what settings.header_from points to
	char *peer_name;          // likewise
	struct sidecar_chain strangers, reaching, joined;
	_Atomic uint32_t open;
	unsigned age; // counts sidecars_set
	struct loop_timer *sweep;
	struct loop_timer *judging; // runs while some of `joined` are to be judged again,
	struct sidecar_walk judged; // which goes along them
	struct brake lines, refusals, classical;
	struct farewells *farewells;
	struct tally *total;
	char problem[DIAL_PROBLEM_BYTES]; // of the last target that was not reached
	uint8_t *unit;
};

enum sidecar_end {
	SIDECAR_FINISHED,
	SIDECAR_CLIENT_BROKE,
	SIDECAR_TARGET_BROKE,
	SIDECAR_IDLE,
	SIDECAR_HALF_CLOSED,
	SIDECAR_TOO_OLD,
	SIDECAR_NOT_ALLOWED, // any more
	SIDECAR_STOPPED,
	SIDECAR_SILENT, // went before it had said anything
	SIDECAR_TIMED_OUT,
	SIDECAR_BAD_HEADER,
	SIDECAR_BAD_HANDSHAKE,
	SIDECAR_LIMIT,
	SIDECAR_CLIENT_LIMIT,
	SIDECAR_RATE,
	SIDECAR_CROWDED_OUT,
	SIDECAR_NO_TARGET,
	SIDECAR_UNREACHABLE,
	SIDECAR_NO_DESCRIPTOR,
	SIDECAR_NO_MEMORY,
	SIDECAR_END_COUNT
};

// Moves it to the end of a chain.
void sidecar_enlist(struct sidecar *sidecar, struct sidecar_chain *chain);
// What the handshake, and a judgement later on, ask for of its peer. Texts are lent.
struct tls_options sidecar_options(struct sidecar *sidecar);
// Takes a place of its client, once it is known who that is: at once, or when its PROXY header has come. False: the
// client has as many as it may, and the connection is gone.
MUST_USE bool sidecar_charge(struct sidecar *sidecar);
// Begins with it: handshake or target.
void sidecar_begin(struct sidecar *sidecar);
void sidecar_on_accepted(void *owner, int events);
void sidecar_on_tls(void *owner, int events);
void sidecar_on_plain(void *owner, int events);
// One step of its handshake.
void sidecar_shake(struct sidecar *sidecar);
// Whether the accepted socket, of which nothing is read yet, has broken. An end alone is none: the client may have said
// all that it wants to.
bool sidecar_client_broke(struct sidecar *sidecar, int events);
// Server: after the handshake. Client: at once. Finds a target and dials it.
void sidecar_reach(struct sidecar *sidecar);
// Both sides are there.
void sidecar_join(struct sidecar *sidecar);
// Closes it when its peer is not allowed any more.
void sidecar_judge(struct sidecar *sidecar);
// Adds to the tallies of all and of its target.
void sidecar_add(struct sidecar *sidecar, enum tally_number number, uint64_t amount);
// Gives the target bytes of ours. False: it broke, and the connection is gone.
MUST_USE bool sidecar_say(struct sidecar *sidecar, const uint8_t *bytes, size_t length);
// The first bytes of the target: the PROXY header. False: it broke, and the connection is gone.
MUST_USE bool sidecar_introduce(struct sidecar *sidecar);
void sidecar_forget_target(struct sidecar *sidecar);
const char *sidecar_target_name(const struct sidecar *sidecar); // "" without one
// Counts the handshake that was finished, for all and for its target.
void sidecar_count_handshake(struct sidecar *sidecar);
// A handshake that failed, for the target that it is with, or that the name the client asked for would have led to.
void sidecar_blame(struct sidecar *sidecar, enum tally_outcome outcome);
void sidecar_tune(const struct sidecar *sidecar, int fd);
// Whose connection it is: as a PROXY header told, or who connected.
const struct address *sidecar_client(const struct sidecar *sidecar);

// Ends both sides: in order when both directions have ended, with resets otherwise. `detail` may be NULL. Counted, and
// written to the log where its kind is worth it. The memory goes at the turn's end.
void sidecar_close(struct sidecar *sidecar, enum sidecar_end end, const char *detail);
// The same, but the client is told: bytes (may be none) are sent, and its socket stays until it has read them.
struct sidecar_words {
	const void *bytes;
	size_t length;
};
void sidecar_part(struct sidecar *sidecar, enum sidecar_end end, const char *detail, struct sidecar_words words);
