#include "cmd/health_answer.h"

#include <jansson.h>
#include <string.h>

static bool read_code(const char *bytes, size_t length, unsigned *code)
{
	static const char head[] = "HTTP/1.";
	const char *digits = bytes + sizeof head - 1 + 2;
	if (length < sizeof head - 1 + 6 || memcmp(bytes, head, sizeof head - 1) != 0 || digits[-1] != ' ')
		return false;
	*code = 0;
	for (unsigned i = 0; i < 3; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return false;
		*code = 10 * *code + (unsigned)(digits[i] - '0');
	}
	return true;
}

// Hostile: whatever answers on that port ends up on a terminal.
static void keep(const json_t *value, char out[HEALTH_TEXT_BYTES])
{
	const char *text = json_string_value(value);
	size_t at = 0;
	for (; text && *text && at < HEALTH_TEXT_BYTES - 1; text++)
		out[at++] = *text < 0x20 || *text > 0x7e ? '?' : *text;
	out[at] = '\0';
}

int health_answer_read(const char *bytes, size_t length, struct health_answer *answer)
{
	*answer = (struct health_answer){0};
	if (!read_code(bytes, length, &answer->code))
		return HEALTH_ANSWER_BAD;
	const char *body = memmem(bytes, length, "\r\n\r\n", 4);
	if (!body)
		return HEALTH_ANSWER_BAD;
	body += 4;
	json_t *read = json_loadb(body, length - (size_t)(body - bytes), 0, NULL);
	if (!json_is_object(read)) {
		json_decref(read);
		return HEALTH_ANSWER_BAD;
	}
	keep(json_object_get(read, "status"), answer->status);
	keep(json_object_get(read, "message"), answer->message);
	json_decref(read);
	answer->passed = answer->code == 200 &&
	                 (strcmp(answer->status, "Healthy") == 0 || strcmp(answer->status, "Degraded") == 0);
	return 0;
}
