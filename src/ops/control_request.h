// What somebody on the control socket asks for: one line of JSON, {"command":"status"}; devices and kick have a
// "device" as well. Pure.

#pragma once

#include "core/outcome.h"

#include <stddef.h>

enum control_request {
	CONTROL_REQUEST_STATUS,
	CONTROL_REQUEST_RELOAD,
	CONTROL_REQUEST_DRAIN,
	CONTROL_REQUEST_VERSION,
	CONTROL_REQUEST_DEVICES, // of a hub
	CONTROL_REQUEST_KICK,    // of a hub
	CONTROL_REQUEST_COUNT
};

#define CONTROL_REQUEST_PROBLEM_BYTES 96

const char *control_request_name(enum control_request request);
// The line without its end. CONTROL_REQUEST_BAD: `problem` says why, in printable ASCII.
enum { CONTROL_REQUEST_BAD = 1 };
// `device` is "" when the request has none.
#define CONTROL_REQUEST_DEVICE_BYTES 65
MUST_USE int control_request_parse(const char *line, size_t length, enum control_request *request,
                                   char device[CONTROL_REQUEST_DEVICE_BYTES],
                                   char problem[CONTROL_REQUEST_PROBLEM_BYTES]);
