// `qanat cert serve`, shared by the cert_serve*.c files.

#pragma once

#include "core/loop.h"
#include "crypto/answer.h"
#include "crypto/drop.h"

// The line about a renewal; `from` says where it was asked for.
void cert_serve_log(const char *from, const struct answer_news *news);

// Requests over connections. `policy` is lent until it is closed; what is wrong has been logged.
struct cert_serve_link;
MUST_USE int cert_serve_link_open(struct loop *loop, const char *listen, bool wants_header,
                                  const struct answer_policy *policy, struct cert_serve_link **link);
void cert_serve_link_close(struct cert_serve_link **link); // harmless on NULL
