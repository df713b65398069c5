// The connections of `qanat proxy`, on one worker: TLS on one side, plain bytes on the other. A server takes TLS in
// and dials a plain target; a client takes plain bytes in and dials a TLS target. No byte of a client reaches a target
// before its handshake is done.
//
//   accepted ─► PROXY header? ─► handshake ─► target ─► joined        server
//   accepted ─► PROXY header? ─► target ─► handshake ─► joined        client
//
// Half-close travels as half-close, a reset as a reset, and a slow reader on one side stops the reading on the other.

#pragma once

#include "core/loop.h"
#include "core/tally.h"
#include "flow/sidecar_share.h"
#include "flow/targets.h"
#include "net/address.h"
#include "policy/cidr.h"
#include "wire/tls_conn.h"
#include "wire/tls_sidecar.h"

#include <stdbool.h>
#include <stdint.h>

struct sidecars;

enum sidecar_header { SIDECAR_HEADER_OFF, SIDECAR_HEADER_V1, SIDECAR_HEADER_V2 }; // of the PROXY protocol

struct sidecars_settings {
	struct loop *loop;
	struct sidecar_shares *shares;
	struct tls_profile *profile; // of tls_sidecar_profile; a reference is taken
	bool is_client;
	struct targets *targets; // a reference is taken

	const char *congestion; // of both sockets; copied
	uint32_t keepalive_ms;
	uint32_t handshake_ms;     // from accept (client: from the target's answer) to a finished handshake
	uint32_t connect_ms;       // to reach one target
	uint32_t idle_ms;          // nothing moved either way, 0: never
	uint32_t half_close_ms;    // nothing moved after one direction has ended, 0: never
	uint64_t lifetime_ms;      // whatever it does, 0: never
	uint64_t key_update_bytes; // TLS 1.3: new sending keys after so many

	bool takes_header;              // clients in `header_from` begin with a PROXY header
	const struct cidr *header_from; // copied; none: all of them
	size_t header_from_count;
	enum sidecar_header sends_header; // in front of what the target hears
	struct identity_text own;         // our certificate, for targets that are told of it

	// Client: what the target's certificate must name; copied. NULL: the target's host.
	const char *peer_name;
	// Whether a peer with this certificate may come (enum tls_failure); NULL: everyone whom the profile believes. Lent
	// for as long as these settings are in force.
	tls_judge_fn judge;
	void *judge_owner;
};

MUST_USE int sidecars_new(const struct sidecars_settings *settings, struct sidecars **sidecars);
// New settings for what happens from now on; loop, shares and is_client stay. On the loop's thread. judge_again: those
// that stand are judged anew, a part of them at a time, and so are those whose handshake began before. Negative: no
// memory, the old settings stay.
MUST_USE int sidecars_set(struct sidecars *sidecars, const struct sidecars_settings *settings, bool judge_again);
// Those that have said nothing yet go. The others end in their own time.
void sidecars_drain(struct sidecars *sidecars);
// Resets what is still open.
void sidecars_free(struct sidecars **sidecars);
// From any thread.
uint32_t sidecars_open(const struct sidecars *sidecars);

// A connection that was accepted; fd is taken.
void sidecars_take(struct sidecars *sidecars, int *fd, const struct address *peer);
