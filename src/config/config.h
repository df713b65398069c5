// The configuration of every command as typed values. One schema table (config/schema.c) drives the TOML and JSON
// readers, environment, flags, --help, man page text and `qanat check`. Precedence: flag > environment > file >
// default.

#pragma once

#include "core/outcome.h"
#include "core/log.h"
#include "config/config_agent.h"
#include "config/config_hub.h"
#include "config/config_proxy.h"
#include "config/config_vpn.h"
#include "policy/cidr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum config_command {
	CONFIG_SOURCE,
	CONFIG_DEST,
	CONFIG_PSK_SERVER,
	CONFIG_PSK_CLIENT,
	CONFIG_PROXY,
	CONFIG_VPN_SERVER,
	CONFIG_VPN_CLIENT,
	CONFIG_AGENT,
	CONFIG_HUB
};
enum config_psk_method { CONFIG_PSK_CHACHA20, CONFIG_PSK_AES };
enum config_psk_mptcp { CONFIG_MPTCP_AUTO, CONFIG_MPTCP_ON, CONFIG_MPTCP_OFF };
enum config_kem_mode { CONFIG_KEM_HYBRID, CONFIG_KEM_MLKEM768, CONFIG_KEM_MCELIECE };
enum config_pq { CONFIG_PQ_REQUIRE, CONFIG_PQ_PREFER, CONFIG_PQ_OFF };
enum config_proxy { CONFIG_PROXY_OFF, CONFIG_PROXY_V2 };
enum config_dest_selection { CONFIG_DEST_PRIORITY, CONFIG_DEST_ROUND_ROBIN };
enum config_protocol { CONFIG_TCP, CONFIG_UDP, CONFIG_BOTH };
enum config_renewal { CONFIG_RENEWAL_OFF, CONFIG_RENEWAL_DROP, CONFIG_RENEWAL_LINK };
enum config_renewal_key { // a new one of the same kind, the same one, or a new one of that kind
	CONFIG_RENEWAL_NEW,
	CONFIG_RENEWAL_SAME,
	CONFIG_RENEWAL_P256,
	CONFIG_RENEWAL_ED25519,
	CONFIG_RENEWAL_ML_DSA_65,
	CONFIG_RENEWAL_ML_DSA_87,
};
enum config_mode { CONFIG_MODE_TRANSPARENT, CONFIG_MODE_PROTOCOL, CONFIG_MODE_HYBRID };

// All strings and lists belong to the struct config.
struct config_exposed_port { // [[source.exposed_ports]]
	uint16_t port;
	char *listen_ip; // NULL: source.listen_ip
	enum config_protocol protocol;
};
struct config_forward { // [[source.forwards]]
	char *listen;       // "127.0.0.1:2222", "[::1]:2222", "unix:/run/x.sock"
	char *service;      // a service name offered by dest
	enum config_protocol protocol;
};
struct config_service { // [[dest.exposed_services]]
	char *name;
	uint16_t port;     // what source's exposed_ports refer to
	char *target_host; // target_ip: IP literal, host name, or "unix:/path"
	uint16_t target_port;
	enum config_protocol protocol;
	char *description;        // may be NULL
	uint32_t max_connections; // 0: dest.max_connections_per_service
	char **allowed_clients;   // patterns of the peer's CN or SAN; empty: every peer
	size_t allowed_client_count;
	enum config_proxy proxy; // towards the target
};

struct config {
	struct { // [source]
		char *listen_ip;
		uint16_t listen_port; // 0: not given
		enum config_mode mode;
		char *dest_host; // NULL when only `dests` are given
		uint16_t dest_tunnel_port;
		char **dests; // "host:port" behind dest_host; see config_dest_parse
		size_t dest_count;
		enum config_dest_selection dest_selection;
		uint32_t failback_interval_seconds; // 0: off
		uint32_t max_connections;
		uint32_t connection_timeout_ms; // a local connection waits so long for a link and dest's answer
		uint32_t idle_timeout_ms;       // 0: never
		bool reconnection_enabled;
		uint32_t max_reconnect_attempts; // 0: for ever
		uint32_t initial_reconnect_delay_ms, max_reconnect_delay_ms;
		struct config_exposed_port *exposed_ports;
		size_t exposed_count;
		struct config_forward *forwards;
		size_t forward_count;
		uint32_t pool_size;                  // parked data connections per worker
		uint32_t max_connections_per_client; // per IPv4 address or IPv6 /64; 0: no limit
		struct cidr *allowed_source_ips;     // [source.connection_filter] allowed_source_ips
		size_t allowed_source_count;
		struct cidr *allowed_outbound; // [source.allowed_outbound] allowed_ips
		size_t allowed_outbound_count;
	} source;
	struct { // [dest]
		char *listen_ip;
		uint16_t tunnel_port;
		uint32_t max_connections_per_service;
		uint32_t max_connections_per_client; // per certificate of a peer; 0: no limit
		uint32_t target_connect_timeout_ms;
		uint32_t idle_timeout_ms;        // 0: never
		struct cidr *allowed_source_ips; // [dest.connection_filter] allowed_source_ips
		size_t allowed_source_count;
		struct config_service *services;
		size_t service_count;
	} dest;
	struct { // [udp]
		uint32_t idle_timeout_seconds;
		uint32_t max_associations;
		uint32_t max_associations_per_client; // source
	} udp;
	struct {            // [psk]
		char *key;      // NULL: from key_file or key_fd
		char *key_file; // may be NULL
		char *key_fd;   // a number; may be NULL
		enum config_psk_method method;
		char *listen; // server: "[::]:20203"
		char *server; // client: "host:20203"
		enum config_psk_mptcp mptcp;
		char *device; // a name, or a pattern such as "ttun%d"
		uint32_t mtu;
		char *ipv4, *peer_ipv4, *ipv6, *peer_ipv6; // "10.1.1.1/30"; "" or NULL: none
		char **routes;
		size_t route_count;
		bool offload, clamp_mss, check_sources, pq, kill_switch;
		uint32_t key_rotation_interval_seconds; // client
		uint32_t handshake_timeout_ms, peer_timeout_ms;
		uint32_t initial_reconnect_delay_ms, max_reconnect_delay_ms;
	} psk;
	struct config_of_agent agent;
	struct config_of_proxy proxy;
	struct config_of_vpn vpn;
	struct config_of_hub hub;
	struct { // [auth]
		char *ca_cert_path;
		char *cert_path, *key_path; // client_* for source, server_* for dest
		char *peer_name;            // source: expected name in dest's certificate instead of dest_host; may be NULL
		char **allowed_peers;       // patterns of CN or SAN; empty: every certificate of the CA
		size_t allowed_peer_count;
		char **crl_paths; // PEM files with revocation lists; any: every certificate needs one of its issuer
		size_t crl_count;
	} auth;
	struct { // [crypto]
		enum config_kem_mode kem_mode;
		enum config_pq pq;
		uint32_t key_rotation_interval_seconds;
		uint64_t key_rotation_bytes;   // 0: never for that
		uint32_t key_rotation_streams; // likewise
		uint64_t tls_key_update_bytes;
		uint32_t key_overlap_seconds;
	} crypto;
	struct { // [link] heartbeats are written in [source] by the seed; both sections are accepted for them
		uint32_t heartbeat_interval_ms, heartbeat_timeout_ms, max_missed_pongs;
		uint32_t keep_alive_interval_ms;
		uint32_t handshake_timeout_ms;
		uint32_t user_timeout_ms;        // 0: off
		uint32_t max_stream_age_seconds; // 0: no limit
		char *congestion;                // "auto" (no pacing on loopback), "system", or an algorithm's name
	} link;
	struct { // [expiry] warnings, before the end
		uint32_t notice_days, warning_days, urgent_days;
	} expiry;
	struct { // [renewal] of our own certificate
		enum config_renewal method;
		char *ca_cert_path;       // proxy; NULL: proxy.ca_cert_path
		char *drop_folder, *name; // drop; the name is NULL: node.name
		char *endpoint;           // link
		char *before;             // a span of policy/span
		enum config_renewal_key key;
		uint32_t retry_seconds, retry_max_seconds;
	} renewal;
	struct { // [logging]
		enum log_level level;
		enum log_format format;
		bool include_timestamp;
	} logging;
	struct { // [metrics]
		bool enabled;
		uint16_t metrics_port;
		char *metrics_bind_ip;
	} metrics;
	struct {          // [control]
		char *socket; // path, "off", NULL: a place that is found
		char **allowed_users, **allowed_groups;
		size_t allowed_user_count, allowed_group_count;
	} control;
	struct {              // [node]
		char *name;       // shown to the peer; default: the host name
		uint32_t workers; // 0: one per core
		uint32_t drain_timeout_seconds;
		bool watch_files;
	} node;
	char *path;   // the file it was read from; NULL: there was none
	char **notes; // see config_log_notes
	size_t note_count;
};

// Logs what is not wrong but worth saying ("source.listen_port: port 8443 is not opened, because ..."), as warnings.
// For owners, once the log is set.
void config_log_notes(const struct config *config);

// Reads flags (argv after the command word), environment, the file named by -c/--config (a .json name is JSON, else
// TOML), defaults; checks everything. On success *config is owned by the caller.
// Lack of memory while reading ends the process with a message; there is no negative return.
// CONFIG_BAD: every problem has been printed to `errors`, one per line, with file, line and column where it has one.
// CONFIG_HELP: --help was asked for and printed to `out`.
enum { CONFIG_BAD = 1, CONFIG_HELP = 2 };
MUST_USE int config_load(enum config_command command, int argc, char **argv, FILE *out, FILE *errors,
                         struct config **config);
void config_free(struct config **config);
