// Counts how TLS handshakes failed, by reason, for both sides of a link.

#pragma once

#include "wire/tls_conn.h"

void verdict_count(enum tls_failure failure);
