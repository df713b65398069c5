#include "cmd/version.h"

#include "crypto/digest.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The Makefile has tools/built write these into a header that is included before this file.
#ifndef BUILT_BRANCH
#define BUILT_BRANCH "unknown"
#define BUILT_COMMIT ""
#define BUILT_AT "unknown"
#define BUILT_ON ""
#endif
#ifndef QANAT_VERSION
#define QANAT_VERSION "unknown"
#endif
#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static const char usage[] =
	"usage: qanat version [--json]\n\n"
	"Says which build this is: version; branch, commit, time and host of the build; compiler; cryptographic library.\n\n"
	"  --json  the same as JSON\n";

static void print_text(void)
{
	static const char host[] = BUILT_ON;
	static const char commit[] = BUILT_COMMIT;
	printf("qanat " QANAT_VERSION "\nbuilt: %s%s from " BUILT_BRANCH "%s%s, " BUILT_AT "\n",
	       *host ? "on " : "reproducibly", host, *commit ? " " : "", commit);
	printf("compiler: " COMPILER "\nlibrary: %s\n", digest_library());
}

static bool print_json(void)
{
	json_t *answer = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "version", QANAT_VERSION, "branch", BUILT_BRANCH,
	                           "commit", BUILT_COMMIT, "built_at", BUILT_AT, "built_on", BUILT_ON, "compiler", COMPILER,
	                           "library", digest_library());
	bool done = answer && json_dumpf(answer, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF;
	json_decref(answer);
	return done;
}

int version_command(int argc, char **argv)
{
	bool is_json = false;
	for (int at = 1; at < argc; at++) {
		if (strcmp(argv[at], "-h") == 0 || strcmp(argv[at], "--help") == 0) {
			fputs(usage, stdout);
			return 0;
		}
		if (strcmp(argv[at], "--json") == 0) {
			is_json = true;
			continue;
		}
		fprintf(stderr, "version: %s: unexpected argument\n", argv[at]);
		return 2;
	}
	if (is_json)
		return print_json() ? 0 : 1;
	print_text();
	return 0;
}
