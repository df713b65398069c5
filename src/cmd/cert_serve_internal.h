// `qanat cert serve`, shared by the cert_serve*.c files.

#pragma once

#include "crypto/answer.h"
#include "crypto/drop.h"

// The line about a renewal; `from` says where it was asked for.
void cert_serve_log(const char *from, const struct answer_news *news);
