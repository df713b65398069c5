// `qanat proxy`: TLS in front of software that speaks plainly, as a server or as a client.

#pragma once

// argv[0] is the command word, so config_load gets argc - 1 and argv + 1. Returns the exit status: 0 stopped as asked,
// 1 failure while running, 2 wrong command line or configuration.
int proxy_command(int argc, char **argv);
