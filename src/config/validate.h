// What one value alone cannot show: missing, double and contradicting settings.

#pragma once

#include "config/load.h"

// Fills in the defaults that depend on other settings, then adds to load->problems and load->notes.
void validate_complete(struct load *load);
void validate(struct load *load);
