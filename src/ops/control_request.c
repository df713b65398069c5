#include "ops/control_request.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"status", "reload", "drain", "version", "devices", "kick"};
_Static_assert(COUNT_OF(names) == CONTROL_REQUEST_COUNT, "a name for each request");

const char *control_request_name(enum control_request request)
{
	return names[request];
}

static int find(const char *command, enum control_request *request)
{
	for (unsigned i = 0; i < COUNT_OF(names); i++) {
		if (strcmp(command, names[i]) == 0) {
			*request = (enum control_request)i;
			return 0;
		}
	}
	return CONTROL_REQUEST_BAD;
}

static int refuse(char problem[CONTROL_REQUEST_PROBLEM_BYTES], const char *why)
{
	snprintf(problem, CONTROL_REQUEST_PROBLEM_BYTES, "%s", why);
	return CONTROL_REQUEST_BAD;
}

static int judge(const json_t *line, enum control_request *request, char device[CONTROL_REQUEST_DEVICE_BYTES],
                 char problem[CONTROL_REQUEST_PROBLEM_BYTES])
{
	const char *command = json_string_value(json_object_get(line, "command"));
	const json_t *named = json_object_get(line, "device");
	enum control_request found;
	if (!command || json_object_size(line) != (named ? 2 : 1))
		return refuse(problem, "a request is {\"command\":\"...\"} and nothing else");
	if (find(command, &found) != 0)
		return refuse(problem, "unknown command; there are status, reload, drain, version, devices and kick");
	const char *name = named ? json_string_value(named) : "";
	bool may_name = found == CONTROL_REQUEST_DEVICES || found == CONTROL_REQUEST_KICK;
	if (!name || strlen(name) >= CONTROL_REQUEST_DEVICE_BYTES || (named && !may_name) ||
	    (found == CONTROL_REQUEST_KICK && !*name))
		return refuse(problem, "\"device\" is the name of a device; kick needs it, devices may have it");
	snprintf(device, CONTROL_REQUEST_DEVICE_BYTES, "%s", name);
	*request = found;
	return 0;
}

int control_request_parse(const char *line, size_t length, enum control_request *request,
                          char device[CONTROL_REQUEST_DEVICE_BYTES], char problem[CONTROL_REQUEST_PROBLEM_BYTES])
{
	json_error_t error;
	// Hostile: a key written twice could mean one thing here and another to whoever reads along.
	json_t *read = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
	if (!read) {
		snprintf(problem, CONTROL_REQUEST_PROBLEM_BYTES, "the request is not a line of JSON");
		return CONTROL_REQUEST_BAD;
	}
	int r = judge(read, request, device, problem);
	json_decref(read);
	return r;
}
