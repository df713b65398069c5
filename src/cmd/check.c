#include "cmd/check.h"

#include "cmd/proxy_internal.h"
#include "cmd/psk_key.h"
#include "cmd/psk_words.h"
#include "config/help.h"
#include "config/load.h"
#include "config/report.h"
#include "crypto/identity.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMANDS (CONFIG_HUB + 1)
enum { EXIT_GOOD = 0, EXIT_CERTIFICATES = 1, EXIT_CONFIG = 2 };

static const char usage[] =
	"usage: qanat check [-c FILE] [source|dest|proxy|hub|agent|psk server|psk client|vpn server|vpn client] [--json]\n"
	"                   [flags of that command]\n"
	"       qanat check --schema\n\n"
	"Reads the configuration as that command would, lists every problem, prints each value with where it comes from, and\n"
	"tries the certificate or key files. Without a word it checks whichever sections the file has.\n\n"
	"  -c, --config FILE  default: " SCHEMA_DEFAULT_PATH "; environment: QANAT_CONFIG\n"
	"  --json             the result as JSON\n"
	"  --schema           print the reference of every key as Markdown\n\n"
	"Exit status: 0 good, 1 certificates or a key that would be refused, 2 wrong command line or configuration.\n";

// The words of check itself; what is left goes to the configuration as flags.
struct check {
	bool is_wanted[COMMANDS]; // by enum config_command
	bool is_json, is_schema, is_help;
	int argc;
	char **argv; // lent words, in memory of ours
	json_t *reports;
};

static void read_words(struct check *check, int argc, char **argv)
{
	for (int at = 1; at < argc; at++) {
		const char *word = argv[at];
		if (strcmp(word, "source") == 0)
			check->is_wanted[CONFIG_SOURCE] = true;
		else if (strcmp(word, "dest") == 0)
			check->is_wanted[CONFIG_DEST] = true;
		else if (strcmp(word, "hub") == 0)
			check->is_wanted[CONFIG_HUB] = true;
		else if (strcmp(word, "proxy") == 0)
			check->is_wanted[CONFIG_PROXY] = true;
		else if (strcmp(word, "agent") == 0)
			check->is_wanted[CONFIG_AGENT] = true;
		else if (strcmp(word, "psk") == 0 && at + 1 < argc && strcmp(argv[at + 1], "server") == 0)
			check->is_wanted[CONFIG_PSK_SERVER] = argv[++at] != NULL;
		else if (strcmp(word, "psk") == 0 && at + 1 < argc && strcmp(argv[at + 1], "client") == 0)
			check->is_wanted[CONFIG_PSK_CLIENT] = argv[++at] != NULL;
		else if (strcmp(word, "vpn") == 0 && at + 1 < argc && strcmp(argv[at + 1], "server") == 0)
			check->is_wanted[CONFIG_VPN_SERVER] = argv[++at] != NULL;
		else if (strcmp(word, "vpn") == 0 && at + 1 < argc && strcmp(argv[at + 1], "client") == 0)
			check->is_wanted[CONFIG_VPN_CLIENT] = argv[++at] != NULL;
		else if (strcmp(word, "--json") == 0)
			check->is_json = true;
		else if (strcmp(word, "--schema") == 0)
			check->is_schema = true;
		else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
			check->is_help = true;
		else {
			check->argv[check->argc++] = argv[at];
			// A flag without '=' is followed by its value, which may look like one of the words above.
			bool has_value = strcmp(word, "--from-env") != 0 && at + 1 < argc && argv[at + 1][0] != '-';
			if (word[0] == '-' && !strchr(word, '=') && has_value)
				check->argv[check->argc++] = argv[++at];
		}
	}
}

// The certificates as the command would load them. False: refused, and `problem` says why.
static bool try_certificates(const struct load *load, char problem[IDENTITY_PROBLEM_BYTES])
{
	const struct config *config = load->config;
	struct identity_files files = {
		.ca_path = config->auth.ca_cert_path,
		.cert_path = config->auth.cert_path,
		.key_path = config->auth.key_path,
		.crl_paths = (const char *const *)config->auth.crl_paths,
		.crl_count = config->auth.crl_count,
		.usage = load->command == CONFIG_SOURCE || load->command == CONFIG_VPN_CLIENT ? IDENTITY_CLIENT
	                                                                                  : IDENTITY_SERVER,
	};
	struct identity *identity = NULL;
	int result = identity_load(&files, &identity, problem);
	if (result < 0)
		snprintf(problem, IDENTITY_PROBLEM_BYTES, "%s", outcome_text(result));
	identity_unref(&identity);
	return result == 0;
}

static bool is_psk(const struct load *load)
{
	return load->command == CONFIG_PSK_SERVER || load->command == CONFIG_PSK_CLIENT;
}

// The key as the command would load it; what waits in a descriptor is left there.
static bool try_key(const struct load *load, char problem[IDENTITY_PROBLEM_BYTES])
{
	char text[PSK_KEY_PROBLEM_BYTES] = "";
	struct secret key = {0};
	if (load->config->psk.key_fd)
		return true;
	bool is_good = secret_start() == 0 && psk_key_load(load->config, &key, text) == 0;
	secret_fini(&key);
	snprintf(problem, IDENTITY_PROBLEM_BYTES, "%s", text);
	return is_good;
}

static bool try_files(const struct load *load, char problem[IDENTITY_PROBLEM_BYTES])
{
	if (load->command == CONFIG_PROXY)
		return proxy_try(load->config, problem);
	return is_psk(load) ? try_key(load, problem) : try_certificates(load, problem);
}

static int judge_text(const struct load *load, int result)
{
	const char *name = schema_command_name(load->command);
	const char *file = load->has_file ? load->file : "flags and environment";
	char problem[IDENTITY_PROBLEM_BYTES] = "";
	problem_print(&load->problems, "", stderr);
	problem_print(&load->notes, "note: ", stderr);
	if (result != 0) {
		fprintf(stderr, "%s: not good for %s: %zu problem%s\n", file, name, load->problems.count,
		        load->problems.count == 1 ? "" : "s");
		return EXIT_CONFIG;
	}
	bool is_good = try_files(load, problem);
	if (!is_good)
		fprintf(stderr, "%s\n", problem);
	printf("%s: %s for %s\n", file,
	       is_good        ? "good"
	       : is_psk(load) ? "the key is refused"
	                      : "certificates are refused",
	       name);
	report_settings(load, stdout);
	return is_good ? EXIT_GOOD : EXIT_CERTIFICATES;
}

static int judge_json(struct check *check, const struct load *load, int result)
{
	char problem[IDENTITY_PROBLEM_BYTES] = "";
	json_t *report = report_json(load);
	bool is_good = result == 0 && try_files(load, problem);
	json_object_set_new(report, "good", json_boolean(is_good));
	json_object_set_new(report, "file", load->has_file ? json_string(load->file) : json_null());
	json_object_set_new(report, is_psk(load) ? "key" : "certificates", problem[0] ? json_string(problem) : json_null());
	json_array_append_new(check->reports, report);
	return is_good ? EXIT_GOOD : result == 0 ? EXIT_CERTIFICATES : EXIT_CONFIG;
}

static int judge(struct check *check, enum config_command command)
{
	struct load_input input = {.command = command, .argc = check->argc, .argv = check->argv, .environment = environ};
	struct load load;
	struct psk_words words = {0};
	if (command == CONFIG_PSK_SERVER || command == CONFIG_PSK_CLIENT) {
		if (psk_words_take(command == CONFIG_PSK_SERVER, check->argc, check->argv, &words) < 0)
			return EXIT_CONFIG;
		input.argc = words.argc;
		input.argv = words.argv;
	}
	int result = load_run(&input, &load);
	int status = check->is_json ? judge_json(check, &load, result) : judge_text(&load, result);
	load_fini(&load);
	psk_words_fini(&words);
	return status;
}

static bool is_any_wanted(const struct check *check)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		if (check->is_wanted[i])
			return true;
	return false;
}

// Nothing is known of what the file is for; only what is about the file itself is worth saying.
static void say_unreadable(struct check *check, struct load *load)
{
	struct problem_list about_file = {0};
	for (size_t i = 0; i < load->problems.count; i++) {
		const struct problem *problem = &load->problems.problems[i];
		if (strcmp(problem->name, load->file) == 0)
			problem_add(&about_file, (struct tree_place){problem->name, problem->line, problem->column}, "", "%s",
			            problem->message);
	}
	problem_list_fini(&load->problems);
	load->problems = about_file;
	if (!check->is_json) {
		problem_print(&load->problems, "", stderr);
		fprintf(stderr, "%s: cannot be read\n", load->file);
		return;
	}
	json_t *report = report_json(load), *reports = json_array();
	json_object_set_new(report, "command", json_null());
	json_object_set_new(report, "good", json_false());
	json_object_set_new(report, "file", json_string(load->file));
	json_array_append_new(reports, report);
	json_dumpf(reports, stdout, JSON_INDENT(2));
	fputc('\n', stdout);
	json_decref(reports);
}

// Which sections there are, when the command line does not say which is meant.
static bool find_sections(struct check *check)
{
	struct load_input input = {.command = CONFIG_SOURCE,
	                           .argc = check->argc,
	                           .argv = check->argv,
	                           .environment = environ};
	struct load load;
	int result = load_run(&input, &load);
	if (load.is_unreadable) {
		say_unreadable(check, &load);
		load_fini(&load);
		return false;
	}
	check->is_wanted[CONFIG_SOURCE] = load.has_source;
	check->is_wanted[CONFIG_DEST] = load.has_dest;
	check->is_wanted[CONFIG_PSK_SERVER] = load.has_psk && !load.has_psk_client;
	check->is_wanted[CONFIG_PSK_CLIENT] = load.has_psk_client;
	check->is_wanted[CONFIG_PROXY] = load.has_proxy;
	check->is_wanted[CONFIG_VPN_SERVER] = load.has_vpn && !load.has_vpn_client;
	check->is_wanted[CONFIG_VPN_CLIENT] = load.has_vpn_client;
	check->is_wanted[CONFIG_AGENT] = load.has_agent;
	check->is_wanted[CONFIG_HUB] = load.has_hub;
	bool is_found = is_any_wanted(check);
	if (!is_found && load.has_file)
		fprintf(stderr, "%s: has no section [source], [dest], [proxy], [hub], [agent], [vpn] or [psk]\n", load.file);
	else if (!is_found)
		fprintf(
			stderr,
			"%s: there is no such file; name one with -c FILE, or say which flags to check: source, dest or proxy\n",
			load.file);
	load_fini(&load);
	return result >= 0 && is_found;
}

static int judge_all(struct check *check)
{
	if (!is_any_wanted(check) && !find_sections(check))
		return EXIT_CONFIG;
	int worst = EXIT_GOOD;
	check->reports = check->is_json ? json_array() : NULL;
	for (unsigned command = 0; command < COMMANDS; command++) {
		int status = check->is_wanted[command] ? judge(check, (enum config_command)command) : EXIT_GOOD;
		worst = status > worst ? status : worst;
	}
	if (check->is_json) {
		json_dumpf(check->reports, stdout, JSON_INDENT(2));
		fputc('\n', stdout);
		json_decref(check->reports);
	}
	return worst;
}

int check_command(int argc, char **argv)
{
	struct check check = {.argv = calloc((size_t)argc + 1, sizeof *check.argv)};
	int status = EXIT_GOOD;
	if (!check.argv)
		return EXIT_CONFIG;
	read_words(&check, argc, argv);
	if (check.is_help)
		fputs(usage, stdout);
	else if (check.is_schema)
		help_reference(stdout);
	else
		status = judge_all(&check);
	free(check.argv);
	return status;
}
