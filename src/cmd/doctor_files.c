// The files of a configuration, as the commands would load them, and how long they last.

#include "cmd/doctor_internal.h"
#include "cmd/proxy_internal.h"
#include "cmd/tunnel.h"
#include "config/certificates.h"
#include "config/load.h"
#include "crypto/identity.h"
#include "crypto/inspect.h"
#include "crypto/revoke.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DAY_S = 86400, CERTIFICATE_SOON_DAYS = 30, LIST_SOON_DAYS = 2 };

static void date_text(int64_t seconds, char text[32])
{
	time_t when = (time_t)seconds;
	struct tm parts;

	if (!gmtime_r(&when, &parts) || strftime(text, 32, "%Y-%m-%d %H:%M UTC", &parts) == 0)
		snprintf(text, 32, "unknown");
}

// ---- configuration

static bool add_problems(const struct load *load, int result, struct findings *findings)
{
	const struct problem_list *lists[] = {&load->problems, &load->notes};

	for (size_t list = 0; list < COUNT_OF(lists); list++) {
		for (size_t i = 0; i < lists[list]->count; i++) {
			char *text = problem_text(&lists[list]->problems[i]);
			finding_add(findings, list == 0 ? FINDING_ERROR : FINDING_NOTE, "configuration",
			            list == 0 ? "mend it; `qanat check -c FILE` shows every value and where it comes from" : NULL,
			            "%s", text ? text : "");
			free(text);
		}
	}
	return result == 0;
}

// ---- certificates

static bool is_quantum_safe(const char *key_type)
{
	return strncmp(key_type, "ML-DSA-", 7) == 0;
}

static void add_certificate(const char *path, const struct inspect_details *details, struct findings *findings)
{
	const struct identity_text *text = &details->text;
	int64_t left = text->not_after - (int64_t)time(NULL);
	char until[32], advice[320];

	date_text(text->not_after, until);
	if (left < 0)
		finding_add(findings, details->is_ca ? FINDING_WARNING : FINDING_ERROR, "certificate",
		            details->is_ca ? "take it out of the file, once nothing of it is in use"
		                           : "qanat cert renew, or a new one",
		            "%s (%s) expired on %s", path, text->subject, until);
	else if (left < (int64_t)CERTIFICATE_SOON_DAYS * DAY_S) {
		snprintf(advice, sizeof advice,
		         details->is_ca ? "make a new CA, add its certificate to every CA file, then issue anew"
		                        : "qanat cert renew --cert %.200s ..., then SIGHUP",
		         path);
		finding_add(findings, FINDING_WARNING, "certificate", advice, "%s (%s) expires on %s: %" PRId64 " days left",
		            path, text->subject, until, left / DAY_S);
	} else
		finding_add(findings, FINDING_OK, "certificate", NULL, "%s (%s) is valid until %s: %" PRId64 " days left", path,
		            text->subject, until, left / DAY_S);
	if (!is_quantum_safe(text->key_type))
		finding_add(
			findings, FINDING_NOTE, "certificate",
			"it matters from the day a quantum computer can forge it, not for what is recorded today; --key ml-dsa-65 "
			"makes it quantum-safe now",
			"%s (%s) has a %s key, which proves itself classically", path, text->subject, text->key_type);
}

static void add_certificates(const char *path, struct findings *findings)
{
	struct inspect_details *list = NULL;
	char problem[INSPECT_PROBLEM_BYTES] = "";
	size_t count = 0;
	int result = inspect_file(path, &list, &count, problem);

	// What is wrong with the file itself is said by identity_load.
	for (size_t i = 0; result == 0 && i < count; i++)
		add_certificate(path, &list[i], findings);
	free(list);
}

static void add_lists(const char *path, struct findings *findings)
{
	struct revoke_details *lists = NULL;
	char problem[REVOKE_PROBLEM_BYTES] = "", until[32];
	size_t count = 0;
	int result = revoke_inspect(path, &lists, &count, problem);

	for (size_t i = 0; result == 0 && i < count; i++) {
		int64_t left = lists[i].next_update - (int64_t)time(NULL);
		bool is_soon = lists[i].next_update != 0 && left < (int64_t)LIST_SOON_DAYS * DAY_S;
		date_text(lists[i].next_update, until);
		finding_add(findings, is_soon ? FINDING_WARNING : FINDING_OK, "revocation list",
		            is_soon ? "get the next one (qanat cert crl), then SIGHUP" : NULL,
		            "%s (%s), %zu revoked, is good until %s", path, lists[i].issuer, lists[i].count, until);
	}
	revoke_free(lists, count);
}

static void try_identity(const struct load *load, struct findings *findings)
{
	const struct config *config = load->config;
	const char *name = schema_command_name(load->command);
	const struct identity_files files = tunnel_identity_files(config, load->command == CONFIG_SOURCE ? IDENTITY_CLIENT
	                                                                                                 : IDENTITY_SERVER);
	struct identity *identity = NULL;
	char problem[IDENTITY_PROBLEM_BYTES] = "";
	int result = identity_load(&files, &identity, problem);

	if (result != 0)
		finding_add(findings, FINDING_ERROR, "identity", "qanat cert show and qanat cert verify tell more", "%s: %s",
		            name, result < 0 ? outcome_text(result) : problem);
	else
		finding_add(findings, FINDING_OK, "identity", NULL, "%s: certificate, key and CA belong together", name);
	identity_unref(&identity);
	add_certificates(config->auth.cert_path, findings);
	add_certificates(config->auth.ca_cert_path, findings);
	for (size_t i = 0; i < config->auth.crl_count; i++)
		add_lists(config->auth.crl_paths[i], findings);
}

static void try_proxy(const struct config *config, struct findings *findings)
{
	char problem[PROXY_PROBLEM_BYTES] = "";
	if (proxy_try(config, problem))
		finding_add(findings, FINDING_OK, "identity", NULL, "proxy: certificates, keys and CA can be used");
	else
		finding_add(findings, FINDING_ERROR, "identity", "qanat cert show and qanat cert verify tell more", "proxy: %s",
		            problem);
	for (size_t i = 0; i < certificates_count(config); i++)
		add_certificates(certificates_at(config, i).cert_path, findings);
	if (config->proxy.ca_cert_path)
		add_certificates(config->proxy.ca_cert_path, findings);
	for (size_t i = 0; i < config->proxy.crl_count; i++)
		add_lists(config->proxy.crl_paths[i], findings);
}

// ---- the sections there are

// False: the file has no such section. A file that cannot be read is told about once.
static bool judge(const char *path, enum config_command command, bool *is_unreadable, struct findings *findings)
{
	char flag[] = "-c";
	char *argv[] = {flag, (char *)path, NULL};
	struct load_input input = {.command = command, .argc = 2, .argv = argv, .environment = environ};
	struct load load;
	int result = load_run(&input, &load);
	bool has_section = command == CONFIG_SOURCE ? load.has_source
	                   : command == CONFIG_DEST ? load.has_dest
	                                            : load.has_proxy;
	bool is_meant = load.is_unreadable || has_section;

	*is_unreadable = load.is_unreadable;
	bool is_good = is_meant && add_problems(&load, result, findings);
	if (is_good && command == CONFIG_PROXY)
		try_proxy(load.config, findings);
	else if (is_good)
		try_identity(&load, findings);
	load_fini(&load);
	return is_meant;
}

void doctor_files(const char *path, struct findings *findings)
{
	bool is_unreadable = false;
	bool is_found = judge(path, CONFIG_SOURCE, &is_unreadable, findings);

	if (!is_unreadable)
		is_found = judge(path, CONFIG_DEST, &is_unreadable, findings) || is_found;
	if (!is_unreadable)
		is_found = judge(path, CONFIG_PROXY, &is_unreadable, findings) || is_found;
	if (!is_found)
		finding_add(findings, FINDING_ERROR, "configuration", "name the file of a source, a dest or a proxy",
		            "%s has no section [source], [dest] or [proxy]", path);
}
