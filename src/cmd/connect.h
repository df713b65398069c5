// `qanat connect NAME[:SERVICE]`: standard input and output joined to a device's socket, for ssh's ProxyCommand.

#pragma once

int connect_command(int argc, char **argv);
