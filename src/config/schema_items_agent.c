// The table of [[agent.services]].

#include "config/schema_items.h"
#include "limits.h"

#include <string.h>

#define FIELD(member) \
	.offset = offsetof(struct config_agent_service, member), .size = sizeof(((struct config_agent_service *)0)->member)

static const struct schema_word proxies[] = {
	{"off", CONFIG_PROXY_OFF, NULL},
	{"v2", CONFIG_PROXY_V2, NULL},
	{NULL, 0, NULL},
};

static const struct schema_key service_keys[] = {
	{.path = "name",
     .type = SCHEMA_NAME,
     .min = 1,
     .max = LIMIT_SERVICE_NAME_BYTES,
     .required = SCHEMA_FOR_AGENT,
     FIELD(name),
     .help = "name of the service, unique: the hub shows it as DEVICE.NAME.sock"},
	{.path = "target",
     .type = SCHEMA_TEXT,
     .min = 1,
     .max = 261,
     .required = SCHEMA_FOR_AGENT,
     FIELD(target),
     .help = "where it runs: HOST:PORT, IP:PORT, [IP6]:PORT or unix:/path"},
	{.path = "max_connections",
     .type = SCHEMA_NUMBER,
     .min = 0,
     .max = 1000000,
     FIELD(max_connections),
     .initial_note = "agent.max_connections_per_service",
     .help = "connections at once to it; 0: agent.max_connections_per_service"},
	{.path = "allowed_hubs",
     .type = SCHEMA_TEXTS,
     .min = 1,
     .max = 255,
     FIELD(allowed_hubs),
     .count_offset = offsetof(struct config_agent_service, allowed_hub_count),
     .initial_note = "every hub",
     .help = "patterns ('*' matches anything) of the certificates of hubs that may use it: \"CN=...\", \"DNS:...\", "
             "\"URI:...\" or, without a prefix, any of them"},
	{.path = "proxy_protocol",
     .type = SCHEMA_ENUM,
     .words = proxies,
     FIELD(proxy),
     .initial_note = "off",
     .help = "PROXY protocol header in front of what the service hears: who has connected at the hub"},
};

const struct schema_table schema_agent_service = {service_keys, COUNT_OF(service_keys),
                                                  sizeof(struct config_agent_service)};

struct tree_node *schema_agent_service_from_text(const char *text, struct tree_place place)
{
	const char *equals = strchr(text, '=');
	if (!equals || equals == text || !equals[1])
		return NULL;
	struct tree_node *item = tree_new(TREE_TABLE, NULL, place), *last = NULL;
	tree_append(item, &last, tree_word("name", text, (size_t)(equals - text), place));
	tree_append(item, &last, tree_word("target", equals + 1, strlen(equals + 1), place));
	return item;
}
