// A link as all threads of the process share it: its identity, the keys of its current and previous epoch, the indices
// burnt, what it has carried, and what people may know about its peer. The control connection (link/session) feeds it;
// data connections on any worker draw one-time PSKs from it. Reference counted and locked inside.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "core/secret.h"
#include "link/control.h"
#include "net/address.h"
#include "wire/tls_conn.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct link;

// What is said of the peer, set once when the control connection stands. All texts are lent to link_new, which packs
// copies of them: a hub has thousands of links. NULL stands for "" there; in a link none is NULL.
struct link_peer {
	const char *node_name;
	const char *device; // the name an agent claims (--robot), "" for none: nothing is proved by it
	const char *address;
	const char *services;
	struct {
		const char *subject, *issuer, *common_name, *fingerprint; // as in struct identity_text
		int64_t not_before, not_after;
	} certificate;
	struct {
		const char *version, *group, *cipher, *signature_own, *signature_peer; // as in struct tls_text
	} tls;
	struct terms terms;        // of an end of a packet tunnel
	const struct grant *grant; // addresses within it: what the responder gives the initiator; link_new copies it
	X509 *x509;                // the certificate itself; lent to link_new, which takes a reference. NULL in tests
	STACK_OF(X509) * chain;    // what it showed with it; likewise
};

struct link_settings {
	enum control_role role;
	bool is_reverse; // the responder opens the streams
	uint8_t id[LINK_ID_BYTES];
	struct address data_address; // initiator: where to dial data connections
	uint16_t data_port;          // initiator: another port than that of the control connection; 0: the same
	uint32_t overlap_ms;         // the previous epoch's keys stay valid so long
	uint64_t rotation_bytes;     // ask for a new epoch after so many payload bytes, 0 = never
	uint32_t rotation_streams;   // and after so many streams, 0 = never
	uint64_t key_update_bytes;   // streams update their sending keys after so many bytes, 0 = LIMIT_TLS_KEY_BYTES
	uint32_t silence_ms;         // streams whose peer acknowledges nothing for so long are given up, 0 = never
	uint32_t connections_max;
};

MUST_USE int link_new(const struct link_settings *settings, const struct link_peer *peer, struct link **link);
struct link *link_ref(struct link *link);
void link_unref(struct link **link);

// ---- keys ----------------------------------------------------------------------------------------------------------

// The keys of a new epoch; the current ones become the previous. Takes data.
void link_add_epoch(struct link *link, uint32_t epoch, uint8_t legs, struct secret *data, uint64_t now_ms);
// Initiator: the next one-time PSK of the current epoch. LINK_NO_KEYS when the link is not up or has run out of
// indices.
enum { LINK_NO_KEYS = 1 };
MUST_USE int link_next_psk(struct link *link, struct psk_identity *identity, struct secret *psk);
// Responder, before the binder is checked: enum tls_failure.
MUST_USE int link_find_psk(struct link *link, const struct psk_identity *identity, uint64_t now_ms, struct secret *psk);
// Responder, after the binder was checked: each index once. enum tls_failure.
MUST_USE int link_burn_psk(struct link *link, const struct psk_identity *identity, uint64_t now_ms);
// No new data connections from now on; the keys are wiped. Repeatable.
void link_shut(struct link *link);

bool link_is_up(const struct link *link);
uint32_t link_epoch(const struct link *link); // lock-free, 0 before the first
enum control_role link_role(const struct link *link);
bool link_is_reverse(const struct link *link);
const uint8_t *link_id(const struct link *link);
const char *link_name(const struct link *link); // first 8 hex digits, for logs
const struct address *link_data_address(const struct link *link);
const struct link_peer *link_peer(const struct link *link);

// ---- what it carries -----------------------------------------------------------------------------------------------

// Responder: a data connection is charged to the link: false when it has as many as it may have (connections_max).
bool link_enter_connection(struct link *link);
// Another connections_max, for those that come from now on.
void link_limit_connections(struct link *link, uint32_t most);
void link_leave_connection(struct link *link);
// Streams, for people.
void link_begin_stream(struct link *link);
void link_end_stream(struct link *link);
// How its streams behave, as it was set.
uint64_t link_key_update_bytes(const struct link *link);
uint32_t link_silence_ms(const struct link *link);
// Payload bytes moved; asks for a new epoch when its share is used up.
void link_count(struct link *link, uint64_t outward, uint64_t inward);
// Datagrams of its associations by what became of them; undelivered: given up on the way to a client or a target.
struct link_datagrams {
	uint64_t outward, inward, congested, refused, broken, malformed, undelivered;
};
void link_count_datagrams(struct link *link, const struct link_datagrams *more);
// Who is asked for a new epoch (posted to that loop); NULL ends it. True when the task is still on its way: it must
// live until it has run.
bool link_set_epoch_task(struct link *link, struct loop *loop, struct loop_task *task);
// The task says when it runs, so that it can be asked for again.
void link_epoch_task_ran(struct link *link);
// "X25519+ML-KEM-768+McEliece-460896" into a static text of its own for each set.
const char *link_legs_text(uint8_t legs);
// The last thing that went wrong on it, for people.
#define LINK_ERROR_BYTES 192
void link_set_error(struct link *link, const char *text);
// Why it ends together with all that runs over it; the first reason stays, as its last error.
void link_set_cut(struct link *link, const char *text);
// When its peer was last heard, and the round trip, for people.
void link_set_heard(struct link *link, uint64_t now_ms);
void link_set_rtt(struct link *link, uint32_t rtt_us);

struct link_state {
	bool up;
	bool is_cut; // it was ended, and its streams with it: error says why
	uint32_t epoch;
	uint8_t legs;
	uint64_t epoch_since_ms, up_since_ms;
	uint64_t streams_open, streams_total, bytes_outward, bytes_inward;
	struct link_datagrams datagrams;
	uint32_t rtt_us;
	uint64_t heard_ms;
	char error[LINK_ERROR_BYTES];
};
void link_read(struct link *link, struct link_state *state);
