#include "fleet/naming.h"

#include <string.h>

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool naming_is_good(const char *name)
{
	size_t length = strnlen(name, LIMIT_DEVICE_NAME_BYTES + 1);
	if (length > LIMIT_DEVICE_NAME_BYTES || !is_letter_or_digit(name[0]))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!is_letter_or_digit(name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

struct rule {
	enum identity_name_kind kind;
	const char *before, *after;
	size_t before_length, after_length;
};

static const char *const prefixes[] = {
	[IDENTITY_COMMON_NAME] = "CN=", [IDENTITY_DNS] = "DNS:", [IDENTITY_URI] = "URI:"};

static const char *read_rule(const char *text, struct rule *rule)
{
	unsigned kind = 0;
	while (kind < COUNT_OF(prefixes) && strncmp(text, prefixes[kind], strlen(prefixes[kind])) != 0)
		kind++;
	if (kind == COUNT_OF(prefixes))
		return "a rule begins with \"CN=\", \"DNS:\" or \"URI:\"";
	rule->kind = (enum identity_name_kind)kind;
	rule->before = text + strlen(prefixes[kind]);
	const char *star = strchr(rule->before, '*');
	if (!star || strchr(star + 1, '*'))
		return "a rule has one '*', where the device's name is";
	rule->before_length = (size_t)(star - rule->before);
	rule->after = star + 1;
	rule->after_length = strlen(rule->after);
	return NULL;
}

const char *naming_rule_problem(const char *text)
{
	struct rule rule;
	return read_rule(text, &rule);
}

int naming_apply(const char *text, enum identity_name_kind kind, const char *value, char name[NAMING_BYTES])
{
	struct rule rule;
	size_t length = strlen(value);
	char found[NAMING_BYTES];
	if (read_rule(text, &rule) || rule.kind != kind || length <= rule.before_length + rule.after_length ||
	    length - rule.before_length - rule.after_length > LIMIT_DEVICE_NAME_BYTES)
		return NAMING_NONE;
	size_t end = length - rule.after_length;
	if (memcmp(value, rule.before, rule.before_length) != 0 || memcmp(value + end, rule.after, rule.after_length) != 0)
		return NAMING_NONE;
	memcpy(found, value + rule.before_length, end - rule.before_length);
	found[end - rule.before_length] = '\0';
	// Hostile: a CA that signs any text must not make paths of it.
	if (!naming_is_good(found))
		return NAMING_NONE;
	memcpy(name, found, sizeof found);
	return 0;
}

struct search {
	const char *rule, *claimed;
	char *name;
	unsigned found;
	bool is_claimed;
};

static bool on_name(void *owner, enum identity_name_kind kind, const char *value)
{
	struct search *search = owner;
	char name[NAMING_BYTES];
	if (naming_apply(search->rule, kind, value, name) != 0)
		return true;
	search->is_claimed = strcmp(name, search->claimed) == 0;
	if (search->found > 0 && strcmp(name, search->name) == 0)
		return true;
	search->found++;
	memcpy(search->name, name, sizeof name);
	return !search->is_claimed;
}

int naming_find(X509 *certificate, const char *const *rules, size_t count, const char *claimed, char name[NAMING_BYTES])
{
	char found[NAMING_BYTES] = "";
	struct search search = {.claimed = claimed, .name = found};
	for (size_t i = 0; i < count && search.found == 0; i++) {
		search.rule = rules[i];
		identity_visit_names(certificate, on_name, &search);
	}
	if (search.found == 0)
		return NAMING_NONE;
	memcpy(name, found, sizeof found);
	if (search.is_claimed)
		return 0;
	if (*claimed)
		return NAMING_OTHER;
	return search.found > 1 ? NAMING_SEVERAL : 0;
}
