#include "cmd/version.h"

#include "crypto/digest.h"

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
	if (argc > 1) {
		fprintf(stderr, "version: %s: unexpected argument\n", argv[1]);
		return 2;
	}
	version_print(stdout);
	return 0;
}
