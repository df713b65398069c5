// The return convention of the whole program.
//
// A function that cannot fail returns void, a bool that answers a question, or its value. Everything else returns int
// and is MUST_USE:
//   0         done;
//   negative  this object cannot go on: a negated errno value. It is passed up unchanged and never matched on, only
//             logged (outcome_text) where the decision is taken;
//   positive  a named outcome of the header that declares the function, which the direct caller handles.
// A stranger's bytes cause outcomes, our own mistakes are assertions, the kernel's refusals are negatives.

#pragma once

#include <stddef.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

// The object that embeds `field` at `pointer`.
#define CONTAINER_OF(pointer, type, field) ((type *)(void *)&((char *)(pointer))[-(ptrdiff_t)offsetof(type, field)])

// A short text for a negative return value ("connection refused"). Never NULL; the storage is static or thread-local.
const char *outcome_text(int negative);
