// What [psk] needs beyond the table: one key from one place, addresses, defaults that depend on the side.

#pragma once

#include "config/load.h"

void validate_psk_complete(struct load *load);
void validate_psk(struct load *load);
