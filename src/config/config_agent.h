// The part of struct config that `agent` alone reads: [agent] and its services.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_agent_service { // [[agent.services]]
	char *name;
	char *target;             // "HOST:PORT", "[IP6]:PORT" or "unix:/path"
	uint32_t max_connections; // 0: agent.max_connections_per_service
	char **allowed_hubs;      // patterns of the hub's certificate; empty: every hub
	size_t allowed_hub_count;
	unsigned proxy; // enum config_proxy
};

struct config_of_agent {
	char *hub_host; // NULL when only `hubs` are given
	uint16_t hub_port;
	char **hubs; // "host:port" behind hub_host
	size_t hub_count;
	char *name;       // claimed; NULL: none, the certificate says it
	char *local_host; // with local_port the first service
	uint16_t local_port;
	struct config_agent_service *services;
	size_t service_count;
	uint32_t max_connections_per_service;
	uint32_t parked_connections; // in all
	uint32_t ping_seconds;
	uint32_t target_connect_timeout_ms, idle_timeout_ms;
	uint32_t initial_reconnect_delay_ms, max_reconnect_delay_ms;
	uint32_t failback_interval_seconds; // 0: off
};
