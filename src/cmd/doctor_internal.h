// The parts of `qanat doctor` among themselves.

#pragma once

#include "core/finding.h"

#include <stdio.h>

// The configuration at `path` and the certificates, keys and revocation lists that its source and dest name.
void doctor_files(const char *path, struct findings *findings);

// Both to standard output.
void doctor_report_text(const struct findings *findings);
void doctor_report_json(const struct findings *findings);
