// `qanat psk server`, `qanat psk client`, `qanat psk genkey`: a layer-3 tunnel with a pre-shared key, on the wire of
// ttun.

#pragma once

// argv[0] is "psk". Exit status: 0 stopped as asked, 1 failure, 2 wrong command line or configuration.
int psk_command(int argc, char **argv);
