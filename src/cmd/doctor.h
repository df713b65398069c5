// `qanat doctor`, also `qanat check-environment`: a look at this machine and, with -c, at the files of a configuration.

#pragma once

int doctor_command(int argc, char **argv);
