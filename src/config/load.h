// The whole way from argv, environment and file to struct config, with the origin of every value. config_load is its
// plain form; `qanat check` and the tests use this one.

#pragma once

#include "config/config.h"
#include "config/problem.h"
#include "config/schema.h"

// A configuration longer than this is a mistake: about 30 000 lines.
#define LOAD_MAX_BYTES (1024 * 1024)

struct load_input {
	enum config_command command;
	int argc; // after the command word
	char *const *argv;
	char *const *environment; // "NAME=VALUE", ended by NULL
	// Instead of a file, when text is not NULL. A name that ends in ".json" makes it JSON.
	const char *text;
	size_t length;
	const char *text_name;
};

enum load_origin { LOAD_DEFAULT, LOAD_FILE, LOAD_ENVIRONMENT, LOAD_FLAG };

struct load_setting {
	enum load_origin origin;
	bool is_bad;                    // given, but what was given is refused
	struct tree_place place;        // unless LOAD_DEFAULT
	struct tree_place *item_places; // of each item of a list
	const char *path;               // as it is written there: the key's own, or an alias
	char *environment;              // its name, once it was needed
};

struct load {
	enum config_command command;
	struct config *config;                         // usable only when load_run returned 0
	struct load_setting settings[SCHEMA_MAX_KEYS]; // by schema_index
	struct problem_list problems;
	struct problem_list notes;                                    // not wrong, but worth saying
	char *file;                                                   // what was or would have been read
	bool has_file, has_source, has_dest, has_psk, has_psk_client; // the file; its sections
	bool has_agent;
	bool has_proxy;     // [proxy], or keys of its seed's flat file
	bool is_unreadable; // nothing can be said about what the file gives
	bool is_file_named; // by a flag or the environment
};

// 0, CONFIG_BAD (see load->problems) or CONFIG_HELP. load_fini is due in every case.
MUST_USE int load_run(const struct load_input *input, struct load *load);
void load_fini(struct load *load);

const struct load_setting *load_setting(const struct load *load, const char *path);
bool load_is_given(const struct load *load, const char *path);
