// `qanat vpn server|client`: a layer-3 tunnel over TLS with certificates. Started as rust-vpn it takes that program's
// words: tcpserver and tcpclient.

#pragma once

// argv[0] is the command word. Returns the exit status: 0 stopped as asked, 1 failure while running, 2 wrong command
// line or configuration.
int vpn_command(int argc, char **argv);
