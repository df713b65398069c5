// `qanat cert`: a small CA. Makes, shows and verifies certificates; the flags are those of the seed's tool and --key,
// --force and --json.

#pragma once

// argv[0] is "cert". The exit status: 0 done, 1 failed or refused with the reason on standard error, 2 wrong usage.
int cert_command(int argc, char **argv);
