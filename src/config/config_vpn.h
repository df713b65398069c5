// The part of struct config that `vpn` alone reads: [vpn].

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_vpn_transport { CONFIG_VPN_TLS };

struct config_vpn_client { // [[vpn.clients]]
	char *name;
	char *ipv4, *ipv6; // "192.168.3.7/24"; NULL or "": from the pool, if there is one
	char **routes;
	size_t route_count;
	uint64_t bandwidth_limit; // 0: vpn.bandwidth_limit
};

struct config_of_vpn { // [vpn]
	enum config_vpn_transport transport;
	char *control_bind_address, *data_bind_address; // server
	uint16_t control_port, data_port;               // may be one
	char *server;                                   // client: name or address
	char *device;
	char *peer_cn; // NULL: any
	uint32_t stream_count, mtu;
	char *ipv4, *ipv6; // "192.168.3.1/24"; NULL or "": none; client: or "auto"
	char **routes;
	size_t route_count;
	char *build_id;
	bool offload, clamp_mss, kill_switch;
	uint32_t initial_reconnect_delay_ms, max_reconnect_delay_ms; // client
	bool accept_routes;                                          // client

	// Server: its clients. Without any of these the one client has what its own operator gave it.
	uint32_t max_clients;
	struct config_vpn_client *clients;
	size_t client_count;
	char *pool_ipv4, *pool_ipv6; // NULL or "": none
	char **name_rules;
	size_t name_rule_count;
	char **push_routes;
	size_t push_route_count;
	bool client_to_client;
	uint64_t bandwidth_limit; // of each client and direction, bytes per second; 0: none
};
