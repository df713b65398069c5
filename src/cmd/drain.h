// `qanat drain`: has a running node finish its flows and stop.

#pragma once

int drain_command(int argc, char **argv);
