// What [agent] needs beyond the table: a hub, services with targets, names that the hub can make sockets of.

#pragma once

#include "config/load.h"

void validate_agent_complete(struct load *load);
void validate_agent(struct load *load);
// Letters, digits, '.', '_' and '-', the first a letter or a digit: what a file name can be made of anywhere.
bool validate_is_device_name(const char *name);
