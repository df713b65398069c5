#include "core/finding.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const names[] = {
	[FINDING_OK] = "ok",
	[FINDING_NOTE] = "note",
	[FINDING_WARNING] = "warning",
	[FINDING_ERROR] = "error",
};
_Static_assert(COUNT_OF(names) == FINDING_ERROR + 1, "a name for every severity");

const char *finding_severity_name(enum finding_severity severity)
{
	return names[severity];
}

void finding_add(struct findings *findings, enum finding_severity severity, const char *subject, const char *advice,
                 const char *format, ...)
{
	struct finding *grown = reallocarray(findings->items, findings->count + 1, sizeof *grown);
	va_list arguments;

	if (!grown) {
		fputs("qanat: out of memory\n", stderr);
		abort();
	}
	findings->items = grown;
	struct finding *finding = &grown[findings->count++];
	*finding = (struct finding){.severity = severity, .subject = subject};
	snprintf(finding->advice, sizeof finding->advice, "%s", advice ? advice : "");
	va_start(arguments, format);
	vsnprintf(finding->text, sizeof finding->text, format, arguments);
	va_end(arguments);
}

enum finding_severity finding_worst(const struct findings *findings)
{
	enum finding_severity worst = FINDING_OK;

	for (size_t i = 0; i < findings->count; i++)
		if (findings->items[i].severity > worst)
			worst = findings->items[i].severity;
	return worst;
}

void finding_fini(struct findings *findings)
{
	free(findings->items);
	*findings = (struct findings){0};
}
