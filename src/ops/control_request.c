#include "ops/control_request.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"status", "reload", "drain", "version"};
_Static_assert(COUNT_OF(names) == CONTROL_REQUEST_COUNT, "a name for each request");

const char *control_request_name(enum control_request request)
{
	return names[request];
}

static int judge(const json_t *line, enum control_request *request, char problem[CONTROL_REQUEST_PROBLEM_BYTES])
{
	const char *command = json_string_value(json_object_get(line, "command"));
	if (!command || json_object_size(line) != 1) {
		snprintf(problem, CONTROL_REQUEST_PROBLEM_BYTES, "a request is {\"command\":\"...\"} and nothing else");
		return CONTROL_REQUEST_BAD;
	}
	for (unsigned i = 0; i < COUNT_OF(names); i++) {
		if (strcmp(command, names[i]) == 0) {
			*request = (enum control_request)i;
			return 0;
		}
	}
	snprintf(problem, CONTROL_REQUEST_PROBLEM_BYTES, "unknown command; there are status, reload, drain and version");
	return CONTROL_REQUEST_BAD;
}

int control_request_parse(const char *line, size_t length, enum control_request *request,
                          char problem[CONTROL_REQUEST_PROBLEM_BYTES])
{
	json_error_t error;
	// Hostile: a key written twice could mean one thing here and another to whoever reads along.
	json_t *read = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
	if (!read) {
		snprintf(problem, CONTROL_REQUEST_PROBLEM_BYTES, "the request is not a line of JSON");
		return CONTROL_REQUEST_BAD;
	}
	int r = judge(read, request, problem);
	json_decref(read);
	return r;
}
