// What [expiry] and [renewal] must fulfil beyond single values.

#pragma once

#include "config/load.h"

void validate_life(struct load *load);
