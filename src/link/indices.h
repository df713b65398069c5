// Which one-time PSK indices of an epoch have been burnt. A bitmap over LIMIT_EPOCH_INDICES bits that grows on demand,
// so an idle device costs nothing. Pure; the owner holds a lock.

#pragma once

#include "core/outcome.h"

#include <stdint.h>

struct indices {
	uint64_t **pages;    // NULL until first used; pages of 64 bytes
	uint32_t page_count; // room in `pages`, which grows as far as the highest index asks for
	uint32_t burnt;
};

enum { INDICES_USED = 1, INDICES_OUT_OF_RANGE = 2 };
// Burns the index: 0 exactly once for each index below LIMIT_EPOCH_INDICES. Negative: no memory (not burnt).
MUST_USE int indices_burn(struct indices *indices, uint64_t index);
uint32_t indices_burnt(const struct indices *indices);
void indices_fini(struct indices *indices);
