// What a running node shows of itself: filled by its owner on request, encoded by ops (JSON for /status, the seed's
// JSON for /health, gauges for /metrics). All values are copies; texts are made printable by the encoder.

#pragma once

#include "core/tally.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Of a vpn server that assigns addresses: the client of a link.
struct status_client {
	char name[65]; // "": none
	char ipv4[64], ipv6[64];
	uint64_t bandwidth_limit;             // bytes per second; 0: none
	uint64_t spoofed, crossed, congested; // packets dropped: of others' addresses, for other clients, for want of room
};

struct status_link {
	char id[33];         // hex of link_id
	const char *role;    // "initiator", "responder"
	const char *state;   // "connecting", "handshake", "up", "draining", "down"
	char peer_name[129]; // node name of its HELLO
	char peer_address[128];
	char subject[256], fingerprint[65], issuer[256]; // peer certificate
	int64_t not_after;                               // its expiry, Unix seconds
	const char *carrier;                             // "tls"
	char tls_version[16], tls_group[48], tls_cipher[48];
	char signature_peer[48], signature_own[48]; // what signed the handshake, as negotiated
	const char *kem_mode;                       // "hybrid", ...
	char kem_legs[64];                          // "X25519+ML-KEM-768+McEliece-460896"
	uint32_t epoch;
	uint64_t epoch_age_ms;
	uint64_t streams_open, streams_total;
	uint64_t bytes_outward, bytes_inward;
	uint64_t datagrams_outward, datagrams_inward; // and those dropped on the way, by reason
	uint64_t datagrams_congested, datagrams_refused, datagrams_broken, datagrams_malformed, datagrams_undelivered;
	uint64_t rtt_us; // 0: not measured
	uint64_t up_ms;
	char last_error[256];
	struct status_client client;
};

struct status_service { // of a dest
	char name[65];
	uint64_t connections, connections_total; // open now, opened so far
	uint64_t bytes_sent, bytes_received;     // to its target, from its target
	uint64_t errors;                         // flows that did not reach the target, or that broke
};

struct status_target { // of a proxy
	char name[128];
	const char *state; // "up", "down", "unknown"
	struct tally_sums sums;
};

// What the node proves itself with and believes in; see node/expiry.
#define STATUS_CERTIFICATES 24
struct status_certificate {
	const char *role;  // "own", "chain", "ca", "crl"
	unsigned number;   // 1; more when a node has several certificates of its own
	char subject[256]; // of a revocation list its issuer
	int64_t not_before, not_after;
	const char *state; // "valid", "expires soon", ...
};

struct status_renewal { // of our own certificate, of several the one that matters most; see node/renewer
	const char *method; // "drop", "link"; NULL: none
	const char *state;
	int64_t due, next; // Unix seconds
	char last_error[256];
};

struct status_node {
	const char *command; // "source", "dest"
	const char *version;
	char name[129];
	uint64_t uptime_ms;
	bool ready;
	const char *health; // the seed's words: "Starting", "Connecting", "Healthy", "Degraded", "Unhealthy"
	char message[256];
	bool tunnel_established;
	int64_t last_successful_operation_s; // seconds ago, -1: never
	uint64_t error_count;
	int64_t missed_pongs;          // -1: unknown
	int64_t average_rtt_us;        // -1
	int64_t reconnection_attempts; // -1
	uint64_t flows_open;
	uint64_t associations_open; // UDP
	bool has_devices;           // a hub
	uint64_t devices_online, devices_expiring;
	uint32_t workers;
	bool startup_complete;               // nothing privileged is done any more: docs/sandbox.md
	int64_t own_not_after, ca_not_after; // expiry of our certificate and of the CA's, Unix seconds, 0: unknown
	struct status_certificate certificates[STATUS_CERTIFICATES];
	size_t certificate_count;
	struct status_renewal renewal;
	int64_t reload_age_ms; // since the last reload, -1: there was none
	bool reload_ok;
	struct status_link *links; // malloc'ed by the filler, freed by the encoder
	size_t link_count;
	struct status_service *services; // likewise; NULL on a source
	size_t service_count;
	bool is_proxy;
	struct tally_sums sums;        // of a proxy, all together
	struct status_target *targets; // likewise
	size_t target_count;
};

// Called from the HTTP thread: must lock what it reads.
typedef void (*status_fn)(void *owner, struct status_node *status);

// Frees the lists. The encoders do it too.
void status_release(struct status_node *status);
// Newly allocated JSON texts, NULL without memory. They release the lists.
char *status_encode(struct status_node *status);
// /health in the keys of seed 000: status, uptime_seconds, last_successful_operation, error_count, tunnel_established,
// message, consecutive_missed_pongs, average_rtt_us, reconnection_attempts.
char *status_encode_health(struct status_node *status);
// Prometheus text: every counter of core/counter.h, the gauges of the node and of each link, process CPU, memory and
// descriptors. Labels escaped and cut to 128 bytes; at most 1000 links are listed.
char *status_encode_metrics(struct status_node *status);
