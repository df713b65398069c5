#include "cmd/cert.h"

#include "cmd/cert_report.h"
#include "core/outcome.h"
#include "crypto/inspect.h"
#include "crypto/issue.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CERT_FAILED = 1, CERT_USAGE = 2 };

// More names than a certificate in a handshake should carry.
enum { CERT_MAX_NAMES = 256 };

struct name_list {
	char *items[CERT_MAX_NAMES];
	size_t count;
};

struct cert_options {
	const char *common_name, *ca_cert, *ca_key, *validity_days, *out_cert, *out_key, *key;
	const char *cert, *hostname, *purpose;
	struct name_list dns_names, ip_addresses;
	bool force, json;
};

struct verb {
	const char *name;
	const char *summary;
	const char *codes;    // the flags it takes
	const char *required; // those it cannot do without
	unsigned validity_days;
	enum issue_kind kind;
	int (*run)(const struct verb *verb, const struct cert_options *options);
	const char *help;
};

static const struct option flags[] = {
	{"common-name", required_argument, NULL, 'n'},
	{"dns-names", required_argument, NULL, 'd'},
	{"ip-addresses", required_argument, NULL, 'i'},
	{"ca-cert", required_argument, NULL, 'C'},
	{"ca-key", required_argument, NULL, 'K'},
	{"validity-days", required_argument, NULL, 'v'},
	{"out-cert", required_argument, NULL, 'o'},
	{"out-key", required_argument, NULL, 'O'},
	{"key", required_argument, NULL, 'k'},
	{"force", no_argument, NULL, 'f'},
	{"cert", required_argument, NULL, 'c'},
	{"hostname", required_argument, NULL, 'H'},
	{"purpose", required_argument, NULL, 'p'},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
};

// ---- texts

#define KEY_HELP                                                                                                \
	"  --key ALG             p256 (default), ed25519, ml-dsa-65, ml-dsa-87; the last two sign quantum-safely\n" \
	"  --force               replace existing files\n"

#define CA_FILES_HELP                                           \
	"  --ca-cert FILE        the CA's certificate (required)\n" \
	"  --ca-key FILE         the CA's private key (required); its algorithm may differ from --key\n"

static const char ca_help[] =
	"usage: qanat cert ca --common-name NAME --out-cert FILE --out-key FILE [flags]\n"
	"\n"
	"Makes a CA: a self-signed certificate that may sign servers and clients, but no further CAs.\n"
	"\n"
	"  --common-name NAME    what people will see (required)\n"
	"  --out-cert FILE       where the certificate goes, mode 0644 (required)\n"
	"  --out-key FILE        where the private key goes, mode 0600 (required)\n"
	"  --validity-days N     default 3650\n" KEY_HELP "\n"
	"Both ends of a link get ca.crt. Whoever has ca.key can make members of your network: keep it off both.\n"
	"\n"
	"  qanat cert ca --common-name \"My CA\" --out-cert ca.crt --out-key ca.key\n"
	"  qanat cert ca --common-name \"My CA\" --key ml-dsa-87 --out-cert ca.crt --out-key ca.key\n";

static const char server_help[] =
	"usage: qanat cert server --common-name NAME --ca-cert FILE --ca-key FILE --out-cert FILE --out-key FILE [flags]\n"
	"\n"
	"Makes a certificate for the side that listens (qanat dest).\n"
	"\n"
	"  --common-name NAME    what people will see (required); also the name it is reached by when none is given below\n"
	"  --dns-names A,B       host names it is reached by; *.example.com stands for one more part\n"
	"  --ip-addresses A,B    IPv4 and IPv6 addresses it is reached by\n" CA_FILES_HELP
	"  --out-cert FILE       where the certificate goes, mode 0644 (required)\n"
	"  --out-key FILE        where the private key goes, mode 0600 (required)\n"
	"  --validity-days N     default 365; never longer than the CA's\n" KEY_HELP "\n"
	"Peers compare the name they dialled with these names only, never with the common name.\n"
	"\n"
	"  qanat cert server --common-name server.example.com --dns-names server.example.com,localhost \\\n"
	"    --ip-addresses 127.0.0.1,::1 --ca-cert ca.crt --ca-key ca.key --out-cert server.crt --out-key server.key\n";

static const char client_help[] =
	"usage: qanat cert client --common-name NAME --ca-cert FILE --ca-key FILE --out-cert FILE --out-key FILE [flags]\n"
	"\n"
	"Makes a certificate for the side that dials (qanat source).\n"
	"\n"
	"  --common-name NAME    who it is; peers may allow or refuse by this name (required)\n" CA_FILES_HELP
	"  --out-cert FILE       where the certificate goes, mode 0644 (required)\n"
	"  --out-key FILE        where the private key goes, mode 0600 (required)\n"
	"  --validity-days N     default 365; never longer than the CA's\n" KEY_HELP "\n"
	"  qanat cert client --common-name client1 --ca-cert ca.crt --ca-key ca.key \\\n"
	"    --out-cert client.crt --out-key client.key\n";

static const char show_help[] =
	"usage: qanat cert show FILE [--json]\n"
	"\n"
	"Shows every certificate of a PEM file: subject, issuer, serial number, validity, usages, names, fingerprint.\n"
	"\n"
	"  --cert FILE           the same as the plain argument\n"
	"  --json                for programs\n"
	"\n"
	"  qanat cert show server.crt\n";

static const char verify_help[] =
	"usage: qanat cert verify --cert FILE --ca-cert FILE [--hostname NAME] [--purpose server|client] [--json]\n"
	"\n"
	"Tells whether a peer would accept the certificate: signatures up to the CA, validity now, usage, and name.\n"
	"Exits 1 and says why when it would not.\n"
	"\n"
	"  --cert FILE           the certificate, with its intermediates behind it (required)\n"
	"  --ca-cert FILE        the CA certificates that are believed (required)\n"
	"  --hostname NAME       host name or IP address that a client would dial\n"
	"  --purpose PURPOSE     server or client; by default what the certificate says it is for\n"
	"  --json                for programs\n"
	"\n"
	"  qanat cert verify --cert server.crt --ca-cert ca.crt --hostname server.example.com\n"
	"  qanat cert verify --cert server.crt --ca-cert ca.crt --hostname 2001:db8::1\n"
	"  qanat cert verify --cert client.crt --ca-cert ca.crt --purpose client\n";

static int usage_error(const char *verb, const char *what, const char *detail)
{
	fprintf(stderr, "qanat cert%s%s: %s%s\nTry: qanat cert%s%s --help\n", *verb ? " " : "", verb, what, detail,
	        *verb ? " " : "", verb);
	return CERT_USAGE;
}

static int failed(const struct verb *verb, int result, const char *problem)
{
	fprintf(stderr, "qanat cert %s: %s\n", verb->name, result < 0 ? outcome_text(result) : problem);
	return CERT_FAILED;
}

// ---- the verbs

static int issue(const struct verb *verb, const struct cert_options *options)
{
	struct issue_request request = {
		.kind = verb->kind,
		.common_name = options->common_name,
		.dns_names = (const char *const *)options->dns_names.items,
		.dns_count = options->dns_names.count,
		.ip_addresses = (const char *const *)options->ip_addresses.items,
		.ip_count = options->ip_addresses.count,
		.validity_days = verb->validity_days,
		.ca_cert_path = options->ca_cert,
		.ca_key_path = options->ca_key,
		.out_cert_path = options->out_cert,
		.out_key_path = options->out_key,
		.force = options->force,
	};
	char problem[ISSUE_PROBLEM_BYTES] = "", *end = NULL;
	struct inspect_details *details = NULL;
	size_t count = 0;

	if (options->key && issue_key_parse(options->key, &request.key) != 0)
		return usage_error(verb->name, "--key is one of p256, ed25519, ml-dsa-65 and ml-dsa-87, not ", options->key);
	if (options->validity_days) {
		const char *digits = options->validity_days;
		unsigned long days = strtoul(digits, &end, 10);
		if (digits[0] < '0' || digits[0] > '9' || *end || days < 1 || days > ISSUE_MAX_DAYS)
			return usage_error(verb->name, "--validity-days is a number from 1 to 36500, not ", digits);
		request.validity_days = (unsigned)days;
	}
	int result = issue_certificate(&request, problem);
	if (result == 0)
		result = inspect_file(request.out_cert_path, &details, &count, problem);
	if (result != 0)
		return failed(verb, result, problem);
	cert_report_issued(request.out_cert_path, request.out_key_path, details);
	if (details->text.not_after + 3600 < (int64_t)time(NULL) + (int64_t)request.validity_days * 86400)
		puts("Note:        its CA ends then, so it is valid for less than was asked for");
	free(details);
	return 0;
}

static int show(const struct verb *verb, const struct cert_options *options)
{
	struct inspect_details *list = NULL;
	char problem[INSPECT_PROBLEM_BYTES] = "";
	size_t count = 0;

	int result = inspect_file(options->cert, &list, &count, problem);
	if (result != 0)
		return failed(verb, result, problem);
	cert_report_list(list, count, options->json);
	free(list);
	return 0;
}

static int verify(const struct verb *verb, const struct cert_options *options)
{
	struct inspect_question question = {.cert_path = options->cert,
	                                    .ca_path = options->ca_cert,
	                                    .name = options->hostname};
	struct inspect_verdict verdict;
	char problem[INSPECT_PROBLEM_BYTES] = "";

	if (options->purpose && strcmp(options->purpose, "server") == 0)
		question.purpose = INSPECT_FOR_SERVER;
	else if (options->purpose && strcmp(options->purpose, "client") == 0)
		question.purpose = INSPECT_FOR_CLIENT;
	else if (options->purpose)
		return usage_error(verb->name, "--purpose is server or client, not ", options->purpose);
	int result = inspect_verify(&question, &verdict, problem);
	if (result == INSPECT_REFUSED && options->json)
		cert_report_problem(problem);
	if (result != 0)
		return failed(verb, result, problem);
	return cert_report_verdict(&question, &verdict, options->json) ? 0 : CERT_FAILED;
}

static const struct verb verbs[] = {
	{"ca", "make a CA", "nvoOkfh", "noO", 3650, ISSUE_CA, issue, ca_help},
	{"server", "make a certificate for the side that listens", "ndiCKvoOkfh", "nCKoO", 365, ISSUE_SERVER, issue,
     server_help},
	{"client", "make a certificate for the side that dials", "nCKvoOkfh", "nCKoO", 365, ISSUE_CLIENT, issue,
     client_help},
	{"show", "show what is in a certificate file", "cjh", "c", 0, 0, show, show_help},
	{"verify", "tell whether a peer would accept a certificate", "cCHpjh", "cC", 0, 0, verify, verify_help},
};

// ---- the command line

static void print_help(FILE *out)
{
	fputs("usage: qanat cert VERB [flags]\n\nA small CA for links that prove themselves with certificates.\n\n", out);
	for (size_t i = 0; i < COUNT_OF(verbs); i++)
		fprintf(out, "  %-8s  %s\n", verbs[i].name, verbs[i].summary);
	fputs("\nqanat cert VERB --help says more, with examples. From nothing to two members of a network:\n\n"
	      "  qanat cert ca --common-name \"My CA\" --out-cert ca.crt --out-key ca.key\n"
	      "  qanat cert server --common-name server.example.com --ca-cert ca.crt --ca-key ca.key \\\n"
	      "    --out-cert server.crt --out-key server.key\n"
	      "  qanat cert client --common-name client1 --ca-cert ca.crt --ca-key ca.key \\\n"
	      "    --out-cert client.crt --out-key client.key\n",
	      out);
}

// "a,b" added to the list; blanks around a name are left out. False when there are too many.
static bool add_names(struct name_list *list, const char *text)
{
	for (;;) {
		text += strspn(text, " \t");
		size_t length = strcspn(text, ","), end = length;
		while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t'))
			end--;
		char *name = list->count < CERT_MAX_NAMES ? strndup(text, end) : NULL;
		if (!name)
			return false;
		list->items[list->count++] = name;
		if (text[length] != ',')
			return true;
		text += length + 1;
	}
}

static void options_fini(struct cert_options *options)
{
	while (options->dns_names.count > 0)
		free(options->dns_names.items[--options->dns_names.count]);
	while (options->ip_addresses.count > 0)
		free(options->ip_addresses.items[--options->ip_addresses.count]);
}

// Where the value of a flag goes that may be given once; NULL for the others.
static const char **slot_of(struct cert_options *options, int code)
{
	switch (code) {
	case 'n':
		return &options->common_name;
	case 'C':
		return &options->ca_cert;
	case 'K':
		return &options->ca_key;
	case 'v':
		return &options->validity_days;
	case 'o':
		return &options->out_cert;
	case 'O':
		return &options->out_key;
	case 'k':
		return &options->key;
	case 'c':
		return &options->cert;
	case 'H':
		return &options->hostname;
	case 'p':
		return &options->purpose;
	default:
		return NULL;
	}
}

static const char *flag_name(int code)
{
	for (size_t i = 0; i < COUNT_OF(flags); i++) {
		if (flags[i].val == code)
			return flags[i].name;
	}
	return "";
}

// 0, or what is wrong with the value.
static const char *take(struct cert_options *options, int code, const char *value)
{
	const char **slot = slot_of(options, code);

	if (slot && *slot)
		return "is given twice";
	if (slot && !value[0])
		return "is empty";
	if (slot)
		*slot = value;
	if (code == 'f')
		options->force = true;
	if (code == 'j')
		options->json = true;
	if (code == 'd' && !add_names(&options->dns_names, value))
		return "has more names than a certificate should";
	if (code == 'i' && !add_names(&options->ip_addresses, value))
		return "has more addresses than a certificate should";
	return NULL;
}

static int check_required(const struct verb *verb, struct cert_options *options)
{
	char missing[128] = "";

	for (const char *code = verb->required; *code; code++) {
		size_t length = strlen(missing);
		if (!*slot_of(options, *code))
			snprintf(missing + length, sizeof missing - length, "%s--%s", length ? ", " : "", flag_name(*code));
	}
	return missing[0] ? usage_error(verb->name, "missing ", missing) : 0;
}

// 0 to go on, CERT_USAGE, or -1 when the help was asked for and given.
static int parse(const struct verb *verb, int argc, char **argv, struct cert_options *options)
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
			return usage_error(verb->name, "no value after ", argv[optind - 1]);
		if (code == '?')
			return usage_error(verb->name, "unknown flag ", argv[optind - 1]);
		const char *fault = take(options, code, optarg);
		if (!fault)
			continue;
		snprintf(what, sizeof what, "--%s ", flag_name(code));
		return usage_error(verb->name, what, fault);
	}
	if (optind < argc && verb->run == show && !options->cert)
		options->cert = argv[optind++];
	if (optind < argc)
		return usage_error(verb->name, "one argument too many: ", argv[optind]);
	return check_required(verb, options);
}

int cert_command(int argc, char **argv)
{
	struct cert_options options = {0};
	const char *name = argc > 1 ? argv[1] : "";

	if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
		print_help(stdout);
		return 0;
	}
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		if (strcmp(name, verbs[i].name) != 0)
			continue;
		int status = parse(&verbs[i], argc - 1, argv + 1, &options);
		if (status == 0)
			status = verbs[i].run(&verbs[i], &options);
		options_fini(&options);
		if (fflush(stdout) != 0 && status <= 0)
			return failed(&verbs[i], -errno, NULL);
		return status < 0 ? 0 : status;
	}
	static const char *const coming[] = {"renew", "revoke", "crl", "csr", "sign"};
	for (size_t i = 0; i < COUNT_OF(coming); i++)
		if (strcmp(name, coming[i]) == 0)
			return usage_error("", "not built yet: ", name);
	if (argc > 1)
		return usage_error("", "there is no verb ", name);
	print_help(stderr);
	return CERT_USAGE;
}
