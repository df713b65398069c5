#include "config/schema_items.h"

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
