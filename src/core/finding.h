// What a look at this machine found: facts with a severity, for people. Probes in the rooms that know the subject add
// them; `qanat doctor` prints them.

#pragma once

#include "core/outcome.h"

#include <stddef.h>

// OK: as it should be. NOTE: worth knowing, nothing to do. WARNING: it runs, but not as well or as safely as it could.
// ERROR: something that was asked for does not work.
enum finding_severity { FINDING_OK, FINDING_NOTE, FINDING_WARNING, FINDING_ERROR };
// "ok", "note", "warning", "error".
const char *finding_severity_name(enum finding_severity severity);

struct finding {
	enum finding_severity severity;
	const char *subject; // static: "ML-KEM-768"
	char text[640];
	char advice[320]; // what to do; "" when nothing
};

// The null value is an empty list.
struct findings {
	struct finding *items;
	size_t count;
};

// `advice` may be NULL. Too long texts are cut. Lack of memory ends the process with a message: nothing but this list
// is being made.
void finding_add(struct findings *findings, enum finding_severity severity, const char *subject, const char *advice,
                 const char *format, ...) PRINTF_LIKE(5, 6);
// The worst of them; OK when there are none.
enum finding_severity finding_worst(const struct findings *findings);
void finding_fini(struct findings *findings);
