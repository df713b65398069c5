// `qanat agent`: on a device, keeps a link with a hub and lets it reach the services named in the configuration.

#pragma once

// argv[0] is the command word. Exit status.
int agent_command(int argc, char **argv);
