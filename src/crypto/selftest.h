// Whether the cryptography of this build works on this machine: every algorithm is really used, forth and back, and
// must notice one flipped bit. For `qanat doctor`.

#pragma once

#include "core/finding.h"

// Which library is loaded, which one this was built with, and oqs-provider when there is one.
void selftest_library(struct findings *findings);
// X25519, ML-KEM-768, Classic McEliece 460896. Needs secret_start.
void selftest_kems(struct findings *findings);
// ECDSA P-256, Ed25519, ML-DSA-65, ML-DSA-87.
void selftest_signatures(struct findings *findings);
