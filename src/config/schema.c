#include "config/schema.h"
#include "config/schema_items.h"
#include "limits.h"

#define FIELD(member) .offset = offsetof(struct config, member), .size = sizeof(((struct config *)0)->member)
#define LIST(member, counter) FIELD(member), .count_offset = offsetof(struct config, counter)
// They are compared with each other.
#define MOST_TABLES 4096
#define MINUTE_MS 60000
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)
#define SOURCE SCHEMA_FOR_SOURCE
#define DEST SCHEMA_FOR_DEST
#define BOTH SCHEMA_FOR_BOTH
#define SERVER SCHEMA_FOR_PSK_SERVER
#define CLIENT SCHEMA_FOR_PSK_CLIENT
#define PSK SCHEMA_FOR_PSK
#define PROXY SCHEMA_FOR_PROXY
#define VPN_SERVER SCHEMA_FOR_VPN_SERVER
#define VPN_CLIENT SCHEMA_FOR_VPN_CLIENT
#define VPN SCHEMA_FOR_VPN
#define AGENT SCHEMA_FOR_AGENT
#define HUB SCHEMA_FOR_HUB
// Who has a link.
#define LINKED (SCHEMA_FOR_BOTH | SCHEMA_FOR_AGENT | SCHEMA_FOR_HUB)
#define ALL SCHEMA_FOR_ALL
// What the seed of `proxy` called it in the environment, and where it looked outside of production.
#define SEED(name) "QUANTUM_SAFE_PROXY_" name
#define SEED_PATH(name) "required in production, else certs/hybrid/dilithium3/" name

static const struct schema_word kem_modes[] = {
	{"hybrid", CONFIG_KEM_HYBRID, NULL},
	{"mlkem768", CONFIG_KEM_MLKEM768, NULL},
	{"mceliece460896", CONFIG_KEM_MCELIECE, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word pq_policies[] = {
	{"require", CONFIG_PQ_REQUIRE, NULL},
	{"prefer", CONFIG_PQ_PREFER, NULL},
	{"off", CONFIG_PQ_OFF, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word modes[] = {
	{"transparent", CONFIG_MODE_TRANSPARENT, NULL},
	{"protocol", CONFIG_MODE_PROTOCOL, NULL},
	{"hybrid", CONFIG_MODE_HYBRID, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word psk_methods[] = {
	{"chacha20-poly1305", CONFIG_PSK_CHACHA20, NULL},
	{"aes-256-gcm", CONFIG_PSK_AES, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word vpn_transports[] = {
	{"tls", CONFIG_VPN_TLS, NULL},
	{"quic", 0, "is not built yet; \"tls\" is"},
	{NULL, 0, NULL},
};
static const struct schema_word mptcp_choices[] = {
	{"auto", CONFIG_MPTCP_AUTO, NULL},
	{"on", CONFIG_MPTCP_ON, NULL},
	{"off", CONFIG_MPTCP_OFF, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word levels[] = {
	{"error", LOG_ERROR, NULL}, {"warn", LOG_WARN, NULL},   {"info", LOG_INFO, NULL},
	{"debug", LOG_DEBUG, NULL}, {"trace", LOG_TRACE, NULL}, {NULL, 0, NULL},
};
static const struct schema_word formats[] = {
	{"plain", LOG_FORMAT_PLAIN, NULL},
	{"json", LOG_FORMAT_JSON, NULL},
	{NULL, 0, NULL},
};

static const struct schema_word renewal_methods[] = {
	{"off", CONFIG_RENEWAL_OFF, NULL},
	{"drop", CONFIG_RENEWAL_DROP, NULL},
	{"link", CONFIG_RENEWAL_LINK, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word renewal_keys[] = {
	{"new", CONFIG_RENEWAL_NEW, NULL},
	{"same", CONFIG_RENEWAL_SAME, NULL},
	{"p256", CONFIG_RENEWAL_P256, NULL},
	{"ed25519", CONFIG_RENEWAL_ED25519, NULL},
	{"ml-dsa-65", CONFIG_RENEWAL_ML_DSA_65, NULL},
	{"ml-dsa-87", CONFIG_RENEWAL_ML_DSA_87, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word hub_identities[] = {
	{"certificate", CONFIG_HUB_CERTIFICATE, NULL},
	{"claimed", CONFIG_HUB_CLAIMED, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word hub_takeovers[] = {
	{"same-key", CONFIG_HUB_SAME_KEY, NULL},
	{"same-name", CONFIG_HUB_SAME_NAME, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word hub_offline[] = {
	{"remove", CONFIG_HUB_REMOVE, NULL},
	{"refuse", CONFIG_HUB_REFUSE, NULL},
	{NULL, 0, NULL},
};

static const struct schema_word selections[] = {
	{"priority", CONFIG_DEST_PRIORITY, NULL},
	{"round-robin", CONFIG_DEST_ROUND_ROBIN, NULL},
	{NULL, 0, NULL},
};

static const struct schema_word proxy_modes[] = {
	{"server", CONFIG_PROXY_SERVER, NULL},
	{"client", CONFIG_PROXY_CLIENT, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word environments[] = {
	{"production", CONFIG_PRODUCTION, NULL},
	{"testing", CONFIG_TESTING, NULL},
	{"development", CONFIG_DEVELOPMENT, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word target_selections[] = {
	{"priority", CONFIG_TARGET_PRIORITY, NULL},
	{"round-robin", CONFIG_TARGET_ROUND_ROBIN, NULL},
	{"least-connections", CONFIG_TARGET_LEAST_CONNECTIONS, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word client_cert_modes[] = {
	{"required", CONFIG_CLIENT_CERT_REQUIRED, NULL},
	{"optional", CONFIG_CLIENT_CERT_OPTIONAL, NULL},
	{"none", CONFIG_CLIENT_CERT_NONE, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word hybrid_modes[] = {
	{"require", CONFIG_HYBRID_REQUIRE, NULL}, {"prefer", CONFIG_HYBRID_PREFER, NULL}, {"off", CONFIG_HYBRID_OFF, NULL},
	{"true", CONFIG_HYBRID_PREFER, NULL},     {"false", CONFIG_HYBRID_OFF, NULL},     {NULL, 0, NULL},
};
static const struct schema_word signature_policies[] = {
	{"any", CONFIG_SIGNATURES_ANY, NULL},
	{"require-pq", CONFIG_SIGNATURES_PQ, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word tls_versions[] = {
	{"1.3", CONFIG_TLS_1_3, NULL},
	{"1.2", CONFIG_TLS_1_2, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word headers_in[] = {
	{"off", CONFIG_HEADER_IN_OFF, NULL},
	{"accept", CONFIG_HEADER_IN_ACCEPT, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word headers_out[] = {
	{"off", CONFIG_HEADER_OUT_OFF, NULL},
	{"v1", CONFIG_HEADER_OUT_V1, NULL},
	{"v2", CONFIG_HEADER_OUT_V2, NULL},
	{NULL, 0, NULL},
};
static const struct schema_word health_kinds[] = {
	{"connect", CONFIG_HEALTH_CONNECT, NULL},
	{"off", CONFIG_HEALTH_OFF, NULL},
	{NULL, 0, NULL},
};

#define NO_QUEUES "there are no queues of frames here: a full socket simply stops being read; delete this key"
#define NO_BREAKER "there is nothing to break: reconnecting is paced by the reconnect delays; delete this key"
#define NO_SHARED_SECRET_LINKS "a link without certificates on both sides would not know whom it talks to"

// clang-format off
static const struct schema_key keys[] = {
	// ---- [source]
	{.path = "source.listen_ip", .type = SCHEMA_IP, .commands = SOURCE, .reloads = true, .initial = "127.0.0.1", FIELD(source.listen_ip),
	 .flag = "--listen-ip", .value_name = "IP",
	 .help = "address of the plaintext side; loopback by default, because whoever reaches it reaches the services"},
	{.path = "source.listen_port", .type = SCHEMA_NUMBER, .min = 1, .max = 65535, .commands = SOURCE, .reloads = true,
	 .initial_note = "8443 with mode protocol or hybrid, or without exposed_ports and forwards, else none",
	 FIELD(source.listen_port), .flag = "--listen-port", .value_name = "PORT",
	 .help = "transparent: a single port, to the service of the same number or to dest's only service, not opened beside "
	         "exposed_ports and forwards; protocol, hybrid: the port of the SOCKS5 and HTTP CONNECT entry"},
	{.path = "source.mode", .type = SCHEMA_ENUM, .words = modes, .commands = SOURCE, .reloads = true, .initial = "transparent",
	 FIELD(source.mode), .flag = "--mode", .value_name = "MODE",
	 .help = "how clients say what they want: by the port they come to (transparent), by SOCKS5 or HTTP CONNECT on "
	         "listen_port (protocol), or both (hybrid)"},
	{.path = "source.dest_host", .type = SCHEMA_HOST, .commands = SOURCE, .required = SOURCE, .reloads = true,
	 FIELD(source.dest_host), .flag = "--dest-host", .value_name = "HOST",
	 .help = "host name or IP address of dest; also the name its certificate must carry; not needed with dests"},
	{.path = "source.dest_tunnel_port", .type = SCHEMA_NUMBER, .min = 1, .max = 65535, .commands = SOURCE,
	 .required = SOURCE, .reloads = true, FIELD(source.dest_tunnel_port), .flag = "--dest-tunnel-port",
	 .value_name = "PORT", .help = "tunnel_port of dest; not needed with dests"},
	{.path = "source.dests", .type = SCHEMA_TEXTS, .min = 1, .max = 260, .commands = SOURCE, .reloads = true,
	 .initial = "[]", LIST(source.dests, source.dest_count), .flag = "--dest", .value_name = "HOST:PORT",
	 .help = "more dests to link with, in this order behind dest_host; each certificate must carry its own host's name"},
	{.path = "source.dest_selection", .type = SCHEMA_ENUM, .words = selections, .commands = SOURCE, .reloads = true,
	 .initial = "priority", FIELD(source.dest_selection), .flag = "--dest-selection", .value_name = "ORDER",
	 .help = "which of several dests is linked with: the first that answers (priority), or each in turn from a random one (round-robin)"},
	{.path = "source.failback_interval_seconds", .type = SCHEMA_NUMBER, .min = 0, .max = 604800, .unit = "s",
	 .commands = SOURCE, .reloads = true, .initial = "60", FIELD(source.failback_interval_seconds),
	 .help = "with priority: how often the dests before the one in use are tried again; 0: never"},
	{.path = "source.exposed_ports", .type = SCHEMA_TABLES, .max = MOST_TABLES, .items = &schema_exposed_port, .commands = SOURCE,
	 .reloads = true,
	 LIST(source.exposed_ports, source.exposed_count), .flag = "--expose", .value_name = "PORT[/PROTOCOL]",
	 .item_from_text = schema_exposed_port_from_text,
	 .help = "ports to listen on, each for dest's service of the same number; protocol, hybrid: only these ports and the "
	         "services of forwards may be asked for by the entry's clients"},
	{.path = "source.forwards", .type = SCHEMA_TABLES, .max = MOST_TABLES, .items = &schema_forward, .commands = SOURCE,
	 .reloads = true,
	 LIST(source.forwards, source.forward_count), .flag = "--forward", .value_name = "LISTEN=SERVICE[/PROTOCOL]",
	 .item_from_text = schema_forward_from_text,
	 .help = "local addresses or Unix sockets, each for a service by name"},
	{.path = "source.max_connections", .type = SCHEMA_NUMBER, .min = 1, .max = 1000000, .commands = SOURCE,
	 .reloads = true, .initial = "10000", FIELD(source.max_connections), .flag = "--max-connections",
	 .value_name = "N", .help = "local connections at once; more are closed at once and counted"},
	{.path = "source.max_connections_per_client", .type = SCHEMA_NUMBER, .min = 0, .max = 1000000, .commands = SOURCE,
	 .reloads = true, .initial = "0", FIELD(source.max_connections_per_client), .flag = "--max-connections-per-client",
	 .value_name = "N", .help = "of them from one IPv4 address or IPv6 /64; 0: no limit of its own"},
	{.path = "source.connection_filter.allowed_source_ips", .type = SCHEMA_CIDRS, .commands = SOURCE, .reloads = true,
	 .initial = "[]", LIST(source.allowed_source_ips, source.allowed_source_count), .flag = "--allow-source",
	 .value_name = "CIDR", .help = "addresses that may use the plaintext side; an empty list allows every address"},
	{.path = "source.connection_timeout_ms", .type = SCHEMA_NUMBER, .min = 10, .max = HOUR_MS, .unit = "ms",
	 .commands = SOURCE, .reloads = true, .initial = "30000", FIELD(source.connection_timeout_ms),
	 .help = "how long a new local connection waits for a link and dest's answer"},
	{.path = "source.idle_timeout_ms", .type = SCHEMA_NUMBER, .min = 0, .max = 7ULL * DAY_MS, .unit = "ms",
	 .commands = SOURCE, .reloads = true, .initial = "0", FIELD(source.idle_timeout_ms),
	 .help = "a flow that moves nothing in either direction for so long is reset; 0: never"},
	{.path = "source.reconnection_enabled", .type = SCHEMA_BOOL, .commands = SOURCE, .reloads = true, .initial = "true",
	 FIELD(source.reconnection_enabled), .help = "dial again when the link is lost; false: end with an error"},
	{.path = "source.max_reconnect_attempts", .type = SCHEMA_NUMBER, .min = 0, .max = UINT32_MAX, .commands = SOURCE,
	 .reloads = true, .initial = "0", FIELD(source.max_reconnect_attempts),
	 .help = "attempts in a row before giving up with an error; 0: for ever"},
	{.path = "source.initial_reconnect_delay_ms", .type = SCHEMA_NUMBER, .min = 1, .max = HOUR_MS, .unit = "ms",
	 .commands = SOURCE, .reloads = true, .initial = "1000", FIELD(source.initial_reconnect_delay_ms),
	 .help = "pause after the first failed attempt; it grows, with jitter"},
	{.path = "source.max_reconnect_delay_ms", .type = SCHEMA_NUMBER, .min = 1, .max = DAY_MS, .unit = "ms",
	 .commands = SOURCE, .reloads = true, .initial = "60000", FIELD(source.max_reconnect_delay_ms),
	 .help = "longest pause between attempts"},
	{.path = "source.pool_size", .type = SCHEMA_NUMBER, .min = 0, .max = 256, .commands = SOURCE, .reloads = true,
	 .initial = "4", FIELD(source.pool_size), .flag = "--pool-size", .value_name = "N",
	 .help = "data connections kept ready for each worker"},
	{.path = "source.allowed_outbound.allowed_ips", .type = SCHEMA_CIDRS, .commands = SOURCE, .reloads = true,
	 .initial = "[]", LIST(source.allowed_outbound, source.allowed_outbound_count), .flag = "--allow-outbound",
	 .value_name = "CIDR",
	 .help = "addresses of dest that are dialled, and that clients of the entry may name; an empty list allows every address"},
	{.path = "source.frame_buffer_size", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2, .commands = SOURCE,
	 .state = SCHEMA_MEANINGLESS, .refusal = NO_QUEUES, .help = "queue length of the seed"},
	{.path = "source.connection_channel_size", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2, .commands = SOURCE,
	 .state = SCHEMA_MEANINGLESS, .refusal = NO_QUEUES, .help = "queue length of the seed"},
	{.path = "source.write_queue_size", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2, .commands = SOURCE,
	 .state = SCHEMA_MEANINGLESS, .refusal = NO_QUEUES, .help = "queue length of the seed"},
	{.path = "source.circuit_breaker_window_secs", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2, .commands = SOURCE,
	 .state = SCHEMA_MEANINGLESS, .refusal = NO_BREAKER, .help = "restart limit of the seed"},
	{.path = "source.circuit_breaker_max_restarts", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2, .commands = SOURCE,
	 .state = SCHEMA_MEANINGLESS, .refusal = NO_BREAKER, .help = "restart limit of the seed"},
	{.path = "source.connection_refresh_interval_secs", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2,
	 .commands = SOURCE, .state = SCHEMA_MEANINGLESS,
	 .refusal = "keys change inside a running link; set crypto.key_rotation_interval_seconds instead",
	 .help = "the seed builds a new session so often"},
	{.path = "source.connection_drain_timeout_secs", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2, .commands = SOURCE,
	 .state = SCHEMA_MEANINGLESS,
	 .refusal = "a change of keys ends no connection; for the end of the process set node.drain_timeout_seconds instead",
	 .help = "the seed keeps an old session so long"},

	// ---- [dest]
	{.path = "dest.listen_ip", .type = SCHEMA_IP, .commands = DEST, .initial = "0.0.0.0", FIELD(dest.listen_ip),
	 .flag = "--listen-ip", .value_name = "IP", .help = "address of the tunnel's side"},
	{.path = "dest.tunnel_port", .type = SCHEMA_NUMBER, .min = 1, .max = 65535, .commands = DEST, .required = DEST,
	 FIELD(dest.tunnel_port), .flag = "--tunnel-port", .value_name = "PORT", .help = "port that sources dial"},
	{.path = "dest.exposed_services", .type = SCHEMA_TABLES, .max = MOST_TABLES, .items = &schema_service, .commands = DEST,
	 .required = DEST, .reloads = true, LIST(dest.services, dest.service_count), .flag = "--service",
	 .value_name = "NAME=PORT:HOST:TARGET_PORT[/PROTOCOL]", .item_from_text = schema_service_from_text,
	 .help = "what sources can reach; a Unix socket is written NAME=PORT:unix:/path"},
	{.path = "dest.max_connections_per_service", .type = SCHEMA_NUMBER, .min = 1, .max = 1000000, .commands = DEST,
	 .reloads = true, .initial = "10000", FIELD(dest.max_connections_per_service),
	 .flag = "--max-connections-per-service", .value_name = "N", .help = "flows at once to one service"},
	{.path = "dest.max_connections_per_client", .type = SCHEMA_NUMBER, .min = 0, .max = 1000000, .commands = DEST,
	 .reloads = true, .initial = "0", FIELD(dest.max_connections_per_client), .flag = "--max-connections-per-client",
	 .value_name = "N", .help = "flows at once of one peer certificate, over all its links; 0: no limit of its own"},
	{.path = "dest.target_connect_timeout_ms", .type = SCHEMA_NUMBER, .min = 10, .max = HOUR_MS, .unit = "ms",
	 .commands = DEST, .reloads = true, .initial = "5000", FIELD(dest.target_connect_timeout_ms),
	 .help = "how long a target may take to accept, over all its addresses; one that refuses is tried again until then"},
	{.path = "dest.connection_filter.allowed_source_ips", .type = SCHEMA_CIDRS, .commands = DEST, .reloads = true,
	 .initial = "[]", LIST(dest.allowed_source_ips, dest.allowed_source_count), .flag = "--allow-source",
	 .value_name = "CIDR", .help = "addresses that may connect; an empty list allows every address"},
	{.path = "dest.connection_timeout_ms", .aliases = {"dest.idle_timeout_ms"}, .type = SCHEMA_NUMBER, .min = 0,
	 .max = 7ULL * DAY_MS, .unit = "ms", .commands = DEST, .reloads = true, .initial = "0", FIELD(dest.idle_timeout_ms),
	 .help = "a flow that moves nothing in either direction for so long is reset; 0: never"},
	{.path = "dest.connection_channel_size", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2, .commands = DEST,
	 .state = SCHEMA_MEANINGLESS, .refusal = NO_QUEUES, .help = "queue length of the seed"},
	{.path = "dest.stale_cleanup_interval_secs", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2, .commands = DEST,
	 .state = SCHEMA_MEANINGLESS, .refusal = "there is no sweep: a flow ends when its connections end; delete this key",
	 .help = "sweep period of the seed"},

	// ---- [udp]
	{.path = "udp.idle_timeout_seconds", .type = SCHEMA_NUMBER, .min = 1, .max = 86400, .unit = "s", .commands = BOTH,
	 .reloads = true, .initial = "60", FIELD(udp.idle_timeout_seconds), .flag = "--udp-idle-timeout",
	 .value_name = "SECONDS", .help = "an association that moves nothing in either direction for so long ends"},
	{.path = "udp.max_associations", .type = SCHEMA_NUMBER, .min = 1, .max = 1000000, .commands = BOTH,
	 .reloads = true, .initial = "4096", FIELD(udp.max_associations),
	 .help = "UDP associations of this node at once; each has a data connection, and on dest a socket more"},
	{.path = "udp.max_associations_per_client", .type = SCHEMA_NUMBER, .min = 1, .max = 1000000, .commands = SOURCE,
	 .reloads = true, .initial = "1024", FIELD(udp.max_associations_per_client),
	 .help = "of them, those of one IPv4 address or IPv6 /64"},

	// ---- [psk]
	{.path = "psk.key", .type = SCHEMA_TEXT, .min = 1, .commands = PSK, .is_secret = true, .reloads = true,
	 FIELD(psk.key), .flag = "--key", .value_name = "TEXT",
	 .help = "the pre-shared key; on a command line other users of this machine may see it: prefer one of the next two"},
	{.path = "psk.key_file", .type = SCHEMA_PATH, .commands = PSK, .reloads = true, FIELD(psk.key_file),
	 .flag = "--key-file", .value_name = "FILE",
	 .help = "file with the key, readable by nobody else; a line end behind it is not part of it"},
	{.path = "psk.key_fd", .type = SCHEMA_TEXT, .min = 1, .commands = PSK, .reloads = true, FIELD(psk.key_fd),
	 .flag = "--key-fd", .value_name = "N", .help = "descriptor that the key is read from, to its end, once"},
	{.path = "psk.method", .type = SCHEMA_ENUM, .words = psk_methods, .commands = PSK, .reloads = true,
	 .initial = "chacha20-poly1305", FIELD(psk.method), .flag = "--method", .value_name = "CIPHER",
	 .help = "cipher; it is not negotiated, both sides must have the same"},
	{.path = "psk.pq", .type = SCHEMA_BOOL, .commands = PSK, .initial = "false", FIELD(psk.pq), .flag = "--pq",
	 .value_name = "BOOL",
	 .help = "between two qanat nodes, both with it: an ephemeral exchange of X25519 and ML-KEM-768 goes into the keys"},
	{.path = "psk.key_rotation_interval_seconds", .type = SCHEMA_NUMBER, .min = 1, .max = 604800, .unit = "s",
	 .commands = CLIENT, .reloads = true, .initial = "3600", FIELD(psk.key_rotation_interval_seconds),
	 .flag = "--key-rotation-interval", .value_name = "SECONDS", .help = "with pq: new session keys so often"},
	{.path = "psk.listen", .type = SCHEMA_TEXT, .min = 1, .commands = SERVER, .initial = ":20203", FIELD(psk.listen),
	 .flag = "--listen", .value_name = "[IP]:PORT", .help = "where the server listens; without IP on every address"},
	{.path = "psk.server", .type = SCHEMA_TEXT, .min = 1, .commands = CLIENT, .required = CLIENT, .reloads = true,
	 FIELD(psk.server), .flag = "--server", .value_name = "HOST:PORT", .help = "the server that the client dials"},
	{.path = "psk.mptcp", .type = SCHEMA_ENUM, .words = mptcp_choices, .commands = PSK, .initial = "auto",
	 FIELD(psk.mptcp), .flag = "--mptcp", .value_name = "CHOICE",
	 .help = "Multipath TCP; auto: a server takes it, a client does not ask for it; without it in the kernel plain TCP"},
	{.path = "psk.device", .type = SCHEMA_NAME, .min = 1, .max = 15, .commands = PSK, .initial = "ttun%d",
	 FIELD(psk.device), .flag = "--device", .value_name = "NAME",
	 .help = "name of the TUN device; %d stands for the first number that is free"},
	{.path = "psk.mtu", .type = SCHEMA_NUMBER, .min = 68, .max = 65519, .commands = PSK, .initial = "1280",
	 FIELD(psk.mtu), .flag = "--mtu", .value_name = "BYTES", .help = "largest packet of the device; below 1280 no IPv6"},
	{.path = "psk.ipv4", .type = SCHEMA_TEXT, .commands = PSK, .initial_note = "server 10.1.1.1/30, client 10.1.1.2/30",
	 FIELD(psk.ipv4), .flag = "--ipv4", .value_name = "IP/BITS", .help = "address of the device; none: no IPv4"},
	{.path = "psk.peer_ipv4", .type = SCHEMA_TEXT, .commands = PSK, FIELD(psk.peer_ipv4), .flag = "--peer-ipv4",
	 .value_name = "IP", .help = "address of the other end, when it does not lie in the network of ipv4"},
	{.path = "psk.ipv6", .type = SCHEMA_TEXT, .commands = PSK, .initial_note = "server fc11::1/126, client fc11::2/126",
	 FIELD(psk.ipv6), .flag = "--ipv6", .value_name = "IP6/BITS", .help = "address of the device; none: no IPv6"},
	{.path = "psk.peer_ipv6", .type = SCHEMA_TEXT, .commands = PSK, FIELD(psk.peer_ipv6), .flag = "--peer-ipv6",
	 .value_name = "IP6", .help = "address of the other end, when it does not lie in the network of ipv6"},
	{.path = "psk.routes", .type = SCHEMA_TEXTS, .min = 1, .max = 64, .commands = PSK, .reloads = true, .initial = "[]",
	 LIST(psk.routes, psk.route_count), .flag = "--route", .value_name = "NETWORK/BITS",
	 .help = "networks that are reached through the tunnel while this program runs"},
	{.path = "psk.offload", .type = SCHEMA_BOOL, .commands = PSK, .initial = "true", FIELD(psk.offload),
	 .flag = "--offload", .value_name = "BOOL",
	 .help = "exchange super-packets with the kernel, as far as it can; false: one packet at a time"},
	{.path = "psk.clamp_mss", .type = SCHEMA_BOOL, .commands = PSK, .reloads = true, .initial = "true",
	 FIELD(psk.clamp_mss), .flag = "--clamp-mss", .value_name = "BOOL",
	 .help = "lower the segment size that TCP connections through the tunnel announce to what fits into mtu"},
	{.path = "psk.kill_switch", .type = SCHEMA_BOOL, .commands = PSK, .initial = "false", FIELD(psk.kill_switch),
	 .flag = "--kill-switch", .value_name = "BOOL",
	 .help = "routed networks are unreachable but through the tunnel, and stay so when this program dies; with a route to "
	         "everything of one version of IP, the other version as well"},
	{.path = "psk.check_sources", .type = SCHEMA_BOOL, .commands = PSK, .reloads = true, .initial = "false",
	 FIELD(psk.check_sources), .flag = "--check-sources", .value_name = "BOOL",
	 .help = "drop packets of the peer whose source is neither its own address nor behind a route to it"},
	{.path = "psk.handshake_timeout_ms", .type = SCHEMA_NUMBER, .min = 100, .max = 10 * MINUTE_MS, .unit = "ms",
	 .commands = PSK, .reloads = true, .initial = "10000", FIELD(psk.handshake_timeout_ms),
	 .help = "one deadline for a whole handshake, and for dialling"},
	{.path = "psk.peer_timeout_ms", .type = SCHEMA_NUMBER, .min = 1000, .max = HOUR_MS, .unit = "ms", .commands = PSK,
	 .reloads = true, .initial = "10000", FIELD(psk.peer_timeout_ms),
	 .help = "a peer that acknowledges nothing for so long is dead"},
	{.path = "psk.initial_reconnect_delay_ms", .type = SCHEMA_NUMBER, .min = 10, .max = HOUR_MS, .unit = "ms",
	 .commands = CLIENT, .reloads = true, .initial = "1000", FIELD(psk.initial_reconnect_delay_ms),
	 .help = "pause before dialling again; it doubles from failure to failure, with jitter"},
	{.path = "psk.max_reconnect_delay_ms", .type = SCHEMA_NUMBER, .min = 10, .max = DAY_MS, .unit = "ms",
	 .commands = CLIENT, .reloads = true, .initial = "32000", FIELD(psk.max_reconnect_delay_ms),
	 .help = "longest pause between attempts"},

	// ---- [proxy]
#include "config/schema_proxy.inc"

	// ---- [vpn]
#include "config/schema_vpn.inc"

	// ---- [agent]
#include "config/schema_agent.inc"

	// ---- [hub]
#include "config/schema_hub.inc"

	// ---- [auth]
	{.path = "auth.ca_cert_path", .type = SCHEMA_PATH, .commands = LINKED | VPN, .required = LINKED, .reloads = true,
	 FIELD(auth.ca_cert_path), .flag = "--ca-cert", .flag_aliases = {"--ca-bundle", "--ca"}, .value_name = "FILE",
	 .help = "PEM file with the CA certificates that peers are checked against"},
	{.path = "auth.client_cert_path", .aliases = {"auth.cert_path"}, .type = SCHEMA_PATH, .commands = SOURCE | AGENT | VPN_CLIENT,
	 .required = SOURCE | AGENT, .reloads = true, FIELD(auth.cert_path), .flag = "--cert", .flag_aliases = {"--client-cert", "--crt"},
	 .value_name = "FILE",
	 .help = "PEM file with the certificate of source or agent, then its intermediates"},
	{.path = "auth.client_key_path", .aliases = {"auth.key_path"}, .type = SCHEMA_PATH, .commands = SOURCE | AGENT | VPN_CLIENT,
	 .required = SOURCE | AGENT, .reloads = true, FIELD(auth.key_path), .flag = "--key", .flag_aliases = {"--client-key"},
	 .value_name = "FILE",
	 .help = "PEM file with its private key, readable by nobody else"},
	{.path = "auth.server_cert_path", .aliases = {"auth.cert_path"}, .type = SCHEMA_PATH, .commands = DEST | HUB | VPN_SERVER,
	 .required = DEST | HUB, .reloads = true, FIELD(auth.cert_path), .flag = "--cert", .flag_aliases = {"--server-cert", "--crt"},
	 .value_name = "FILE",
	 .help = "PEM file with the certificate of dest or hub, then its intermediates"},
	{.path = "auth.server_key_path", .aliases = {"auth.key_path"}, .type = SCHEMA_PATH, .commands = DEST | HUB | VPN_SERVER,
	 .required = DEST | HUB, .reloads = true, FIELD(auth.key_path), .flag = "--key", .flag_aliases = {"--server-key"},
	 .value_name = "FILE",
	 .help = "PEM file with its private key, readable by nobody else"},
	{.path = "auth.peer_name", .type = SCHEMA_HOST, .commands = SOURCE | AGENT | VPN_CLIENT, .reloads = true,
	 .initial_note = "the host that is dialled", FIELD(auth.peer_name), .flag = "--peer-name", .value_name = "NAME",
	 .help = "name or IP address that the certificate of dest or hub must carry"},
	{.path = "auth.allowed_peers", .type = SCHEMA_TEXTS, .min = 1, .max = 255, .commands = LINKED | VPN, .reloads = true,
	 .initial = "[]", LIST(auth.allowed_peers, auth.allowed_peer_count), .flag = "--allow-peer",
	 .value_name = "PATTERN",
	 .help = "patterns ('*' matches anything) of the peer's certificate: \"CN=...\", \"DNS:...\", \"URI:...\" or, without a "
	         "prefix, any of them; an empty list allows every certificate of the CA"},
	{.path = "auth.crl_paths", .type = SCHEMA_TEXTS, .min = 1, .max = 4095, .commands = LINKED | VPN, .reloads = true,
	 .initial = "[]", LIST(auth.crl_paths, auth.crl_count), .flag = "--crl", .value_name = "FILE",
	 .help = "PEM files with certificate revocation lists; with any, every certificate needs a current list of its issuer"},
	{.path = "auth.use_mtls", .type = SCHEMA_BOOL, .commands = LINKED, .only = "true",
	 .refusal = NO_SHARED_SECRET_LINKS "; unauthenticated tunnels do not exist here; delete this key", .initial = "true",
	 .help = "both sides prove themselves with certificates; nothing else exists"},
	{.path = "auth.verify_client_cert", .type = SCHEMA_BOOL, .commands = LINKED, .only = "true",
	 .refusal = NO_SHARED_SECRET_LINKS "; unauthenticated tunnels do not exist here; delete this key", .initial = "true",
	 .help = "dest checks the certificate of source; nothing else exists"},

	// ---- [crypto]
	{.path = "crypto.kem_mode", .type = SCHEMA_ENUM, .words = kem_modes, .commands = LINKED | VPN, .reloads = true,
	 .initial = "hybrid", FIELD(crypto.kem_mode), .flag = "--kem-mode", .value_name = "MODE",
	 .help = "key encapsulation in every epoch: ML-KEM-768 and Classic McEliece 460896, or one of them"},
	{.path = "crypto.pq", .type = SCHEMA_ENUM, .words = pq_policies, .commands = LINKED | VPN, .reloads = true,
	 .initial = "require", FIELD(crypto.pq), .flag = "--pq", .value_name = "POLICY",
	 .help = "post-quantum TLS groups; a peer outside the policy is refused"},
	{.path = "crypto.key_rotation_interval_seconds", .type = SCHEMA_NUMBER, .min = 1, .max = 604800, .unit = "s",
	 .commands = LINKED | VPN, .reloads = true, .initial = "3600", FIELD(crypto.key_rotation_interval_seconds),
	 .flag = "--key-rotation-interval", .value_name = "SECONDS", .help = "new link keys so often"},
	{.path = "crypto.key_rotation_bytes", .type = SCHEMA_NUMBER, .min = 0, .max = UINT64_MAX / 2, .unit = "bytes",
	 .commands = LINKED | VPN, .reloads = true, .initial = "0", FIELD(crypto.key_rotation_bytes),
	 .help = "new link keys after so many bytes as well; 0: never for that"},
	{.path = "crypto.key_rotation_streams", .type = SCHEMA_NUMBER, .min = 0, .max = LIMIT_EPOCH_INDICES / 2,
	 .commands = LINKED | VPN, .reloads = true, .initial = "0", FIELD(crypto.key_rotation_streams),
	 .help = "new link keys after so many streams as well; 0: never for that"},
	{.path = "crypto.tls_key_update_bytes", .type = SCHEMA_NUMBER, .min = LIMIT_TLS_KEY_BYTES_LEAST,
	 .max = LIMIT_TLS_KEY_BYTES, .unit = "bytes", .commands = LINKED | VPN | PROXY, .reloads = true, .initial = "68719476736",
	 FIELD(crypto.tls_key_update_bytes),
	 .help = "a stream updates its sending keys after so many bytes, and at every new epoch"},
	{.path = "crypto.key_overlap_seconds", .type = SCHEMA_NUMBER, .min = 1, .max = LIMIT_EPOCH_OVERLAP_MS / 1000,
	 .unit = "s", .commands = LINKED | VPN, .reloads = true, .initial = "60", FIELD(crypto.key_overlap_seconds),
	 .help = "the previous link keys open new connections so long after a change"},
	{.path = "crypto.rehandshake_before_expiry_seconds", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2, .commands = LINKED,
	 .state = SCHEMA_MEANINGLESS, .refusal = "old keys serve until new ones are ready; see crypto.key_overlap_seconds; delete this key",
	 .help = "lead time of the seed"},
	{.path = "crypto.max_handshake_size", .type = SCHEMA_NUMBER, .max = UINT64_MAX / 2, .commands = LINKED,
	 .state = SCHEMA_MEANINGLESS, .refusal = "every message has its own fixed limit; delete this key",
	 .help = "size limit of the seed"},

	// ---- [link]
	{.path = "link.heartbeat_interval_ms", .aliases = {"source.heartbeat_interval_ms"}, .type = SCHEMA_NUMBER,
	 .min = 10, .max = HOUR_MS, .unit = "ms", .commands = LINKED | VPN, .reloads = true, .initial = "15000",
	 FIELD(link.heartbeat_interval_ms), .help = "a PING so often"},
	{.path = "link.heartbeat_timeout_ms", .aliases = {"source.heartbeat_timeout_ms"}, .type = SCHEMA_NUMBER, .min = 10,
	 .max = HOUR_MS, .unit = "ms", .commands = LINKED | VPN, .reloads = true, .initial = "5000",
	 FIELD(link.heartbeat_timeout_ms), .help = "a PONG later than this is missed"},
	{.path = "link.max_missed_pongs", .aliases = {"source.max_missed_pongs"}, .type = SCHEMA_NUMBER, .min = 1,
	 .max = 255, .commands = LINKED | VPN, .reloads = true, .initial = "3", FIELD(link.max_missed_pongs),
	 .help = "missed in a row, the peer counts as dead"},
	{.path = "link.keep_alive_interval_ms", .aliases = {"source.keep_alive_interval_ms"}, .type = SCHEMA_NUMBER,
	 .min = 0, .max = DAY_MS, .unit = "ms", .commands = LINKED | VPN | PROXY, .reloads = true, .initial = "30000",
	 FIELD(link.keep_alive_interval_ms), .help = "TCP keep-alive of the link's connections, and of those of proxy; 0: off"},
	{.path = "link.handshake_timeout_ms", .type = SCHEMA_NUMBER, .min = 100, .max = 10 * MINUTE_MS, .unit = "ms",
	 .commands = LINKED | VPN, .reloads = true, .initial = "10000", FIELD(link.handshake_timeout_ms),
	 .help = "one deadline for a whole TLS handshake"},
	{.path = "link.user_timeout_ms", .type = SCHEMA_NUMBER, .min = 0, .max = DAY_MS, .unit = "ms", .commands = LINKED | VPN,
	 .reloads = true, .initial_note = "as long as a silent peer is tolerated", FIELD(link.user_timeout_ms),
	 .help = "a connection of the link whose peer acknowledges nothing of what was sent for so long is given up; 0: never"},
	{.path = "link.max_stream_age_seconds", .type = SCHEMA_NUMBER, .min = 0, .max = 31536000, .unit = "s",
	 .commands = LINKED, .reloads = true, .initial = "0", FIELD(link.max_stream_age_seconds),
	 .help = "a flow that has lived so long is reset, whatever it does; 0: never"},
	{.path = "link.congestion", .type = SCHEMA_NAME, .min = 1, .max = 15, .commands = ALL, .reloads = true,
	 .initial = "auto", FIELD(link.congestion), .flag = "--congestion", .value_name = "NAME",
	 .help = "TCP congestion control: auto (no pacing on loopback), system, or an algorithm of the kernel"},

#include "config/schema_renewal.inc"
	// ---- [logging]
	{.path = "logging.level", .aliases = {"log_level"}, .type = SCHEMA_ENUM, .words = levels, .ignores_case = true,
	 .commands = ALL, .reloads = true, .seed_environment = {SEED("LOG_LEVEL")},
	 .initial = "info", FIELD(logging.level), .flag = "--log-level", .value_name = "LEVEL",
	 .help = "least important lines that are written"},
	{.path = "logging.format", .type = SCHEMA_ENUM, .words = formats, .commands = ALL, .reloads = true,
	 .initial = "plain", FIELD(logging.format), .flag = "--log-format", .value_name = "FORMAT",
	 .help = "for people or for machines; to standard error"},
	{.path = "logging.include_timestamp", .type = SCHEMA_BOOL, .commands = ALL, .reloads = true, .initial = "true",
	 FIELD(logging.include_timestamp), .help = "begin lines with the time"},

	// ---- [metrics]
	{.path = "metrics.enabled", .type = SCHEMA_BOOL, .commands = ALL, .initial = "true",
	 .initial_note = "true; psk and proxy: only when a key of [metrics] is given", FIELD(metrics.enabled),
	 .flag = "--metrics", .value_name = "BOOL", .help = "serve /metrics, /health and /status over HTTP"},
	{.path = "metrics.metrics_port", .type = SCHEMA_NUMBER, .min = 0, .max = 65535, .commands = ALL,
	 .initial = "9090", .initial_note = "9090; agent: 9091", FIELD(metrics.metrics_port), .flag = "--metrics-port", .value_name = "PORT",
	 .help = "its port; 0: any free one, which is logged"},
	{.path = "metrics.metrics_bind_ip", .type = SCHEMA_BIND, .commands = ALL, .initial = "127.0.0.1",
	 FIELD(metrics.metrics_bind_ip), .flag = "--metrics-ip", .value_name = "IP",
	 .help = "its address, or unix:/path; plain HTTP without a password, so think before leaving loopback"},

	// ---- [control]
	{.path = "control.socket", .type = SCHEMA_PATH, .commands = ALL,
	 .initial_note = "COMMAND.sock (as psk-server.sock) in $RUNTIME_DIRECTORY, /run/qanat or $XDG_RUNTIME_DIR/qanat",
	 FIELD(control.socket), .flag = "--control-socket", .value_name = "PATH",
	 .help = "Unix socket of `qanat status`, `reload` and `drain`; off: none"},
	{.path = "control.allowed_users", .type = SCHEMA_TEXTS, .min = 1, .max = 255, .commands = ALL, .initial = "[]",
	 LIST(control.allowed_users, control.allowed_user_count),
	 .help = "users (names or numbers) that may use it beside root and the node's own; its mode is 0660, so they "
	         "must be in its group as well"},
	{.path = "control.allowed_groups", .type = SCHEMA_TEXTS, .min = 1, .max = 255, .commands = ALL, .initial = "[]",
	 LIST(control.allowed_groups, control.allowed_group_count),
	 .help = "groups (names or numbers) whose members may use it; the socket is given to the first of them"},

	// ---- [node]
	{.path = "node.name", .type = SCHEMA_NAME, .min = 1, .max = LIMIT_NODE_NAME_BYTES, .commands = ALL,
	 .initial_note = "the host name", FIELD(node.name), .flag = "--node-name", .value_name = "NAME",
	 .help = "shown to the peer and in the status"},
	{.path = "node.workers", .type = SCHEMA_NUMBER, .min = 0, .max = 256, .commands = ALL, .initial = "0",
	 FIELD(node.workers), .flag = "--workers", .value_name = "N",
	 .help = "threads that move data; 0: one per core (vpn: one for two; psk: one for two, at most 4)"},
	{.path = "node.drain_timeout_seconds", .type = SCHEMA_NUMBER, .min = 0, .max = 86400, .unit = "s",
	 .commands = LINKED | PROXY | VPN, .reloads = true, .initial = "60", FIELD(node.drain_timeout_seconds), .flag = "--drain-timeout",
	 .value_name = "SECONDS", .help = "on SIGTERM flows may finish so long"},
	{.path = "node.watch_files", .type = SCHEMA_BOOL, .commands = LINKED | PROXY, .reloads = true, .initial = "false",
	 FIELD(node.watch_files), .flag = "--watch-files", .value_name = "BOOL",
	 .help = "reload when the configuration's file, the CA, the certificate, the key or a revocation list changes on the "
	         "disk"},
};
// clang-format on

const struct schema_table schema = {keys, COUNT_OF(keys), sizeof(struct config)};
_Static_assert(COUNT_OF(keys) <= SCHEMA_MAX_KEYS, "raise SCHEMA_MAX_KEYS");
