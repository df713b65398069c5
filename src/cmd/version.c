#include "cmd/version.h"

#include "crypto/digest.h"

#include <string.h>

#ifndef QANAT_VERSION
#define QANAT_VERSION "unknown"
#endif
#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

void version_print(FILE *out)
{
	fprintf(out, "qanat " QANAT_VERSION "\ncompiler: " COMPILER "\nlibrary: %s\n", digest_library());
}

int version_command(int argc, char **argv)
{
	if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
		fputs("usage: qanat version\n\nSays which build this is: version, compiler, cryptographic library.\n", stdout);
		return 0;
	}
	if (argc > 1) {
		fprintf(stderr, "version: %s: unexpected argument\n", argv[1]);
		return 2;
	}
	version_print(stdout);
	return 0;
}
