// `qanat devices` and `qanat kick`: a running hub's devices, over its control socket.

#pragma once

int devices_command(int argc, char **argv);
int kick_command(int argc, char **argv);
