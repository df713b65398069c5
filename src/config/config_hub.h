// The part of struct config that `hub` alone reads: [hub] and its access rules.

#pragma once

#include "policy/cidr.h"

#include <stddef.h>
#include <stdint.h>

enum config_hub_identity { CONFIG_HUB_CERTIFICATE, CONFIG_HUB_CLAIMED };
enum config_hub_takeover { CONFIG_HUB_SAME_KEY, CONFIG_HUB_SAME_NAME };
enum config_hub_offline { CONFIG_HUB_REMOVE, CONFIG_HUB_REFUSE };

struct config_hub_access { // [[hub.access]]
	char **devices;        // patterns; empty: every device
	size_t device_count;
	char **services; // patterns; empty: every service
	size_t service_count;
	char **users;
	size_t user_count;
	char **groups;
	size_t group_count;
};

struct config_hub_tcp { // [[hub.tcp]]
	char *device;
	char *service;        // NULL: its default one
	char *listen;         // "IP:PORT"
	struct cidr *sources; // empty: all, only on loopback
	size_t source_count;
};

struct config_of_hub {
	char *listen_ip;
	uint16_t listen_port;
	struct cidr *allowed_source_ips;
	size_t allowed_source_count;
	char *directory;
	char *socket_mode;  // "0660"
	char *socket_owner; // NULL: ours
	char *socket_group;
	char **services; // that have sockets of their own
	size_t service_count;
	enum config_hub_offline offline;
	enum config_hub_identity identity;
	char **name_rules;
	size_t name_rule_count;
	char *claims_path; // NULL: none
	uint32_t max_claims_per_key;
	char *deny_path; // NULL: none
	enum config_hub_takeover takeover;
	struct config_hub_access *access;
	size_t access_count;
	struct config_hub_tcp *tcp;
	size_t tcp_count;
	uint32_t open_timeout_ms, idle_timeout_ms;
	uint32_t max_devices;
	uint32_t max_channels_per_device;         // 0: no limit of its own
	uint64_t max_bytes_per_second_per_device; // 0: no limit
	uint32_t handshakes_at_once, handshakes_per_address;
	char *audit_path; // NULL: none
};
