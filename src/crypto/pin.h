// Pins: SHA-256 of a certificate's SubjectPublicKeyInfo, which stays the same when the key is certified anew.

#pragma once

#include "core/outcome.h"

#include <openssl/types.h>
#include <stddef.h>
#include <stdint.h>

#define PIN_BYTES 32

// Reads 64 hexadecimal digits (with or without colons), or "sha256//" and base64 as curl has it. 1: `problem` says what
// is wrong with it.
enum { PIN_REFUSED = 1 };
#define PIN_PROBLEM_BYTES 160
MUST_USE int pin_parse(const char *text, uint8_t pin[PIN_BYTES], char problem[PIN_PROBLEM_BYTES]);
// Negative when the key cannot be encoded.
MUST_USE int pin_of(X509 *certificate, uint8_t pin[PIN_BYTES]);
