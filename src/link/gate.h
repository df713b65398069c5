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
// The same in two steps, for a reload of which another part may fail in between: a copy (to be freed; NULL: no memory),
// and what takes it and cannot fail.
struct cidr *gate_copy_sources(const struct cidr *sources, size_t count);
void gate_take_sources(struct gate *gate, struct cidr **copy, size_t count);
void gate_free(struct gate **gate);
// Counted when it says no.
bool gate_allows_source(struct gate *gate, const struct sockaddr *address);

// Who finds no place may wait for one, in a line that the caller keeps (link/responder_line); nobody overtakes those in
// it, but those whose address has its share of the places already. The rate of an address counts for a place in the
// line as well. Counted, unless it is let in at once.
enum gate_line { GATE_LINE_EMPTY, GATE_LINE_BEGUN, GATE_LINE_FULL };
enum { GATE_IN = 0, GATE_LATER = 1, GATE_REFUSED = 2, GATE_SHARE = 3 };
MUST_USE int gate_enter(struct gate *gate, const struct sockaddr *address, enum gate_line line, uint64_t now_ms);
// The next one of a line: GATE_IN; GATE_LATER, there is no place yet; GATE_SHARE, there is none for this address.
MUST_USE int gate_let_in(struct gate *gate, const struct sockaddr *address, uint64_t now_ms);
void gate_leave(struct gate *gate, const struct sockaddr *address);
