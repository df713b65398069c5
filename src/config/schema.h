// The one table of everything that can be configured. Readers, precedence, range checks, help, the reference document
// and `qanat check` are derived from it; a new key is a new entry and a field of struct config.

#pragma once

#include "config/config.h"
#include "config/tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum schema_type {
	SCHEMA_TEXT,     // printable, min..max bytes
	SCHEMA_NAME,     // of a node or a service: printable without blanks, quotes, ',', '=', min..max bytes
	SCHEMA_PATH,     // of a file
	SCHEMA_HOST,     // host name or IP literal; kept without brackets
	SCHEMA_IP,       // IP literal; kept without brackets
	SCHEMA_BIND,     // IP literal or "unix:/path"
	SCHEMA_TARGET,   // host name, IP literal or "unix:/path"
	SCHEMA_ENDPOINT, // "IP:PORT", "[IP6]:PORT" or "unix:/path"
	SCHEMA_NUMBER,   // whole, min..max; 2, 4 or 8 bytes wide
	SCHEMA_BOOL,
	SCHEMA_ENUM,
	SCHEMA_CIDRS,  // struct cidr *
	SCHEMA_TEXTS,  // char **
	SCHEMA_TABLES, // max of them: array of the struct that `items` describes
	SCHEMA_TYPE_COUNT
};

enum schema_state {
	SCHEMA_BUILT,
	SCHEMA_UNBUILT,     // refused by name: comes later
	SCHEMA_MEANINGLESS, // refused by name: there is nothing here that it could set
};

// One bit for each command, in the order of enum config_command.
enum {
	SCHEMA_FOR_SOURCE = 1,
	SCHEMA_FOR_DEST = 2,
	SCHEMA_FOR_BOTH = 3, // source and dest
	SCHEMA_FOR_PSK_SERVER = 4,
	SCHEMA_FOR_PSK_CLIENT = 8,
	SCHEMA_FOR_PSK = 12,
	SCHEMA_FOR_PROXY = 16,
	SCHEMA_FOR_VPN_SERVER = 32,
	SCHEMA_FOR_VPN_CLIENT = 64,
	SCHEMA_FOR_VPN = 96,
	SCHEMA_FOR_AGENT = 128,
	SCHEMA_FOR_HUB = 256,
	SCHEMA_FOR_ALL = 511,
};

struct schema_word {
	const char *word;
	unsigned value;
	const char *refusal; // NULL: accepted
};

#define SCHEMA_ALIASES 5
#define SCHEMA_FLAG_ALIASES 4
#define SCHEMA_SEED_NAMES 2

struct schema_table;

struct schema_key {
	const char *path;                    // "source.listen_port"; in `items` the bare key
	const char *aliases[SCHEMA_ALIASES]; // full paths that mean the same, from the seed or for convenience
	enum schema_type type;
	enum schema_state state;
	unsigned commands;        // SCHEMA_FOR_...: who uses it
	unsigned required;        // SCHEMA_FOR_...: who cannot start without
	bool is_secret;           // any bytes; never printed
	bool takes_one;           // SCHEMA_TEXTS: one string is a list of one
	bool ignores_case;        // SCHEMA_ENUM; words of booleans are taken without quotes as well
	bool reloads;             // a reload takes a new value over; otherwise a restart is needed
	const char *initial;      // default as it would be written, NULL: none
	const char *initial_note; // said instead of `initial` when that depends on something
	uint64_t min, max;
	const char *unit;
	const struct schema_word *words;  // SCHEMA_ENUM, ended by {NULL}
	const struct schema_table *items; // SCHEMA_TABLES
	const char *only;                 // the one value taken so far ("true", "[]", "1"); others get `refusal`
	const char *refusal;              // why, and what to do instead
	const char *flag;                 // "--listen-port", NULL: none
	const char *flag_aliases[SCHEMA_FLAG_ALIASES];   // that mean the same
	const char *flag_alone;                          // what the flag means without a value; NULL: it needs one
	const char *value_name;                          // how help calls the value: "PORT"
	const char *environment;                         // NULL: derived from the path
	const char *seed_environment[SCHEMA_SEED_NAMES]; // read as well with --from-env
	const char *help;
	// Makes one item of a SCHEMA_TABLES from a flag's text, NULL when it is not of that shape (`value_name`).
	struct tree_node *(*item_from_text)(const char *text, struct tree_place place);
	size_t offset, size, count_offset; // in struct config or the item; size 0: checked, not kept
};

struct schema_table {
	const struct schema_key *keys;
	size_t count;
	size_t item_bytes;
};

#define SCHEMA_MAX_KEYS 256
#define SCHEMA_ENVIRONMENT_BYTES 96
#define SCHEMA_DEFAULT_PATH "/etc/qanat/config.toml"

// All keys, those of one section together.
extern const struct schema_table schema;

unsigned schema_command_bit(enum config_command command);
const char *schema_command_name(enum config_command command);
// "source", "dest", "psk": the section that a command cannot do without.
const char *schema_command_section(enum config_command command);
// A command other than this one that has the flag; false when there is none.
bool schema_find_other(const char *flag, enum config_command command, enum config_command *other);
// The key that is written as `path` (its own or an alias), preferring one that `command` uses; NULL when unknown.
const struct schema_key *schema_find(const char *path, enum config_command command);
// True when a key lies below: "source", "dest.connection_filter".
bool schema_is_section(const char *path);
const struct schema_key *schema_find_flag(const char *flag, enum config_command command);
// "QANAT_SOURCE_LISTEN_PORT"
void schema_environment(const struct schema_key *key, char name[SCHEMA_ENVIRONMENT_BYTES]);
// Which commands read what is written under this path: "source.x" is for source even if its key is for both.
unsigned schema_commands_of(const struct schema_key *key, const char *path);
size_t schema_index(const struct schema_key *key);
// The length of the section's name in a path: 6 for "source.listen_port".
size_t schema_section_length(const char *path);
// "whole number 1..65535", "one of: a, b", ... for messages and documents.
void schema_describe_type(const struct schema_key *key, char *text, size_t size);
