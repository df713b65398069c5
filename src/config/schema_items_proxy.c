// The tables of [proxy].

#include "config/schema_items.h"
#include "limits.h"

#include <string.h>

#define FIELD(type, member) .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)

static const struct schema_word selections[] = {
	{"as-proxy", CONFIG_TARGET_AS_PROXY, NULL},
	{"priority", CONFIG_TARGET_PRIORITY, NULL},
	{"round-robin", CONFIG_TARGET_ROUND_ROBIN, NULL},
	{"least-connections", CONFIG_TARGET_LEAST_CONNECTIONS, NULL},
	{NULL, 0, NULL},
};

static const struct schema_key route_keys[] = {
	{.path = "sni",
     .type = SCHEMA_TEXTS,
     .min = 1,
     .max = 255,
     .takes_one = true,
     .required = SCHEMA_FOR_PROXY,
     FIELD(config_route, sni),
     .count_offset = offsetof(struct config_route, sni_count),
     .help = "names that clients ask for: www.example.com, or *.example.com for every name one label longer; an exact "
             "name wins"},
	{.path = "targets",
     .aliases = {"target"},
     .type = SCHEMA_TEXTS,
     .min = 1,
     .max = 261,
     .takes_one = true,
     .required = SCHEMA_FOR_PROXY,
     FIELD(config_route, targets),
     .count_offset = offsetof(struct config_route, target_count),
     .help = "where connections for them go: HOST:PORT, IP:PORT, [IP6]:PORT or unix:/path"},
	{.path = "selection",
     .type = SCHEMA_ENUM,
     .words = selections,
     .ignores_case = true,
     FIELD(config_route, selection),
     .initial_note = "as-proxy",
     .help = "which of several targets; as-proxy: what proxy.target_selection says"},
};

static const struct schema_key certificate_keys[] = {
	{.path = "cert_path",
     .aliases = {"cert"},
     .type = SCHEMA_PATH,
     .required = SCHEMA_FOR_PROXY,
     FIELD(config_certificate, cert_path),
     .help = "PEM file with a certificate, then its intermediates"},
	{.path = "key_path",
     .aliases = {"key"},
     .type = SCHEMA_PATH,
     .required = SCHEMA_FOR_PROXY,
     FIELD(config_certificate, key_path),
     .help = "PEM file with its private key, readable by nobody else"},
	{.path = "ocsp_path",
     .aliases = {"ocsp"},
     .type = SCHEMA_PATH,
     FIELD(config_certificate, ocsp_path),
     .initial_note = "none",
     .help = "OCSP response (DER) for it, given to clients that ask"},
};

const struct schema_table schema_route = {route_keys, COUNT_OF(route_keys), sizeof(struct config_route)};
const struct schema_table schema_certificate = {certificate_keys, COUNT_OF(certificate_keys),
                                                sizeof(struct config_certificate)};

static void append_list(struct tree_node *item, struct tree_node **last, const char *key, const char *text,
                        size_t length)
{
	struct tree_node *list = tree_new(TREE_LIST, key, item->place), *end = NULL;
	const char *stop = text + length;
	while (text < stop) {
		size_t part = strcspn(text, "+");
		part = part < (size_t)(stop - text) ? part : (size_t)(stop - text);
		tree_append(list, &end, tree_word(NULL, text, part, item->place));
		text += part + 1;
	}
	tree_append(item, last, list);
}

struct tree_node *schema_route_from_text(const char *text, struct tree_place place)
{
	const char *equals = strchr(text, '=');
	if (!equals || equals == text || !equals[1])
		return NULL;
	struct tree_node *item = tree_new(TREE_TABLE, NULL, place), *last = NULL;
	append_list(item, &last, "sni", text, (size_t)(equals - text));
	append_list(item, &last, "targets", equals + 1, strlen(equals + 1));
	return item;
}

struct tree_node *schema_certificate_from_text(const char *text, struct tree_place place)
{
	static const char *const names[] = {"cert_path", "key_path", "ocsp_path"};
	struct tree_node *item = tree_new(TREE_TABLE, NULL, place), *last = NULL;
	size_t at = 0;
	for (; at < COUNT_OF(names) && text; at++) {
		size_t length = strcspn(text, ":");
		tree_append(item, &last, tree_word(names[at], text, length, place));
		text = text[length] ? text + length + 1 : NULL;
	}
	if (!text && at >= 2)
		return item;
	tree_free(&item);
	return NULL;
}
