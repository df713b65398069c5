// Joined: bytes both ways, until both directions have ended.

#include "core/log.h"
#include "flow/sidecar_internal.h"

#include <string.h>

// ---- the far side of the joint: TLS --------------------------------------------------------------------------------

static int recv_tls(void *far, uint8_t *out, size_t size, size_t *got)
{
	struct sidecar *sidecar = far;
	return tls_conn_recv(sidecar->tls, out, size, got);
}

// Spec: RFC 8446 5.5. TLS 1.2 has no new keys; its connections end at their lifetime.
static int refresh_keys(struct sidecar *sidecar)
{
	if (tls_conn_sent(sidecar->tls) < sidecar->all->settings.key_update_bytes || !sidecar->is_tls13)
		return 0;
	return tls_conn_update_keys(sidecar->tls);
}

static int send_tls(void *far, const uint8_t *bytes, size_t length)
{
	struct sidecar *sidecar = far;
	int r = refresh_keys(sidecar);
	return r == 0 ? tls_conn_send(sidecar->tls, bytes, length) : r;
}

static bool tls_has_room(const void *far)
{
	const struct sidecar *sidecar = far;
	return tls_conn_has_room(sidecar->tls);
}

static int finish_tls(void *far)
{
	struct sidecar *sidecar = far;
	return tls_conn_finish(sidecar->tls);
}

_Static_assert((int)TLS_BLOCKED == JOINT_BLOCKED && (int)TLS_END == JOINT_END, "a joint asks for other outcomes");
static const struct joint_ops joint_ops = {.recv = recv_tls,
                                           .send = send_tls,
                                           .has_room = tls_has_room,
                                           .finish = finish_tls};

// ---- moving --------------------------------------------------------------------------------------------------------

void sidecar_add(struct sidecar *sidecar, enum tally_number number, uint64_t amount)
{
	tally_add(sidecar->all->total, number, amount);
	if (sidecar->tally)
		tally_add(sidecar->tally, number, amount);
}

static void count_bytes(struct sidecar *sidecar)
{
	struct joint *joint = &sidecar->joint;
	bool is_client = sidecar->all->settings.is_client;
	uint64_t sent = is_client ? joint->taken : joint->given, received = is_client ? joint->given : joint->taken;
	if (sent + received == 0)
		return;
	sidecar->sent += sent;
	sidecar->received += received;
	sidecar_add(sidecar, TALLY_SENT, sent);
	sidecar_add(sidecar, TALLY_RECEIVED, received);
	counter_add(COUNTER_BYTES_OUTWARD, joint->taken);
	counter_add(COUNTER_BYTES_INWARD, joint->given);
	joint->taken = joint->given = 0;
}

// What was moved is counted; a side that broke ends the other one with a reset, and false is returned.
static bool take_stock(struct sidecar *sidecar, int verdict)
{
	char text[TLS_EXPLANATION_BYTES];
	bool is_client = sidecar->all->settings.is_client;
	count_bytes(sidecar);
	if (verdict == 0)
		return true;
	if (verdict == JOINT_LOCAL_BROKE) {
		sidecar_close(sidecar, is_client ? SIDECAR_CLIENT_BROKE : SIDECAR_TARGET_BROKE, NULL);
		return false;
	}
	tls_conn_explain(sidecar->tls, text);
	sidecar_close(sidecar, is_client ? SIDECAR_TARGET_BROKE : SIDECAR_CLIENT_BROKE, text);
	return false;
}

static bool pump_outward(struct sidecar *sidecar)
{
	return take_stock(sidecar, joint_outward(&sidecar->joint));
}

// Bounded by the reads the connection may make in a turn (tls_conn_readable).
static bool pump_inward(struct sidecar *sidecar)
{
	return take_stock(sidecar, joint_inward(&sidecar->joint));
}

bool sidecar_say(struct sidecar *sidecar, const uint8_t *bytes, size_t length)
{
	int r = 0;
	if (!sidecar->all->settings.is_client)
		r = joint_say(&sidecar->joint, bytes, length);
	else if (tls_conn_send(sidecar->tls, bytes, length) != 0)
		r = JOINT_FAR_BROKE;
	return take_stock(sidecar, r);
}

static void settle(struct sidecar *sidecar)
{
	int wants = tls_conn_wants(sidecar->tls);
	if (joint_is_done(&sidecar->joint) && !(wants & LOOP_WRITE)) {
		sidecar_close(sidecar, SIDECAR_FINISHED, NULL);
		return;
	}
	loop_io_want(sidecar->plain_io, joint_wants(&sidecar->joint));
	loop_io_want(sidecar->tls_io, wants | (joint_reads_far(&sidecar->joint) ? LOOP_READ : 0));
}

static void mark(struct sidecar *sidecar)
{
	sidecar->touched = true;
	sidecar->trimmed = false;
}

void sidecar_on_plain(void *owner, int events)
{
	struct sidecar *sidecar = owner;
	if (sidecar->phase == SIDECAR_FIRST) {
		sidecar_on_accepted(sidecar, events);
		return;
	}
	// Client: the target is reached, or its handshake goes on.
	if (sidecar->phase != SIDECAR_JOINED) {
		if (sidecar_client_broke(sidecar, events))
			sidecar_close(sidecar, SIDECAR_CLIENT_BROKE, NULL);
		return;
	}
	mark(sidecar);
	if (joint_has_failed(&sidecar->joint, events)) {
		(void)take_stock(sidecar, JOINT_LOCAL_BROKE);
		return;
	}
	if (events & LOOP_WRITE && !pump_inward(sidecar))
		return;
	if (events & LOOP_READ && !pump_outward(sidecar))
		return;
	settle(sidecar);
}

static void on_joined(struct sidecar *sidecar, bool had_room)
{
	bool has_room = tls_conn_has_room(sidecar->tls);
	// Bytes of the peer are no reason to look at the plain socket: the loop tells when there is something in it.
	if (pump_inward(sidecar) && (had_room || !has_room || pump_outward(sidecar)))
		settle(sidecar);
}

void sidecar_on_tls(void *owner, int events)
{
	struct sidecar *sidecar = owner;
	if (!sidecar->tls) {
		sidecar_on_accepted(sidecar, events);
		return;
	}
	mark(sidecar);
	bool had_room = tls_conn_has_room(sidecar->tls);
	if (events & LOOP_READ)
		tls_conn_readable(sidecar->tls);
	bool is_lost = events & LOOP_WRITE && tls_conn_flush(sidecar->tls) == TLS_FAILED;
	switch (sidecar->phase) {
	case SIDECAR_FIRST:
		break;
	case SIDECAR_HANDSHAKE:
		sidecar_shake(sidecar);
		break;
	case SIDECAR_REACHING:
		// Nothing is read yet, but what the handshake has left is put out, and a client that resets is let go.
		if (sidecar_client_broke(sidecar, events) || is_lost)
			sidecar_close(sidecar, SIDECAR_CLIENT_BROKE, NULL);
		break;
	case SIDECAR_JOINED:
		if (is_lost)
			(void)take_stock(sidecar, JOINT_FAR_BROKE);
		else
			on_joined(sidecar, had_room);
		break;
	}
}

void sidecar_join(struct sidecar *sidecar)
{
	struct sidecars *all = sidecar->all;
	int *fd = all->settings.is_client ? &sidecar->fd : &sidecar->joint.fd;
	sidecar->joint = (struct joint){.ops = &joint_ops, .far = sidecar, .unit = all->unit, .fd = *fd};
	*fd = all->settings.is_client ? -1 : sidecar->joint.fd;
	if (all->settings.is_client)
		sidecar_count_handshake(sidecar);
	sidecar->phase = SIDECAR_JOINED;
	sidecar->joint.moved = true;
	sidecar->moved_at_ms = loop_now_ms(all->settings.loop);
	sidecar_enlist(sidecar, &all->joined);
	sidecar_add(sidecar, TALLY_OPEN, 1);
	sidecar_add(sidecar, TALLY_JOINED, 1);
	sidecar->joined_counted = true;
	socket_close_resets(sidecar->joint.fd, true); // also when this process dies: a cut must not look like an end
	if (sidecar->age != all->age)
		sidecar_judge(sidecar);
	if (sidecar->closed || !sidecar_introduce(sidecar))
		return;
	// What the client has said together with the end of its handshake is in the library already.
	if (pump_inward(sidecar) && pump_outward(sidecar))
		settle(sidecar);
}
