// The table of [[vpn.clients]].

#include "config/schema_items.h"
#include "limits.h"

#define FIELD(member) \
	.offset = offsetof(struct config_vpn_client, member), .size = sizeof(((struct config_vpn_client *)0)->member)

static const struct schema_key client_keys[] = {
	{.path = "name",
     .type = SCHEMA_NAME,
     .min = 1,
     .max = LIMIT_DEVICE_NAME_BYTES,
     .required = SCHEMA_FOR_VPN_SERVER,
     FIELD(name),
     .help = "name of the client, unique: what vpn.name_rules find in its certificate"},
	{.path = "ipv4",
     .type = SCHEMA_TEXT,
     FIELD(ipv4),
     .initial_note = "of vpn.pool_ipv4",
     .help = "its address within the tunnel, and the network that it reaches through it: 192.168.3.7/24"},
	{.path = "ipv6", .type = SCHEMA_TEXT, FIELD(ipv6), .initial_note = "of vpn.pool_ipv6", .help = "likewise"},
	{.path = "routes",
     .type = SCHEMA_TEXTS,
     .min = 1,
     .max = 64,
     FIELD(routes),
     .count_offset = offsetof(struct config_vpn_client, route_count),
     .initial_note = "none",
     .help = "networks behind it: reached through it, and addresses that it may send from"},
	{.path = "bandwidth_limit",
     .type = SCHEMA_NUMBER,
     .min = 0,
     .max = 1000000000000,
     .unit = "bytes per second",
     FIELD(bandwidth_limit),
     .initial_note = "vpn.bandwidth_limit",
     .help = "in each direction; 0: vpn.bandwidth_limit"},
};

const struct schema_table schema_vpn_client = {client_keys, COUNT_OF(client_keys), sizeof(struct config_vpn_client)};
