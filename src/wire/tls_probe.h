// Which key agreement groups and certificate signatures TLS 1.3 can really use here: a handshake with each, in memory.
// For `qanat doctor`.

#pragma once

#include "core/finding.h"

void tls_probe(struct findings *findings);
