// What [hub] needs beyond the table.

#pragma once

#include "config/load.h"

void validate_hub(struct load *load);
