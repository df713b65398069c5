#include "cmd/cert_internal.h"

#include "crypto/legacy.h"
#include "policy/span.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option flags[] = {
	{"common-name", required_argument, NULL, 'n'},
	{"dns-names", required_argument, NULL, 'd'},
	{"ip-addresses", required_argument, NULL, 'i'},
	{"ca-cert", required_argument, NULL, 'C'},
	{"ca-key", required_argument, NULL, 'K'},
	{"validity-days", required_argument, NULL, 'v'},
	{"validity", required_argument, NULL, 'V'},
	{"out-cert", required_argument, NULL, 'o'},
	{"out-key", required_argument, NULL, 'O'},
	{"key", required_argument, NULL, 'k'},
	{"force", no_argument, NULL, 'f'},
	{"cert", required_argument, NULL, 'c'},
	{"hostname", required_argument, NULL, 'H'},
	{"purpose", required_argument, NULL, 'p'},
	{"json", no_argument, NULL, 'j'},
	{"serial", required_argument, NULL, 's'},
	{"reason", required_argument, NULL, 'r'},
	{"days", required_argument, NULL, 'D'},
	{"out-crl", required_argument, NULL, 'L'},
	{"crl", required_argument, NULL, 'l'},
	{"out-csr", required_argument, NULL, 'R'},
	{"csr", required_argument, NULL, 'q'},
	{"usage", required_argument, NULL, 'u'},
	{"use-key", required_argument, NULL, 'U'},
	{"new-key", no_argument, NULL, 'N'},
	{"index", required_argument, NULL, 'x'},
	{"expires-in", required_argument, NULL, 'e'},
	{"drop", required_argument, NULL, 'P'},
	{"keys", required_argument, NULL, 'y'},
	{"listen", required_argument, NULL, 'a'},
	{"proxy-protocol", no_argument, NULL, 'X'},
	{"once", no_argument, NULL, '1'},
	{"keep-days", required_argument, NULL, 'E'},
	{"help", no_argument, NULL, 'h'},
};

// "a,b" added to the list; blanks around a name are left out. False when there are too many.
static bool add_names(struct cert_list *list, const char *text)
{
	for (;;) {
		text += strspn(text, " \t");
		size_t length = strcspn(text, ","), end = length;
		while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t'))
			end--;
		char *name = list->count < COUNT_OF(list->items) ? strndup(text, end) : NULL;
		if (!name)
			return false;
		list->items[list->count++] = name;
		if (text[length] != ',')
			return true;
		text += length + 1;
	}
}

static bool add_path(struct cert_list *list, const char *path)
{
	char *copy = list->count < COUNT_OF(list->items) ? strdup(path) : NULL;

	if (copy)
		list->items[list->count++] = copy;
	return copy;
}

void cert_flags_fini(struct cert_options *options)
{
	struct cert_list *lists[] = {&options->dns_names, &options->ip_addresses, &options->crls};

	for (size_t i = 0; i < COUNT_OF(lists); i++)
		while (lists[i]->count > 0)
			free(lists[i]->items[--lists[i]->count]);
}

// Where the value of a flag goes that may be given once.
static const struct {
	int code;
	size_t offset;
} slots[] = {
	{'n', offsetof(struct cert_options, common_name)}, {'C', offsetof(struct cert_options, ca_cert)},
	{'K', offsetof(struct cert_options, ca_key)},      {'v', offsetof(struct cert_options, validity_days)},
	{'o', offsetof(struct cert_options, out_cert)},    {'O', offsetof(struct cert_options, out_key)},
	{'k', offsetof(struct cert_options, key)},         {'c', offsetof(struct cert_options, cert)},
	{'H', offsetof(struct cert_options, hostname)},    {'p', offsetof(struct cert_options, purpose)},
	{'s', offsetof(struct cert_options, serial)},      {'r', offsetof(struct cert_options, reason)},
	{'D', offsetof(struct cert_options, days)},        {'L', offsetof(struct cert_options, out_crl)},
	{'R', offsetof(struct cert_options, out_csr)},     {'q', offsetof(struct cert_options, csr)},
	{'u', offsetof(struct cert_options, usage)},       {'U', offsetof(struct cert_options, use_key)},
	{'V', offsetof(struct cert_options, validity)},    {'x', offsetof(struct cert_options, index)},
	{'e', offsetof(struct cert_options, expires_in)},  {'a', offsetof(struct cert_options, listen)},
	{'P', offsetof(struct cert_options, drop)},        {'y', offsetof(struct cert_options, keys)},
	{'E', offsetof(struct cert_options, keep_days)},
};

// NULL for the flags that are no such.
static const char **slot_of(struct cert_options *options, int code)
{
	for (size_t i = 0; i < COUNT_OF(slots); i++)
		if (slots[i].code == code)
			return (const char **)(void *)((char *)options + slots[i].offset);
	return NULL;
}

static const char *flag_name(int code)
{
	for (size_t i = 0; i < COUNT_OF(flags); i++) {
		if (flags[i].val == code)
			return flags[i].name;
	}
	return "";
}

// NULL, or what is wrong with the value.
static const char *take(struct cert_options *options, int code, const char *value)
{
	const char **slot = slot_of(options, code);

	if (slot && *slot)
		return "is given twice";
	if ((slot || code == 'l') && !value[0])
		return "is empty";
	if (slot)
		*slot = value;
	if (code == 'f')
		options->force = true;
	if (code == 'X')
		options->proxy_protocol = true;
	if (code == '1')
		options->once = true;
	if (code == 'j')
		options->json = true;
	if (code == 'N')
		options->new_key = true;
	if (code == 'd' && !add_names(&options->dns_names, value))
		return "has more names than a certificate should";
	if (code == 'i' && !add_names(&options->ip_addresses, value))
		return "has more addresses than a certificate should";
	if (code == 'l' && !add_path(&options->crls, value))
		return "is given too often";
	return NULL;
}

static int check_required(const struct cert_verb *verb, struct cert_options *options)
{
	char missing[128] = "";

	for (const char *code = verb->required; *code; code++) {
		size_t length = strlen(missing);
		if (!*slot_of(options, *code))
			snprintf(missing + length, sizeof missing - length, "%s--%s", length ? ", " : "", flag_name(*code));
	}
	return missing[0] ? cert_usage_error(verb->name, "missing ", missing) : 0;
}

int cert_flags_parse(const struct cert_verb *verb, int argc, char **argv, struct cert_options *options)
{
	struct option taken[COUNT_OF(flags) + 1] = {0};
	char what[64];
	int code;

	for (size_t i = 0, count = 0; i < COUNT_OF(flags); i++) {
		if (strchr(verb->codes, flags[i].val))
			taken[count++] = flags[i];
	}
	optind = 0;
	opterr = 0;
	while ((code = getopt_long(argc, argv, ":h", taken, NULL)) != -1) {
		if (code == 'h') {
			fputs(verb->help, stdout);
			return -1;
		}
		if (code == ':')
			return cert_usage_error(verb->name, "no value after ", argv[optind - 1]);
		if (code == '?')
			return cert_usage_error(verb->name, "unknown flag ", argv[optind - 1]);
		const char *fault = take(options, code, optarg);
		if (!fault)
			continue;
		snprintf(what, sizeof what, "--%s ", flag_name(code));
		return cert_usage_error(verb->name, what, fault);
	}
	if (optind < argc && verb->takes_file && !options->cert)
		options->cert = argv[optind++];
	if (optind < argc)
		return cert_usage_error(verb->name, "one argument too many: ", argv[optind]);
	return check_required(verb, options);
}

// ---- values

int cert_flags_number(const struct cert_verb *verb, const char *flag, const char *text, unsigned most, unsigned *number)
{
	char *end = NULL, what[96];

	if (!text)
		return 0;
	unsigned long value = strtoul(text, &end, 10);
	if (text[0] >= '0' && text[0] <= '9' && !*end && value >= 1 && value <= most) {
		*number = (unsigned)value;
		return 0;
	}
	snprintf(what, sizeof what, "%s is a number from 1 to %u, not ", flag, most);
	return cert_usage_error(verb->name, what, text);
}

int cert_flags_validity(const struct cert_verb *verb, const struct cert_options *options, unsigned *days,
                        uint64_t *seconds)
{
	*days = verb->validity_days;
	*seconds = 0;
	if (options->validity && options->validity_days)
		return cert_usage_error(verb->name, "give one of ", "--validity and --validity-days");
	if (!options->validity)
		return cert_flags_number(verb, "--validity-days", options->validity_days, ISSUE_MAX_DAYS, days);
	if (span_parse(options->validity, seconds) == 0)
		return 0;
	return cert_usage_error(verb->name, "--validity is a number and a unit (90s, 15m, 12h, 30d), not ",
	                        options->validity);
}

int cert_flags_key(const struct cert_verb *verb, const struct cert_options *options, enum issue_key *key)
{
	if (!options->key || issue_key_parse(options->key, key) == 0)
		return 0;
	if (legacy_of_word(options->key))
		return cert_usage_error(verb->name, "there is no more ", legacy_of_word(options->key));
	return cert_usage_error(verb->name, "--key is one of p256, ed25519, ml-dsa-65 and ml-dsa-87, not ", options->key);
}

struct authority_files cert_flags_ca(const struct cert_options *options)
{
	return (struct authority_files){options->ca_cert, options->ca_key, options->index};
}
