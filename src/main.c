// The command table, and nothing else.

#include "cmd/agent.h"
#include "cmd/cert.h"
#include "cmd/check.h"
#include "cmd/connect.h"
#include "cmd/dest.h"
#include "cmd/devices.h"
#include "cmd/doctor.h"
#include "cmd/drain.h"
#include "cmd/guise.h"
#include "cmd/health.h"
#include "cmd/hub.h"
#include "cmd/reload.h"
#include "cmd/proxy.h"
#include "cmd/psk.h"
#include "cmd/source.h"
#include "cmd/status.h"
#include "cmd/version.h"
#include "cmd/vpn.h"
#include "config/flags.h"
#include "config/text.h"

#include <stdio.h>
#include <string.h>

static int help_command(int argc, char **argv);

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv); // NULL: coming
	bool is_configured;                // takes -c, --log-level and --log-format itself
	const char *help;
} commands[] = {
	{"source", source_command, true, "carry local services through a quantum-safe link to dest"},
	{"dest", dest_command, true, "accept links and hand what they carry to the services here"},
	{"proxy", proxy_command, true, "post-quantum TLS in front of a plain service, or of a plain client"},
	{"hub", hub_command, true, "reverse tunnels: where devices link to, each a Unix socket"},
	{"connect", connect_command, true, "reverse tunnels: join standard input and output to a device"},
	{"devices", devices_command, true, "list the devices of a running hub"},
	{"kick", kick_command, true, "end a device's link with a running hub"},
	{"agent", agent_command, true, "reverse tunnels: on the device, keeps a link with a hub"},
	{"cert", cert_command, false, "a small CA: make, renew, revoke, show and verify certificates"},
	{"status", status_command, true, "ask a running node what it does"},
	{"reload", reload_command, true, "have a running node read its configuration anew"},
	{"drain", drain_command, true, "have a running node finish its flows and stop"},
	{"health", health_command, false, "probe a running node"},
	{"psk", psk_command, true, "layer-3 tunnel with a pre-shared key"},
	{"vpn", vpn_command, true, "layer-3 tunnel over TLS, with certificates"},
	{"check", check_command, true, "judge a configuration and its certificates"},
	{"doctor", doctor_command, true, "diagnose this machine, and a configuration's files (also check-environment)"},
	{"check-environment", doctor_command, true, "the same as doctor"},
	{"version", version_command, false, "say which build this is"},
	{"help", help_command, false, "this text; `qanat help COMMAND` says more"},
	{"vpn-quic", NULL, true, "the layer-3 tunnel over QUIC: server and client of rust-vpn"},
	{"top", NULL, false, "watch a running node"},
	{"bench", NULL, false, "measure this machine"},
};

static void print_help(FILE *out)
{
	fputs("usage: qanat COMMAND [flags]\n\nQuantum-safe tunnels.\n\n", out);
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (i > 0 && commands[i - 1].run && !commands[i].run)
			fputs("\ncoming, and refused until then:\n", out);
		// A second name stands in the help text of the first.
		if (i == 0 || !commands[i].run || commands[i - 1].run != commands[i].run)
			fprintf(out, "  %-8s  %s\n", commands[i].name, commands[i].help);
	}
}

static const struct command *find_command(const char *name)
{
	struct text_nearest nearest;
	text_nearest_init(&nearest, name);
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		text_nearest_try(&nearest, commands[i].name);
		if (strcmp(commands[i].name, name) == 0 && commands[i].run)
			return &commands[i];
		if (strcmp(commands[i].name, name) == 0) {
			fprintf(stderr, "qanat: \"%s\" is not built yet; `qanat help` lists what is\n", name);
			return NULL;
		}
	}
	fprintf(stderr, "qanat: unknown command \"%s\"%s%s%s; `qanat help` lists them\n", name,
	        nearest.best ? " (did you mean \"" : "", nearest.best ? nearest.best : "", nearest.best ? "\"?)" : "");
	return NULL;
}

static int help_command(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stdout);
		return 0;
	}
	const struct command *command = find_command(argv[1]);
	char *words[] = {argv[1], (char[]){"--help"}, NULL};
	if (!command || command->run == help_command)
		return command ? help_command(1, argv) : 2;
	return command->run(2, words);
}

int main(int argc, char **argv)
{
	if (argc < 1 || !guise_take(&argc, &argv))
		return 2;
	// Global options may stand before the command word: they move behind it.
	int globals = flags_count_global(argc - 1, argv + 1);
	char **words = argv + 1 + globals;
	const char *word = words[0];
	if (word && (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0))
		word = "version";
	if (word && (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0))
		word = "help";
	if (!word)
		print_help(stderr);
	const struct command *command = word ? find_command(word) : NULL;
	if (!command)
		return 2;
	if (!command->is_configured)
		return flags_apply_global(globals, argv + 1, word, stderr) ? command->run(argc - 1 - globals, words) : 2;
	memmove(argv + 2, argv + 1, (size_t)globals * sizeof *argv);
	argv[1] = (char *)word;
	return command->run(argc - 1, argv + 1);
}
