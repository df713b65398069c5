// What makes a device's name: a claimed name, and one value of a stranger's certificate by a rule. "RULE\nVALUE"
// without the end of a string. Whatever comes out is a name, leads nowhere but into the folder, and is a part of the
// value.

#include "fleet/naming.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const char *name)
{
	size_t length = strnlen(name, NAMING_BYTES);
	assert(length > 0 && length <= LIMIT_DEVICE_NAME_BYTES);
	assert(!strchr(name, '/') && name[0] != '.' && name[0] != '-');
	for (size_t i = 0; i < length; i++)
		assert(name[i] > ' ' && name[i] <= '~');
}

static void apply(const char *rule, const char *value)
{
	for (enum identity_name_kind kind = 0; kind <= IDENTITY_URI; kind++) {
		char name[NAMING_BYTES] = "untouched";
		if (naming_apply(rule, kind, value, name) != 0) {
			assert(strcmp(name, "untouched") == 0);
			continue;
		}
		check_name(name);
		assert(naming_is_good(name) && strstr(value, name));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (naming_is_good(text))
		check_name(text);
	char *value = strchr(text, '\n');
	if (value)
		*value++ = '\0';
	// Rules come from the hub's own configuration, which takes good ones only.
	if (value && !naming_rule_problem(text))
		apply(text, value);
	free(text);
	return 0;
}
