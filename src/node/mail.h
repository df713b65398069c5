// Letters between a node's workers: a copy of some contents that is opened on another loop's thread. Order from one
// sender to one receiver is kept.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>

// Larger contents are passed by reference.
#define MAIL_BYTES 512

// On the receiver's thread; the contents are lent.
typedef void (*mail_fn)(void *contents);

// Opens it at once when `to` runs on this thread. False: no memory, nothing was sent and the contents are still the
// caller's.
MUST_USE bool mail_send(struct loop *to, mail_fn open, const void *contents, size_t size);
// For what must not get lost (a link to cut, keys to drop): a process without memory for that ends, with a message.
void mail_send_surely(struct loop *to, mail_fn open, const void *contents, size_t size);
