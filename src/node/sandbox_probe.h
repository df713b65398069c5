// What a process could be confined with here. Nothing is confined. For `qanat doctor`.

#pragma once

#include "core/finding.h"

void sandbox_probe(struct findings *findings);
