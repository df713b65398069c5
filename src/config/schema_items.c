#include "config/schema_items.h"
#include "limits.h"

#include <string.h>

#define FIELD(type, member) .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)

static const struct schema_word protocols[] = {
	{"tcp", CONFIG_TCP, NULL},
	{"udp", CONFIG_UDP, NULL},
	{"both", CONFIG_BOTH, NULL},
	{NULL, 0, NULL},
};

static const struct schema_word proxies[] = {
	{"off", CONFIG_PROXY_OFF, NULL},
	{"v2", CONFIG_PROXY_V2, NULL},
	{NULL, 0, NULL},
};

static const struct schema_key exposed_port_keys[] = {
	{.path = "port",
     .type = SCHEMA_NUMBER,
     .min = 1,
     .max = 65535,
     .required = SCHEMA_FOR_BOTH,
     FIELD(config_exposed_port, port),
     .help = "listened on, and the number of the service of dest that it reaches"},
	{.path = "listen_ip",
     .type = SCHEMA_IP,
     FIELD(config_exposed_port, listen_ip),
     .initial_note = "source.listen_ip",
     .help = "address to listen on"},
	{.path = "protocol",
     .type = SCHEMA_ENUM,
     .words = protocols,
     FIELD(config_exposed_port, protocol),
     .initial_note = "tcp",
     .help = "what is carried"},
};

static const struct schema_key forward_keys[] = {
	{.path = "listen",
     .type = SCHEMA_ENDPOINT,
     .required = SCHEMA_FOR_BOTH,
     FIELD(config_forward, listen),
     .help = "where to listen: 127.0.0.1:2222, [::1]:2222 or unix:/run/x.sock"},
	{.path = "service",
     .type = SCHEMA_NAME,
     .min = 1,
     .max = LIMIT_SERVICE_NAME_BYTES,
     .required = SCHEMA_FOR_BOTH,
     FIELD(config_forward, service),
     .help = "name of a service that dest offers"},
	{.path = "protocol",
     .type = SCHEMA_ENUM,
     .words = protocols,
     FIELD(config_forward, protocol),
     .initial_note = "tcp",
     .help = "what is carried"},
};

static const struct schema_key service_keys[] = {
	{.path = "name",
     .type = SCHEMA_NAME,
     .min = 1,
     .max = LIMIT_SERVICE_NAME_BYTES,
     .required = SCHEMA_FOR_BOTH,
     FIELD(config_service, name),
     .help = "name of the service, unique"},
	{.path = "port",
     .type = SCHEMA_NUMBER,
     .min = 1,
     .max = 65535,
     .required = SCHEMA_FOR_BOTH,
     FIELD(config_service, port),
     .help = "number that source's exposed_ports use for it, unique"},
	{.path = "target_ip",
     .aliases = {"target_host"},
     .type = SCHEMA_TARGET,
     .required = SCHEMA_FOR_BOTH,
     FIELD(config_service, target_host),
     .help = "where it runs: IP address, host name or unix:/path"},
	{.path = "target_port",
     .type = SCHEMA_NUMBER,
     .min = 1,
     .max = 65535,
     FIELD(config_service, target_port),
     .initial_note = "none; required unless the target is a unix: socket",
     .help = "port of the target"},
	{.path = "protocol",
     .type = SCHEMA_ENUM,
     .words = protocols,
     FIELD(config_service, protocol),
     .initial_note = "tcp",
     .help = "what is carried"},
	{.path = "description", .type = SCHEMA_TEXT, .max = 1024, FIELD(config_service, description), .help = "for people"},
	{.path = "max_connections",
     .type = SCHEMA_NUMBER,
     .min = 0,
     .max = 1000000,
     FIELD(config_service, max_connections),
     .initial_note = "dest.max_connections_per_service",
     .help = "flows at once to this service; 0: dest.max_connections_per_service"},
	{.path = "allowed_clients",
     .type = SCHEMA_TEXTS,
     .min = 1,
     .max = 255,
     FIELD(config_service, allowed_clients),
     .count_offset = offsetof(struct config_service, allowed_client_count),
     .initial_note = "every peer",
     .help =
         "patterns ('*' matches anything) of the certificates that may use it: \"CN=...\", \"DNS:...\", \"URI:...\" "
         "or, without a prefix, any of them"},
	{.path = "proxy_protocol",
     .type = SCHEMA_ENUM,
     .words = proxies,
     FIELD(config_service, proxy),
     .initial_note = "off",
     .help = "PROXY protocol header in front of what the target hears: who the client is"},
};

const struct schema_table schema_exposed_port = {exposed_port_keys, COUNT_OF(exposed_port_keys),
                                                 sizeof(struct config_exposed_port)};
const struct schema_table schema_forward = {forward_keys, COUNT_OF(forward_keys), sizeof(struct config_forward)};
const struct schema_table schema_service = {service_keys, COUNT_OF(service_keys), sizeof(struct config_service)};

// The length of the text without a protocol behind it ("/udp"), which becomes a field of the item.
static size_t split_protocol(const char *text, struct tree_node *item, struct tree_node **last, struct tree_place place)
{
	size_t length = strlen(text);
	for (const struct schema_word *word = protocols; word->word; word++) {
		size_t size = strlen(word->word);
		if (length <= size + 1 || text[length - size - 1] != '/' || strcmp(text + length - size, word->word) != 0)
			continue;
		tree_append(item, last, tree_word("protocol", word->word, size, place));
		return length - size - 1;
	}
	return length;
}

struct tree_node *schema_exposed_port_from_text(const char *text, struct tree_place place)
{
	struct tree_node *item = tree_new(TREE_TABLE, NULL, place), *last = NULL;
	size_t length = split_protocol(text, item, &last, place);
	tree_append(item, &last, tree_word("port", text, length, place));
	return item;
}

struct tree_node *schema_forward_from_text(const char *text, struct tree_place place)
{
	// A path may hold a '=', a service name does not.
	const char *equals = strrchr(text, '=');
	if (!equals)
		return NULL;
	struct tree_node *item = tree_new(TREE_TABLE, NULL, place), *last = NULL;
	tree_append(item, &last, tree_word("listen", text, (size_t)(equals - text), place));
	size_t length = split_protocol(equals + 1, item, &last, place);
	tree_append(item, &last, tree_word("service", equals + 1, length, place));
	return item;
}

struct tree_node *schema_service_from_text(const char *text, struct tree_place place)
{
	const char *equals = strchr(text, '=');
	const char *target = equals ? strchr(equals, ':') : NULL;
	if (!target)
		return NULL;
	target++;
	bool is_unix = strncmp(target, "unix:", 5) == 0;
	const char *colon = is_unix ? target + strlen(target) : strrchr(target, ':');
	if (!colon)
		return NULL;
	struct tree_node *item = tree_new(TREE_TABLE, NULL, place), *last = NULL;
	tree_append(item, &last, tree_word("name", text, (size_t)(equals - text), place));
	tree_append(item, &last, tree_word("port", equals + 1, (size_t)(target - equals - 2), place));
	tree_append(item, &last, tree_word("target_ip", target, (size_t)(colon - target), place));
	if (!is_unix) { // a path may end in what looks like a protocol
		size_t length = split_protocol(colon + 1, item, &last, place);
		tree_append(item, &last, tree_word("target_port", colon + 1, length, place));
	}
	return item;
}
