// `qanat reload`: has a running node read its configuration anew, and says what came of it.

#pragma once

int reload_command(int argc, char **argv);
