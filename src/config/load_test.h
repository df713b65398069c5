// For the tests of this folder: loads text, and finds what was said about it. To be included after <cmocka.h>.

#pragma once

#include "config/load.h"

#include <stdlib.h>
#include <string.h>

#define AUTH_OF_SOURCE "auth.ca_cert_path='ca'\nauth.client_cert_path='c'\nauth.client_key_path='k'\n"
#define AUTH_OF_DEST "auth.ca_cert_path='ca'\nauth.server_cert_path='c'\nauth.server_key_path='k'\n"
#define GOOD_SOURCE "source.dest_host='h'\nsource.dest_tunnel_port=1\n" AUTH_OF_SOURCE
#define GOOD_SERVICE "[[dest.exposed_services]]\nname='s'\nport=1\ntarget_ip='::1'\ntarget_port=1\n"
#define GOOD_DEST "dest.tunnel_port=1\n" AUTH_OF_DEST GOOD_SERVICE

static char *const no_words[] = {NULL};

// Returns what load_run returned.
static inline int load_words(struct load *load, enum config_command command, const char *name, const char *text,
                             char *const *argv, char *const *environment)
{
	struct load_input input = {
		.command = command,
		.argv = argv,
		.environment = environment,
		.text = text,
		.length = strlen(text),
		.text_name = name,
	};
	while (argv[input.argc])
		input.argc++;
	return load_run(&input, load);
}

static inline int load_text(struct load *load, enum config_command command, const char *text)
{
	return load_words(load, command, "t.toml", text, no_words, no_words);
}

// All that was said, one line each. The caller frees it.
static inline char *said(const struct problem_list *list)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	assert_non_null(out);
	problem_print(list, "", out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static inline void assert_said(const struct problem_list *list, const char *line)
{
	char *text = said(list);
	if (!strstr(text, line))
		fail_msg("missing: %s\nsaid:\n%s", line, text);
	free(text);
}

static inline void assert_good(const struct load *load, int result)
{
	if (result != 0)
		problem_print(&load->problems, "unexpected: ", stderr);
	assert_int_equal(result, 0);
}

// The text is bad, and exactly for one reason.
static inline void assert_refused(enum config_command command, const char *text, const char *line)
{
	struct load load;
	int result = load_text(&load, command, text);
	if (load.problems.count != 1)
		problem_print(&load.problems, "said: ", stderr);
	assert_int_equal(result, CONFIG_BAD);
	assert_said(&load.problems, line);
	assert_int_equal(load.problems.count, 1);
	load_fini(&load);
}
