// What this process may use of the machine: limits, capabilities, clock. For `qanat doctor`.

#pragma once

#include "core/finding.h"

void process_probe_limits(struct findings *findings);
void process_probe_capabilities(struct findings *findings);
void process_probe_clock(struct findings *findings);
