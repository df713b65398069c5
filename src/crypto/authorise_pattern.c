// One pattern of an allow-list: its form, and what it matches. Pure.

#include "crypto/authorise_internal.h"

#include "policy/pattern.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

PRINTF_LIKE(3, 4)
static int refuse(const char *text, char problem[AUTHORISE_PROBLEM_BYTES], const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int used = snprintf(problem, AUTHORISE_PROBLEM_BYTES, "\"%.80s\": ", text);
	vsnprintf(problem + used, AUTHORISE_PROBLEM_BYTES - (size_t)used, format, arguments);
	va_end(arguments);
	return AUTHORISE_REFUSED;
}

// ---- its form

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static bool is_label_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// Labels of letters, digits, '-' and '_', or of one '*'; one of them at least is no '*'.
static int judge_dns(const char *text, const char *name, char problem[AUTHORISE_PROBLEM_BYTES])
{
	bool says_something = false;
	while (true) {
		size_t length = strcspn(name, ".");
		bool is_star = length == 1 && name[0] == '*';
		if (length == 0)
			return refuse(text, problem, "a DNS name has no empty label");
		for (size_t i = 0; !is_star && i < length; i++)
			if (!is_label_character(name[i]))
				return refuse(text, problem,
				              name[i] == '*' ? "in a DNS name '*' stands for one whole label, as in dns:*.svc.example"
				                             : "a DNS name has letters, digits, '-' and '_' only");
		says_something = says_something || !is_star;
		if (name[length] == '\0')
			break;
		name += length + 1;
	}
	return says_something ? 0 : refuse(text, problem, "it would match every DNS name of as many labels");
}

static bool is_scheme(const char *uri, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!is_label_character(uri[i]) && !strchr("+-.", uri[i]))
			return false;
	return length > 0;
}

static bool is_dots(const char *segment, size_t length)
{
	return (length == 1 && segment[0] == '.') || (length == 2 && segment[0] == '.' && segment[1] == '.');
}

// What comes before the path: "spiffe://corp". 0: not a URI with an authority.
static size_t head_of(const char *uri)
{
	const char *mark = strstr(uri, "://");
	if (!mark || !is_scheme(uri, (size_t)(mark - uri)))
		return 0;
	size_t authority = strcspn(mark + 3, "/?#");
	return authority == 0 ? 0 : (size_t)(mark - uri) + 3 + authority;
}

static int judge_uri(const char *text, const char *uri, char problem[AUTHORISE_PROBLEM_BYTES])
{
	size_t head = head_of(uri);
	if (memchr(uri, '*', head ? head : strcspn(uri, "/")))
		return refuse(text, problem, "'*' stands in the path of a URI only, not in its scheme or trust domain");
	if (head == 0 && strchr(uri, '*'))
		return refuse(text, problem, "'*' needs a URI with scheme and authority, as in uri:spiffe://corp/ns/*/sa/web");
	if (head == 0 && !strchr(uri, ':'))
		return refuse(text, problem, "a URI has a scheme, as in uri:spiffe://corp/ns/prod/sa/web");
	if (strstr(uri, "**"))
		return refuse(text, problem, "'*' stays within one segment of the path; write one for each segment: */*");
	return 0;
}

static int judge(const char *text, const struct authorise_pattern *pattern, char problem[AUTHORISE_PROBLEM_BYTES])
{
	if (pattern->text[0] == '\0')
		return refuse(text, problem, "an empty pattern matches nobody");
	if (!is_printable(pattern->text))
		return refuse(text, problem, "it holds a control character");
	switch (pattern->kind) {
	case AUTHORISE_DNS:
		return judge_dns(text, pattern->text, problem);
	case AUTHORISE_URI:
		return judge_uri(text, pattern->text, problem);
	case AUTHORISE_BARE:
	case AUTHORISE_CN:
	case AUTHORISE_SPKI:
		break;
	}
	return 0;
}

int authorise_pattern_parse(const char *text, struct authorise_pattern *pattern, char problem[AUTHORISE_PROBLEM_BYTES])
{
	// The forms of auth.allowed_peers are taken as well.
	static const struct {
		const char *prefix;
		int kind;
	} prefixes[] = {
		{"cn:", AUTHORISE_CN},   {"cn=", AUTHORISE_CN},     {"dns:", AUTHORISE_DNS},
		{"uri:", AUTHORISE_URI}, {"spki:", AUTHORISE_SPKI},
	};
	const char *rest = text;
	char why[PIN_PROBLEM_BYTES];
	*pattern = (struct authorise_pattern){.kind = AUTHORISE_BARE};
	for (size_t i = 0; i < COUNT_OF(prefixes); i++)
		if (strncasecmp(text, prefixes[i].prefix, strlen(prefixes[i].prefix)) == 0) {
			pattern->kind = (typeof(pattern->kind))prefixes[i].kind;
			rest = text + strlen(prefixes[i].prefix);
		}
	if (pattern->kind == AUTHORISE_SPKI)
		return pin_parse(rest, pattern->pin, why) == 0
		           ? 0
		           : refuse(text, problem,
		                    "after spki: stand 64 hexadecimal digits, the SHA-256 of the public key, or "
		                    "sha256// and its base64");
	pattern->text = strdup(rest);
	if (!pattern->text)
		return -ENOMEM;
	return judge(text, pattern, problem);
}

// ---- what it matches

static bool dns_matches(const char *pattern, const char *name)
{
	while (true) {
		size_t wanted = strcspn(pattern, "."), length = strcspn(name, ".");
		bool is_star = wanted == 1 && pattern[0] == '*';
		// Hostile: the name in a certificate may be a wildcard itself, or have bytes that no host name has.
		for (size_t i = 0; is_star && i < length; i++)
			if (!is_label_character(name[i]))
				return false;
		if (length == 0 || (!is_star && (wanted != length || strncasecmp(pattern, name, length) != 0)))
			return false;
		pattern += wanted;
		name += length;
		if (*pattern != *name || *pattern == '\0')
			return *pattern == *name;
		pattern++;
		name++;
	}
}

// '*' for any run, within these two segments.
static bool segment_matches(const char *pattern, size_t wanted, const char *name, size_t length)
{
	size_t at = 0, i = 0, star = SIZE_MAX, resume = 0;
	if (memchr(pattern, '*', wanted) && (length == 0 || is_dots(name, length)))
		return false;
	while (i < length) {
		if (at < wanted && pattern[at] == '*') {
			star = at++;
			resume = i;
		} else if (at < wanted && pattern[at] == name[i]) {
			at++;
			i++;
		} else if (star != SIZE_MAX) {
			at = star + 1;
			i = ++resume;
		} else {
			return false;
		}
	}
	while (at < wanted && pattern[at] == '*')
		at++;
	return at == wanted;
}

static bool uri_matches(const char *pattern, const char *name)
{
	size_t head = head_of(pattern);
	if (head != head_of(name) || strncasecmp(pattern, name, head) != 0)
		return false;
	pattern += head;
	name += head;
	while (true) {
		size_t wanted = strcspn(pattern, "/"), length = strcspn(name, "/");
		if (!segment_matches(pattern, wanted, name, length))
			return false;
		pattern += wanted;
		name += length;
		if (*pattern != *name || *pattern == '\0')
			return *pattern == *name;
		pattern++;
		name++;
	}
}

bool authorise_pattern_matches(const struct authorise_pattern *pattern, enum authorise_name kind, const char *name)
{
	switch (pattern->kind) {
	case AUTHORISE_BARE:
		return pattern_matches(pattern->text, name);
	case AUTHORISE_CN:
		return kind == AUTHORISE_NAME_CN && pattern_matches(pattern->text, name);
	case AUTHORISE_DNS:
		return kind == AUTHORISE_NAME_DNS && dns_matches(pattern->text, name);
	case AUTHORISE_URI:
		return kind == AUTHORISE_NAME_URI && uri_matches(pattern->text, name);
	case AUTHORISE_SPKI:
		break;
	}
	return false;
}
