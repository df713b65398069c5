// `qanat hub`: devices link with it, and each appears as a Unix socket.

#pragma once

// As dest_command (cmd/dest.h). Takes -4 and -6 beside its flags.
int hub_command(int argc, char **argv);
