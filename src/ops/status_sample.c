#include "ops/status_sample.h"

#include "ops/status_text.h"

#define LABEL_BYTES 128

void sample_family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

// Hostile: a label's value may come from a peer, and a quote or a newline in it could make up samples.
void sample_label(FILE *out, const char *before, const char *name, const char *value)
{
	char shown[LABEL_BYTES + 1];
	status_text(value, shown, sizeof shown);
	fprintf(out, "%s%s=\"", before, name);
	for (const char *at = shown; *at; at++) {
		if (*at == '\\' || *at == '"')
			putc('\\', out);
		putc(*at, out);
	}
	putc('"', out);
}
