// `qanat status`: what a running node does, for people.

#pragma once

int status_command(int argc, char **argv);
