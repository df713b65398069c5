// The part of struct config that `vpn` alone reads: [vpn].

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_vpn_transport { CONFIG_VPN_TLS };

struct config_of_vpn { // [vpn]
	enum config_vpn_transport transport;
	char *control_bind_address, *data_bind_address; // server
	uint16_t control_port, data_port;               // may be one
	char *server;                                   // client: name or address
	char *device;
	char *peer_cn; // NULL: any
	uint32_t stream_count, mtu;
	char *ipv4, *ipv6; // "192.168.3.1/24"; NULL or "": none
	char **routes;
	size_t route_count;
	char *build_id;
	bool offload, clamp_mss;
	uint32_t initial_reconnect_delay_ms, max_reconnect_delay_ms; // client
};
