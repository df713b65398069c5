// `qanat health`: a probe for containers and supervisors.

#pragma once

int health_command(int argc, char **argv);
