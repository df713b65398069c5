// Admission for all workers of a process: policy/admission behind a lock, and which addresses may come at all.

#pragma once

#include "core/outcome.h"
#include "policy/admission.h"
#include "policy/cidr.h"

#include <stdbool.h>

struct gate;
// The list is copied.
MUST_USE int gate_new(const struct admission_limits *limits, const struct cidr *sources, size_t count,
                      struct gate **gate);
// Another list of sources. Negative: no memory, the old one stays.
MUST_USE int gate_set_sources(struct gate *gate, const struct cidr *sources, size_t count);
void gate_free(struct gate **gate);
// Counted when it says no.
bool gate_allows_source(struct gate *gate, const struct sockaddr *address);
bool gate_enter(struct gate *gate, const struct sockaddr *address, uint64_t now_ms);
void gate_leave(struct gate *gate);
