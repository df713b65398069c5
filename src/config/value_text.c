#include "config/value_text.h"
#include "config/text.h"
#include "net/address.h"

#include <string.h>

#define HOST_MAX_BYTES 253

static bool is_ip(const char *text)
{
	struct address address;
	return address_from_ip(text, 0, &address) == 0;
}

static bool is_made_of(const char *text, const char *punctuation)
{
	for (const char *at = text; *at; at++) {
		bool is_plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
		if (!is_plain && !strchr(punctuation, *at))
			return false;
	}
	return true;
}

static const char *host_fault(const char *text)
{
	struct address address;
	if (is_ip(text))
		return NULL;
	if (strncmp(text, "unix:", 5) == 0)
		return "must be a host name or an IP address, not a Unix socket";
	if (strchr(text, '/'))
		return "must be a host name or an IP address without a scheme, a path or a prefix length";
	if (address_parse(text, &address) == 0 || (strchr(text, ':') && strchr(text, ':') == strrchr(text, ':')))
		return "must be a host name or an IP address; the port has a key of its own";
	if (strlen(text) > HOST_MAX_BYTES)
		return "is longer than a host name can be (253 bytes)";
	if (text[0] == '.' || text[0] == '-' || strstr(text, ".."))
		return "is not a host name";
	if (!is_made_of(text, "-._"))
		return "is neither a host name nor an IP address";
	// "10.0.0.300" or "1.2.3" would be asked of a name server.
	if (strspn(text, "0123456789.") == strlen(text))
		return "is not a complete IP address";
	return NULL;
}

static const char *unix_fault(const char *text)
{
	struct address address;
	if (text[5] == '\0')
		return "needs a path: unix:/run/x.sock";
	if (text[5] != '/')
		return "needs an absolute path: unix:/run/x.sock";
	return address_parse(text, &address) == 0 ? NULL : "has a path longer than a Unix socket can have (107 bytes)";
}

static const char *ip_fault(const char *text)
{
	if (is_ip(text))
		return NULL;
	struct address address;
	if (address_parse(text, &address) == 0)
		return "must be an IP address; the port has a key of its own";
	return "must be an IP address (0.0.0.0 or :: for every address)";
}

static const char *endpoint_fault(const char *text)
{
	struct address address;
	if (strncmp(text, "unix:", 5) == 0)
		return unix_fault(text);
	if (address_parse(text, &address) != 0)
		return "must be IP:PORT, [IP6]:PORT or unix:/path";
	return NULL;
}

static const char *length_fault(const struct schema_key *key, const char *text)
{
	if (key->max > 0 && strlen(text) > key->max)
		return key->max == 15 ? "is longer than 15 bytes" : key->max == 64 ? "is longer than 64 bytes" : "is too long";
	return NULL;
}

static const char *name_fault(const struct schema_key *key, const char *text)
{
	if (!is_made_of(text, "-._/:@+~#!$%&*()[]{}<>?;^|"))
		return "must be made of letters, digits and signs, without blanks, quotes, ',' and '='";
	return length_fault(key, text);
}

static const char *plain_fault(const struct schema_key *key, const char *text)
{
	for (const char *at = text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return "must be one line of printable text";
	return length_fault(key, text);
}

const char *value_text_fault(const struct schema_key *key, const char *text)
{
	bool may_be_empty = key->type == SCHEMA_TEXT && key->min == 0;
	if (text[0] == '\0')
		return may_be_empty ? NULL : "must not be empty";
	if (key->is_secret)
		return NULL;
	switch (key->type) {
	case SCHEMA_HOST:
		return host_fault(text);
	case SCHEMA_IP:
		return ip_fault(text);
	case SCHEMA_BIND:
		return strncmp(text, "unix:", 5) == 0 ? unix_fault(text) : ip_fault(text);
	case SCHEMA_TARGET:
		return strncmp(text, "unix:", 5) == 0 ? unix_fault(text) : host_fault(text);
	case SCHEMA_ENDPOINT:
		return endpoint_fault(text);
	case SCHEMA_NAME:
		return name_fault(key, text);
	case SCHEMA_TEXT:
	case SCHEMA_TEXTS:
	case SCHEMA_PATH:
		return plain_fault(key, text);
	case SCHEMA_NUMBER:
	case SCHEMA_BOOL:
	case SCHEMA_ENUM:
	case SCHEMA_CIDRS:
	case SCHEMA_TABLES:
	case SCHEMA_TYPE_COUNT:
		break;
	}
	return NULL;
}

char *value_text_normal(const struct schema_key *key, const char *text)
{
	bool may_have_brackets = key->type == SCHEMA_IP || key->type == SCHEMA_BIND || key->type == SCHEMA_HOST ||
	                         key->type == SCHEMA_TARGET;
	if (may_have_brackets && text[0] == '[')
		return text_copy_part(text + 1, strcspn(text + 1, "]"));
	return text_copy(text);
}
