// Warns of certificates and revocation lists before they end: a line in the log when each threshold is crossed and then
// once a day, and what /status, /metrics and /health say. For every owner that holds an identity.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "crypto/lifetime.h"
#include "ops/status.h"

#include <stdint.h>

// Before the end. For what lives so short that a quarter of its life is less than `notice_s`, all three shrink in
// proportion, so that a renewal at a third of the life (the default) still comes first.
struct expiry_thresholds {
	uint64_t notice_s, warning_s, urgent_s; // notice >= warning >= urgent, none 0
};

enum expiry_stage { EXPIRY_FINE, EXPIRY_NOTICE, EXPIRY_WARNING, EXPIRY_URGENT, EXPIRY_OVER };
// "valid", "expires soon", "expires very soon", "about to expire", "expired".
const char *expiry_stage_name(enum expiry_stage stage);
enum expiry_stage expiry_judge(const struct expiry_thresholds *thresholds, const struct lifetime *lifetime,
                               int64_t now);
// When the next stage begins; 0: there is none.
int64_t expiry_next(const struct expiry_thresholds *thresholds, const struct lifetime *lifetime, int64_t now);

struct expiry;
MUST_USE int expiry_open(struct loop *loop, struct expiry **expiry);
void expiry_close(struct expiry **expiry);
// What is watched from now on, copied; at most LIMIT_LIFETIMES are. Lines that are due are written at once; what was
// watched before under the same role, subject and end is not said again.
void expiry_set(struct expiry *expiry, const struct expiry_thresholds *thresholds, const struct lifetime *lifetimes,
                size_t count);
// Adds the list to a status; a healthy one becomes "Degraded", and says why, when something is about to expire or has.
// From any thread.
void expiry_show(struct expiry *expiry, struct status_node *status);
