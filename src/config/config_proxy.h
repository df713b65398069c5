// The part of struct config that `proxy` alone reads: [proxy] and its tables.

#pragma once

#include "policy/cidr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_proxy_mode { CONFIG_PROXY_SERVER, CONFIG_PROXY_CLIENT };
enum config_proxy_environment { CONFIG_PRODUCTION, CONFIG_TESTING, CONFIG_DEVELOPMENT };
enum config_client_cert { CONFIG_CLIENT_CERT_REQUIRED, CONFIG_CLIENT_CERT_OPTIONAL, CONFIG_CLIENT_CERT_NONE };
enum config_hybrid { CONFIG_HYBRID_REQUIRE, CONFIG_HYBRID_PREFER, CONFIG_HYBRID_OFF };
enum config_signatures { CONFIG_SIGNATURES_ANY, CONFIG_SIGNATURES_PQ };
enum config_min_tls { CONFIG_TLS_1_3, CONFIG_TLS_1_2 };
enum config_header_in { CONFIG_HEADER_IN_OFF, CONFIG_HEADER_IN_ACCEPT };
enum config_header_out { CONFIG_HEADER_OUT_OFF, CONFIG_HEADER_OUT_V1, CONFIG_HEADER_OUT_V2 };
// AS_PROXY is for routes: what proxy.target_selection says.
enum config_target_selection {
	CONFIG_TARGET_AS_PROXY,
	CONFIG_TARGET_PRIORITY,
	CONFIG_TARGET_ROUND_ROBIN,
	CONFIG_TARGET_LEAST_CONNECTIONS,
};
enum config_health_kind { CONFIG_HEALTH_CONNECT, CONFIG_HEALTH_OFF };

// Targets are "HOST:PORT", "IP:PORT", "[IP6]:PORT" or "unix:/path"; target_split (config/target.h) takes them apart.
struct config_route { // [[proxy.routes]]
	char **sni;       // "www.example.com", "*.example.com"; lower case
	size_t sni_count;
	char **targets;
	size_t target_count;
	enum config_target_selection selection;
};
struct config_certificate { // [[proxy.certificates]]
	char *cert_path, *key_path;
	char *ocsp_path; // a response to staple, DER; NULL: none
};

struct config_of_proxy { // [proxy]
	enum config_proxy_mode mode;
	enum config_proxy_environment environment;
	char **listen; // "IP:PORT", "[IP6]:PORT", "unix:/path"
	size_t listen_count;
	char **targets; // for every name that no route has
	size_t target_count;
	enum config_target_selection target_selection;
	struct config_route *routes;
	size_t route_count;

	// The first certificate, a second one as later seeds write it, more: see certificates_at (config/certificates.h).
	char *cert_path, *key_path, *ocsp_path; // may be NULL in client mode
	char *fallback_cert_path, *fallback_key_path;
	struct config_certificate *certificates;
	size_t certificate_count;
	char *ca_cert_path; // may be NULL when nobody is verified
	char **crl_paths;
	size_t crl_count;
	enum config_client_cert client_cert_mode; // server
	bool usage_may_be_absent;                 // of the other side's certificate
	enum config_hybrid hybrid_mode;
	enum config_signatures signatures;
	enum config_min_tls min_tls;
	char **alpn;
	size_t alpn_count;
	char **allowed_clients; // server: patterns of certificates; empty: every one of the CA
	size_t allowed_client_count;
	char *server_name; // client: what the target's certificate must carry; NULL: the target's host
	char **pins;       // client: SHA-256 of the target's public key, hex or base64; empty: every one that is verified
	size_t pin_count;

	enum config_header_in header_in;
	struct cidr *header_from; // whose connections begin with a PROXY header; empty: all
	size_t header_from_count;
	enum config_header_out header_out;

	enum config_health_kind health_kind;
	uint32_t health_interval_ms, health_timeout_ms, health_rise, health_fall;

	uint32_t handshake_timeout_ms;
	uint32_t connection_timeout_seconds; // to reach one target
	uint32_t idle_timeout_ms;            // 0: never
	uint32_t half_close_timeout_ms;      // 0: never
	uint32_t max_age_seconds;            // 0: never
	uint32_t max_connections;
	uint32_t max_connections_per_client; // per IPv4 address or IPv6 /64; 0: no limit
	uint32_t max_handshakes_per_client;  // likewise, in LIMIT_ADDRESS_WINDOW_MS; 0: no limit
	struct cidr *allowed_source_ips;
	size_t allowed_source_count;
};
