// Renews a node's certificate before it ends, against the CA of its own: asks when it is time, waits for the answer,
// has it verified and put in its place (crypto/renewal), and tells the owner to take it into use. What fails is tried
// again, later and later, never all nodes at once.
//
// On worker 0's loop. Making a key and writing files takes milliseconds there, once in a life of a certificate.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"
#include "crypto/renewal.h"
#include "ops/status.h"
#include "policy/span.h"

#include <stdbool.h>
#include <stdint.h>

enum renewer_method { RENEWER_OFF, RENEWER_DROP, RENEWER_LINK };

struct renewer_settings {
	enum renewer_method method;
	struct renewal_files files; // copied, as all texts
	const char *folder, *name;  // RENEWER_DROP
	const char *endpoint;       // RENEWER_LINK: "127.0.0.1:7001", "unix:/path"
	struct span before;         // the end; a share is of the whole life
	uint64_t retry_s, retry_max_s;
	int64_t from, until; // of the certificate in use, Unix seconds
};

struct renewer;
// The files have been replaced: take them into use. False: that failed, and is asked for again later.
typedef bool (*renewer_fn)(void *owner);
MUST_USE int renewer_open(struct loop *loop, renewer_fn on_renewed, void *owner, struct renewer **renewer);
void renewer_close(struct renewer **renewer);
// With every configuration that comes into force. An exchange that is under way begins again when it is still due; its
// pending key stays.
MUST_USE int renewer_set(struct renewer *renewer, const struct renewer_settings *settings);
// From any thread.
void renewer_show(struct renewer *renewer, struct status_renewal *renewal);
