#include "flow/joint.h"

#include "core/block.h"
#include "core/loop.h"
#include "net/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { MOVED, STUCK };

// ---- outward -------------------------------------------------------------------------------------------------------

static int finish_outward(struct joint *joint)
{
	if (joint->out_end)
		return STUCK;
	if (joint->ops->finish(joint->far) != 0)
		return JOINT_FAR_BROKE;
	joint->out_end = true;
	return STUCK;
}

// One unit.
static int move_outward(struct joint *joint)
{
	if (joint->out_end || !joint->ops->has_room(joint->far))
		return STUCK;
	if (joint->local_end)
		return finish_outward(joint);
	ssize_t n = recv(joint->fd, joint->unit, LIMIT_UNIT_BYTES, 0);
	if (n > 0) {
		joint->moved = true;
		joint->taken += (size_t)n;
		if (joint->ops->send(joint->far, joint->unit, (size_t)n) != 0)
			return JOINT_FAR_BROKE;
		// A short read emptied the socket.
		return n == LIMIT_UNIT_BYTES ? MOVED : STUCK;
	}
	if (n == 0) {
		joint->local_end = true;
		return finish_outward(joint);
	}
	return errno == EAGAIN || errno == EINTR ? STUCK : JOINT_LOCAL_BROKE;
}

int joint_outward(struct joint *joint)
{
	int r = MOVED;
	for (unsigned i = 0; i < LIMIT_UNITS_PER_TURN && r == MOVED; i++)
		r = move_outward(joint);
	return r <= STUCK ? 0 : r;
}

// ---- inward --------------------------------------------------------------------------------------------------------

// The bytes taken, or negative when the socket broke.
static ssize_t give(struct joint *joint, const uint8_t *bytes, size_t length)
{
	ssize_t n;
	do
		n = send(joint->fd, bytes, length, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		joint->given += (size_t)n;
	return n < 0 && errno == EAGAIN ? 0 : n;
}

static int give_held(struct joint *joint)
{
	ssize_t n = give(joint, joint->held + joint->held_at, joint->held_length);
	if (n < 0)
		return JOINT_LOCAL_BROKE;
	joint->held_at += (size_t)n;
	joint->held_length -= (size_t)n;
	joint->moved = joint->moved || n > 0;
	if (joint->held_length > 0)
		return STUCK;
	block_give(&joint->held);
	joint->held_at = 0;
	return MOVED;
}

static int hold(struct joint *joint, const uint8_t *bytes, size_t length)
{
	joint->held = block_take();
	if (!joint->held)
		return JOINT_LOCAL_BROKE;
	memcpy(joint->held, bytes, length);
	joint->held_at = 0;
	joint->held_length = length;
	return STUCK;
}

int joint_say(struct joint *joint, const uint8_t *bytes, size_t length)
{
	ssize_t n = give(joint, bytes, length);
	if (n < 0)
		return JOINT_LOCAL_BROKE;
	if ((size_t)n == length)
		return 0;
	return hold(joint, bytes + n, length - (size_t)n) == STUCK ? 0 : JOINT_LOCAL_BROKE;
}

static int move_inward(struct joint *joint)
{
	if (joint->held)
		return give_held(joint);
	if (joint->in_end) {
		if (!joint->local_shut)
			(void)shutdown(joint->fd, SHUT_WR);
		joint->local_shut = true;
		return STUCK;
	}
	size_t got;
	int r = joint->ops->recv(joint->far, joint->unit, LIMIT_UNIT_BYTES, &got);
	if (r == JOINT_BLOCKED)
		return STUCK;
	if (r == JOINT_END) {
		joint->in_end = true;
		return MOVED;
	}
	if (r != 0)
		return JOINT_FAR_BROKE;
	ssize_t n = give(joint, joint->unit, got);
	joint->moved = true;
	if (n < 0)
		return JOINT_LOCAL_BROKE;
	return (size_t)n == got ? MOVED : hold(joint, joint->unit + n, got - (size_t)n);
}

int joint_inward(struct joint *joint)
{
	int r;
	do
		r = move_inward(joint);
	while (r == MOVED);
	return r == STUCK ? 0 : r;
}

// ---- questions -----------------------------------------------------------------------------------------------------

int joint_wants(const struct joint *joint)
{
	bool read = !joint->local_end && joint->ops->has_room(joint->far);
	return (read ? LOOP_READ : 0) | (joint->held ? LOOP_WRITE : 0);
}

bool joint_reads_far(const struct joint *joint)
{
	return !joint->held && !joint->in_end;
}

bool joint_has_failed(const struct joint *joint, int events)
{
	int error = 0;
	socklen_t length = sizeof error;
	return events == (LOOP_READ | LOOP_WRITE) && !joint->held &&
	       getsockopt(joint->fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error != 0;
}

bool joint_is_done(const struct joint *joint)
{
	return joint->out_end && joint->in_end && joint->local_shut && !joint->held;
}

void joint_fini(struct joint *joint)
{
	if (joint->fd >= 0)
		socket_close_resets(joint->fd, !joint->local_end || !joint->local_shut);
	socket_close(&joint->fd);
	block_give(&joint->held);
}
