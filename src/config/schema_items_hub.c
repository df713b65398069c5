#include "config/schema_items.h"
#include "limits.h"

#define FIELD(member) \
	.offset = offsetof(struct config_hub_access, member), .size = sizeof(((struct config_hub_access *)0)->member)
#define LIST(member, counter) FIELD(member), .count_offset = offsetof(struct config_hub_access, counter)

static const struct schema_key access_keys[] = {
	{.path = "devices",
     .type = SCHEMA_TEXTS,
     .min = 1,
     .max = 255,
     LIST(devices, device_count),
     .initial_note = "every device",
     .help = "patterns of device names ('*' matches anything)"},
	{.path = "services",
     .type = SCHEMA_TEXTS,
     .min = 1,
     .max = 255,
     LIST(services, service_count),
     .initial_note = "every service",
     .help = "patterns of service names; the one of NAME.sock is called \"default\""},
	{.path = "users",
     .type = SCHEMA_TEXTS,
     .min = 1,
     .max = 255,
     LIST(users, user_count),
     .initial_note = "none",
     .help = "users (names or numbers) that this rule lets in"},
	{.path = "groups",
     .type = SCHEMA_TEXTS,
     .min = 1,
     .max = 255,
     LIST(groups, group_count),
     .initial_note = "none",
     .help = "groups (names or numbers) whose members it lets in"},
};

const struct schema_table schema_hub_access = {access_keys, COUNT_OF(access_keys), sizeof(struct config_hub_access)};

#undef FIELD
#undef LIST
#define FIELD(member) \
	.offset = offsetof(struct config_hub_tcp, member), .size = sizeof(((struct config_hub_tcp *)0)->member)
#define LIST(member, counter) FIELD(member), .count_offset = offsetof(struct config_hub_tcp, counter)

static const struct schema_key tcp_keys[] = {
	{.path = "device",
     .type = SCHEMA_NAME,
     .min = 1,
     .max = LIMIT_DEVICE_NAME_BYTES,
     .required = SCHEMA_FOR_HUB,
     FIELD(device),
     .help = "name of the device; it need not be there yet"},
	{.path = "service",
     .type = SCHEMA_NAME,
     .min = 1,
     .max = LIMIT_SERVICE_NAME_BYTES,
     FIELD(service),
     .initial_note = "the device's default service",
     .help = "name of the service of the device"},
	{.path = "listen",
     .type = SCHEMA_TEXT,
     .min = 1,
     .max = 64,
     .required = SCHEMA_FOR_HUB,
     FIELD(listen),
     .help = "IP:PORT or [IP6]:PORT; beyond loopback only with allowed_source_ips"},
	{.path = "allowed_source_ips",
     .type = SCHEMA_CIDRS,
     LIST(sources, source_count),
     .initial_note = "on loopback all",
     .help = "addresses that may connect; required when listen is not a loopback address"},
};

const struct schema_table schema_hub_tcp = {tcp_keys, COUNT_OF(tcp_keys), sizeof(struct config_hub_tcp)};
