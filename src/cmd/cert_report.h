// What `qanat cert` says about certificates, as text or as JSON, on standard output. Never a key.

#pragma once

#include "crypto/inspect.h"

#include <stdbool.h>
#include <stddef.h>

void cert_report_issued(const char *cert_path, const char *key_path, const struct inspect_details *details);
void cert_report_list(const struct inspect_details *list, size_t count, bool json);
// True when everything passed.
bool cert_report_verdict(const struct inspect_question *question, const struct inspect_verdict *verdict, bool json);
// A file that could not be used, as JSON.
void cert_report_problem(const char *problem);
