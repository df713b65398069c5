// What [vpn] needs beyond the table: the seed's file names, one way to name the peer, addresses.

#pragma once

#include "config/load.h"

void validate_vpn_complete(struct load *load);
void validate_vpn(struct load *load);
// Of a server: who its clients are and what they get. In a file of its own.
void validate_vpn_clients(struct load *load);
