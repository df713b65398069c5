// The first message each way. The initiator's leaves at once; the responder answers one it can live with. After the
// second both sides have chain_0, which depends on both certificates and every byte of both HELLOs.

#include "link/control_private.h"

#include "link/hello.h"

#include <stdlib.h>
#include <string.h>

int control_send_hello(struct control *control)
{
	uint8_t frame[HELLO_FRAME_BYTES];
	control_send(control, frame, hello_encode(&control->settings->hello, frame));
	control->hello_sent = true;
	if (control->goaway_waiting) {
		control->goaway_waiting = false;
		control_goaway(control, control->goaway_reason, control->goaway_deadline_ms);
	}
	return 0;
}

// Spec: docs/protocol.md, "Key schedule": both frames as they were on the wire. Ours is encoded again, byte for byte.
static int take_chain(struct control *control, const struct frame *theirs, uint8_t link_id[LINK_ID_BYTES])
{
	uint8_t frame[HELLO_FRAME_BYTES];
	const struct digest_part our_part = {frame, hello_encode(&control->settings->hello, frame)};
	const struct digest_part their_part = {theirs->bytes, theirs->length};
	bool initiator = control_is_initiator(control);
	uint8_t context[DIGEST_BYTES];
	schedule_hello_context(control->settings->cert_i_digest, control->settings->cert_r_digest,
	                       initiator ? &our_part : &their_part, initiator ? &their_part : &our_part, context);
	int outcome = control->ops.export_chain(control->owner, context, &control->chain);
	if (outcome == 0)
		outcome = schedule_link_id(&control->chain, link_id);
	return outcome;
}

// Initiator: the key that was announced is the one to use from now on, also when an older one was offered already.
static int after_hello_initiator(struct control *control, const struct control_hello *peer, uint64_t now_us)
{
	memcpy(control->key_digest, peer->mceliece_digest, DIGEST_BYTES);
	if (control->exchange == CONTROL_EXCHANGE_IDLE)
		return control_epoch_begin(control, now_us);
	// Only so that the cache remembers which key this peer announced last.
	if (control_legs(control) & LEG_MCELIECE)
		(void)control->ops.cache_lookup(control->owner, control->key_digest);
	return 0;
}

// Responder: the digest goes into HELLO, so the first key must be there by now.
static int answer_hello(struct control *control)
{
	if (control_legs(control) & LEG_MCELIECE) {
		if (!control->ops.key_current(control->owner, control->key_digest))
			return control_end(control, CONTROL_REASON_INTERNAL, "the responder has no McEliece key yet; try again");
		memcpy(control->settings->hello.mceliece_digest, control->key_digest, DIGEST_BYTES);
	}
	return control_send_hello(control);
}

static bool agree_on_addresses(const struct control *control, const struct control_hello *peer,
                               char text[LIMIT_REASON_BYTES + 1])
{
	const struct grant *ours = &control->settings->hello.grant, *theirs = &peer->grant;
	return control_is_initiator(control) ? grant_agree(ours, theirs, text) : grant_agree(theirs, ours, text);
}

int control_on_hello(struct control *control, const struct frame *frame, uint64_t now_us)
{
	struct control_hello peer;
	char text[LIMIT_REASON_BYTES + 1];
	int outcome = hello_decode(frame, &peer);
	if (outcome == HELLO_VERSION)
		return control_end(control, CONTROL_REASON_VERSION,
		                   "the %s speaks link protocol version %u, the other up to %u",
		                   control_is_initiator(control) ? "initiator" : "responder", HELLO_VERSION_SPOKEN,
		                   peer.version);
	if (outcome != 0)
		return control_end(control, CONTROL_REASON_PROTOCOL, "HELLO is malformed");
	enum control_reason reason = hello_judge(&control->settings->hello, &peer, text);
	if (reason == CONTROL_REASON_NONE && control->ops.judge_peer)
		reason = control->ops.judge_peer(control->owner, &peer, &control->settings->hello.grant, text);
	if (reason == CONTROL_REASON_NONE && !agree_on_addresses(control, &peer, text))
		reason = CONTROL_REASON_TERMS;
	if (reason != CONTROL_REASON_NONE)
		return control_end(control, reason, "%s", text);

	if (!control_is_initiator(control) && answer_hello(control) != 0)
		return CONTROL_ENDED;
	uint8_t link_id[LINK_ID_BYTES];
	outcome = take_chain(control, frame, link_id);
	if (outcome != 0)
		return control_fail(control, "the link's first key", outcome);
	free(control->settings);
	control->settings = NULL;
	control->stage = CONTROL_STAGE_OPEN;
	control->ping_due_us = now_us + (uint64_t)control->heartbeat_ms * 1000;
	control->ops.on_hello(control->owner, &peer, link_id);
	return control_is_initiator(control) ? after_hello_initiator(control, &peer, now_us) : 0;
}
