#include "cmd/doctor.h"

#include "cmd/doctor_internal.h"
#include "config/flags.h"
#include "core/outcome.h"
#include "core/secret.h"
#include "crypto/selftest.h"
#include "edge/tun_probe.h"
#include "net/socket_probe.h"
#include "node/process_probe.h"
#include "node/sandbox_probe.h"
#include "wire/tls_probe.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { DOCTOR_GOOD = 0, DOCTOR_ERRORS = 1, DOCTOR_USAGE = 2 };

static const char usage[] =
	"usage: qanat doctor [-c FILE] [--json]\n"
	"       qanat check-environment [-c FILE] [--json]\n"
	"\n"
	"Looks at this machine: library and algorithms (each is really used, and must notice a flipped bit), TLS groups and\n"
	"signatures (a handshake with each), sockets, limits, capabilities, clock, what a process could be confined with.\n"
	"Changes nothing and sends nothing beyond loopback.\n"
	"\n"
	"  -c, --config FILE  also its certificates, keys and revocation lists, for source, dest and proxy\n"
	"  --json             for programs\n"
	"\n"
	"ok is as it should be, note is worth knowing, warning is less well or less safe than it could be, error does not\n"
	"work. Exit status: 0, 1 when there are errors, 2 wrong command line.\n";

// In the order they are told.
static void (*const probes[])(struct findings *findings) = {
	selftest_library, selftest_kems,        selftest_signatures,        tls_probe,           socket_probe,
	tun_probe,        process_probe_limits, process_probe_capabilities, process_probe_clock, sandbox_probe,
};

struct doctor {
	const char *config;
	bool is_json, is_help;
};

static int usage_error(const char *what, const char *detail)
{
	fprintf(stderr, "qanat doctor: %s%s\nTry: qanat doctor --help\n", what, detail);
	return DOCTOR_USAGE;
}

static int read_words(int argc, char **argv, struct doctor *doctor)
{
	for (int at = 1; at < argc; at++) {
		const char *word = argv[at];
		if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
			doctor->is_help = true;
		else if (strcmp(word, "--json") == 0)
			doctor->is_json = true;
		else if (strncmp(word, "--log-", 6) == 0) {
			int count = strchr(word, '=') || at + 1 == argc ? 1 : 2;
			if (!flags_apply_global(count, argv + at, "doctor", stderr))
				return DOCTOR_USAGE;
			at += count - 1;
		} else if (strncmp(word, "--config=", 9) == 0)
			doctor->config = word + 9;
		else if (strcmp(word, "-c") != 0 && strcmp(word, "--config") != 0)
			return usage_error(word[0] == '-' ? "unknown flag " : "one argument too many: ", word);
		else if (at + 1 == argc)
			return usage_error("no value after ", word);
		else
			doctor->config = argv[++at];
	}
	return 0;
}

int doctor_command(int argc, char **argv)
{
	struct doctor doctor = {0};
	struct findings findings = {0};
	int status = read_words(argc, argv, &doctor);

	if (status != 0 || doctor.is_help) {
		fputs(doctor.is_help && status == 0 ? usage : "", stdout);
		return status;
	}
	int result = secret_start();
	if (result < 0)
		finding_add(&findings, FINDING_ERROR, "locked memory", "free memory, or raise its limits",
		            "no memory for keys: %s", outcome_text(result));
	for (size_t i = 0; result == 0 && i < COUNT_OF(probes); i++)
		probes[i](&findings);
	if (doctor.config)
		doctor_files(doctor.config, &findings);
	if (doctor.is_json)
		doctor_report_json(&findings);
	else
		doctor_report_text(&findings);
	status = finding_worst(&findings) == FINDING_ERROR ? DOCTOR_ERRORS : DOCTOR_GOOD;
	finding_fini(&findings);
	if (fflush(stdout) != 0)
		return usage_error("the result cannot be written", "");
	return status;
}
