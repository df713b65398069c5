// The bytes between a local socket and whatever stands at its other side: a stream of a link, or a TLS connection. One
// direction after the other, in units of LIMIT_UNIT_BYTES, with their ends.
//
// Outward: recv a unit from the local socket, give it to the far side; while that has no room the local socket is not
// read. Inward: take a unit of the far side, send it to the local socket; what that does not take is held (one block)
// and the far side is not read meanwhile. So each joint owns nothing while it moves and at most one block while it is
// held up. Nothing here waits, logs or knows a loop: its owner does.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JOINT_BLOCKED = 1, JOINT_END = 2 };

struct joint_ops {
	// 0 with *got > 0, JOINT_BLOCKED, JOINT_END; anything else: it broke. Bounded in a turn by the far side.
	int (*recv)(void *far, uint8_t *out, size_t size, size_t *got);
	// All of it, only while it has room. Anything but 0: it broke.
	int (*send)(void *far, const uint8_t *bytes, size_t length);
	bool (*has_room)(const void *far);
	// Ends the outward direction, only while it has room. Anything but 0: it broke.
	int (*finish)(void *far);
};

struct joint { // the null value has fd -1
	const struct joint_ops *ops;
	void *far;
	uint8_t *unit; // the buffer that everything on this worker moves through
	int fd;
	bool local_end;  // the local side has no more to say
	bool local_shut; // the local side was told that the far side has no more to say
	bool out_end;    // the far side was told that the local side has no more to say
	bool in_end;     // the far side has no more to say
	bool moved;      // something did since the owner has last set it to false
	uint8_t *held;   // inward bytes that the local socket did not take: one block
	size_t held_at, held_length;
	uint64_t taken, given; // bytes from and to the local socket, for the owner to count
};

// Moves what can be moved, for a bounded time. 0, or which side broke: the other one is then to be reset, so that
// nobody takes a cut stream for a finished one.
enum { JOINT_LOCAL_BROKE = 3, JOINT_FAR_BROKE = 4 };
MUST_USE int joint_outward(struct joint *joint);
MUST_USE int joint_inward(struct joint *joint);
// The first bytes that the local socket hears, ours and not payload: at most one unit, before anything is held. 0 or
// JOINT_LOCAL_BROKE.
MUST_USE int joint_say(struct joint *joint, const uint8_t *bytes, size_t length);

// LOOP_READ, LOOP_WRITE: what the local socket is to be watched for.
int joint_wants(const struct joint *joint);
// Whether the far side is to be read.
bool joint_reads_far(const struct joint *joint);
// An error of the socket is told as both events; who waits for neither would not see it.
bool joint_has_failed(const struct joint *joint, int events);
// Both directions have ended and all is given. What the far side keeps of what it was given is its owner's to ask for.
bool joint_is_done(const struct joint *joint);
// Closes the local socket: in order when both of its directions have ended, with a reset otherwise.
void joint_fini(struct joint *joint);
