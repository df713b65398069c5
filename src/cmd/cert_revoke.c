// The verbs that work with the CA's index: revoke, crl, list.

#include "cmd/cert_internal.h"
#include "cmd/cert_report.h"
#include "crypto/revoke.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LIST_DEFAULT_DAYS = 30, DAY_S = 86400 };

int cert_revoke(const struct cert_verb *verb, const struct cert_options *options)
{
	struct revoke_request request = {.ca = cert_flags_ca(options),
	                                 .cert_path = options->cert,
	                                 .serial = options->serial};
	struct index_entry entry;
	char problem[REVOKE_PROBLEM_BYTES] = "";

	if (!options->cert == !options->serial)
		return cert_usage_error(verb->name, "give one of ", "--cert and --serial");
	if (options->reason && index_reason_parse(options->reason, &request.reason) != 0)
		return cert_usage_error(verb->name,
		                        "--reason is one of unspecified, key-compromise, affiliation-changed, superseded, "
		                        "cessation-of-operation and privilege-withdrawn, not ",
		                        options->reason);
	int result = revoke_certificate(&request, &entry, problem);
	if (result != 0 && result != REVOKE_ALREADY)
		return cert_failed(verb, result, problem);
	printf("%s serial %s (%s): %s\n", result == REVOKE_ALREADY ? "Was revoked already:" : "Revoked:", entry.serial,
	       entry.subject, index_reason_name(entry.reason));
	puts("Peers learn of it from the next revocation list: qanat cert crl");
	return 0;
}

int cert_crl(const struct cert_verb *verb, const struct cert_options *options)
{
	struct revoke_list request = {.ca = cert_flags_ca(options),
	                              .out_path = options->out_crl,
	                              .days = LIST_DEFAULT_DAYS,
	                              .force = options->force};
	struct index_list written;
	char problem[REVOKE_PROBLEM_BYTES] = "";
	int status = cert_flags_number(verb, "--days", options->days, REVOKE_MAX_LIST_DAYS, &request.days);

	if (status != 0)
		return status;
	int result = revoke_write_list(&request, &written, problem);
	if (result != 0)
		return cert_failed(verb, result, problem);
	cert_report_list_written(request.out_path, &written);
	return 0;
}

// Whether a later certificate of the same subject and usage takes its place.
static bool is_followed(const struct index_entry *entry, const struct index_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct index_entry *other = &entries[i];
		if (other->not_after > entry->not_after && !other->revoked_at && !other->is_withdrawn &&
		    strcmp(other->subject, entry->subject) == 0 && strcmp(other->usage, entry->usage) == 0 &&
		    strcmp(other->names, entry->names) == 0)
			return true;
	}
	return false;
}

static bool is_due(const struct index_entry *entry, int64_t now, unsigned days)
{
	return !entry->revoked_at && !entry->is_withdrawn && entry->not_after >= now &&
	       entry->not_after <= now + (int64_t)days * DAY_S;
}

int cert_list(const struct cert_verb *verb, const struct cert_options *options)
{
	const struct authority_files files = cert_flags_ca(options);
	struct authority authority = {0};
	struct cert_report_index report = {.now = (int64_t)time(NULL), .json = options->json};
	char problem[AUTHORITY_PROBLEM_BYTES] = "";
	unsigned days = 0;
	size_t count = 0, due = 0;
	int status = cert_flags_number(verb, "--expires-in", options->expires_in, ISSUE_MAX_DAYS, &days);

	if (status != 0)
		return status;
	int result = authority_open(&files, INDEX_TO_READ, &authority, problem);
	if (result != 0)
		return cert_failed(verb, result, problem);
	const struct index_entry *entries = index_entries(authority.index, &count);
	cert_report_index_start(&report);
	for (size_t i = 0; i < count; i++) {
		bool is_shown = days == 0;
		if (days > 0 && is_due(&entries[i], report.now, days) && !is_followed(&entries[i], entries, count)) {
			is_shown = true;
			due++;
		}
		if (is_shown)
			cert_report_index_entry(&report, &entries[i]);
	}
	cert_report_index_end(&report, index_last_list(authority.index));
	authority_close(&authority);
	return due > 0 ? CERT_FAILED : 0;
}
