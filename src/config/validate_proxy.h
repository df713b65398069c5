// What [proxy] needs beyond the table: what production demands, addresses, certificates in pairs, what one mode alone
// knows.

#pragma once

#include "config/load.h"

void validate_proxy_complete(struct load *load);
void validate_proxy(struct load *load);
