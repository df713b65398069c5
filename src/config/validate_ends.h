// Where a proxy listens and where it dials to: shapes, doubles, loops, names of routes.

#pragma once

#include "config/load.h"

void validate_ends(struct load *load);
