// Whether a tunnel device could be opened. Nothing is made. For `qanat doctor`.

#pragma once

#include "core/finding.h"

void tun_probe(struct findings *findings);
