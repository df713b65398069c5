#include "cmd/cert_report.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DATE_BYTES = CERT_REPORT_DATE_BYTES, DAY_S = 86400 };

static const char *date_text(int64_t seconds, const char *format, char text[DATE_BYTES])
{
	time_t when = (time_t)seconds;
	struct tm parts;

	if (!gmtime_r(&when, &parts) || strftime(text, DATE_BYTES, format, &parts) == 0)
		snprintf(text, DATE_BYTES, "unknown");
	return text;
}

const char *cert_report_date(int64_t seconds, char text[DATE_BYTES])
{
	return date_text(seconds, "%Y-%m-%d %H:%M:%S UTC", text);
}

const char *cert_report_or_none(const char *text)
{
	return text[0] ? text : "none";
}

void cert_report_issued(const char *cert_path, const char *key_path, const struct inspect_details *details)
{
	char from[DATE_BYTES], to[DATE_BYTES];

	printf("Certificate: %s\n", cert_path);
	if (key_path)
		printf("Private key: %s (only you can read it; keep it so)\n", key_path);
	printf("Subject:     %s\n", details->text.subject);
	printf("Names:       %s\n", cert_report_or_none(details->names));
	printf("Valid:       %s to %s\n", cert_report_date(details->text.not_before, from),
	       cert_report_date(details->text.not_after, to));
	printf("Key:         %s, signed with %s\n", details->text.key_type, details->text.signature);
	printf("Fingerprint: SHA-256 %s\n", details->text.fingerprint);
}

static void print_details(const struct inspect_details *details)
{
	const struct identity_text *text = &details->text;
	int64_t now = (int64_t)time(NULL);
	char from[DATE_BYTES], to[DATE_BYTES];

	printf("Subject:                   %s\n", cert_report_or_none(text->subject));
	printf("Issuer:                    %s\n", cert_report_or_none(details->issuer));
	printf("Serial number:             %s\n", text->serial);
	printf("Valid from:                %s%s\n", cert_report_date(text->not_before, from),
	       text->not_before > now ? " (not yet valid)" : "");
	if (text->not_after < now)
		printf("Valid until:               %s (expired)\n", cert_report_date(text->not_after, to));
	else
		printf("Valid until:               %s (%lld days left)\n", cert_report_date(text->not_after, to),
		       (long long)((text->not_after - now) / DAY_S));
	printf("Key:                       %s\n", text->key_type);
	printf("Signature algorithm:       %s\n", text->signature);
	printf("Key usage:                 %s\n", cert_report_or_none(details->key_usage));
	printf("Extended key usage:        %s\n", cert_report_or_none(details->extended_key_usage));
	printf("Subject alternative names: %s\n", cert_report_or_none(details->names));
	if (details->is_ca && details->path_length >= 0)
		printf("CA:                        yes, path length %ld\n", details->path_length);
	else
		printf("CA:                        %s\n", details->is_ca ? "yes" : "no");
	printf("Subject key identifier:    %s\n", cert_report_or_none(details->subject_key_identifier));
	printf("Authority key identifier:  %s\n", cert_report_or_none(details->authority_key_identifier));
	printf("Fingerprint:               SHA-256 %s\n", text->fingerprint);
}

// ---- JSON

// Bytes that are not UTF-8 come from our own command line or file names; they are replaced by a placeholder.
json_t *cert_report_json_text(const char *text)
{
	json_t *value = json_string(text);
	return value ? value : json_string("(not UTF-8)");
}

// Commas inside a name are escaped, so each one separates.
json_t *cert_report_json_names(const char *names)
{
	json_t *list = json_array();

	while (*names) {
		size_t length = strcspn(names, ",");
		json_array_append_new(list, json_stringn(names, length));
		names += length + (names[length] == ',');
	}
	return list;
}

json_t *cert_report_json_date(int64_t seconds)
{
	char text[DATE_BYTES];
	return json_string(date_text(seconds, "%Y-%m-%dT%H:%M:%SZ", text));
}

static json_t *json_details(const struct inspect_details *details)
{
	const struct identity_text *text = &details->text;
	json_t *object = json_object();

	json_object_set_new(object, "subject", cert_report_json_text(text->subject));
	json_object_set_new(object, "common_name", cert_report_json_text(text->common_name));
	json_object_set_new(object, "issuer", cert_report_json_text(details->issuer));
	json_object_set_new(object, "serial", cert_report_json_text(text->serial));
	json_object_set_new(object, "not_before", cert_report_json_date(text->not_before));
	json_object_set_new(object, "not_after", cert_report_json_date(text->not_after));
	json_object_set_new(object, "key", cert_report_json_text(text->key_type));
	json_object_set_new(object, "signature", cert_report_json_text(text->signature));
	json_object_set_new(object, "key_usage", cert_report_json_text(details->key_usage));
	json_object_set_new(object, "extended_key_usage", cert_report_json_text(details->extended_key_usage));
	json_object_set_new(object, "names", cert_report_json_names(details->names));
	json_object_set_new(object, "is_ca", json_boolean(details->is_ca));
	json_object_set_new(object, "path_length",
	                    details->path_length >= 0 ? json_integer(details->path_length) : json_null());
	json_object_set_new(object, "subject_key_identifier", cert_report_json_text(details->subject_key_identifier));
	json_object_set_new(object, "authority_key_identifier", cert_report_json_text(details->authority_key_identifier));
	json_object_set_new(object, "fingerprint_sha256", cert_report_json_text(text->fingerprint));
	return object;
}

void cert_report_print(json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(value);
}

void cert_report_list(const struct inspect_details *list, size_t count, bool json)
{
	json_t *certificates = json ? json_array() : NULL;

	for (size_t i = 0; i < count; i++) {
		if (json) {
			json_array_append_new(certificates, json_details(&list[i]));
			continue;
		}
		if (count > 1)
			printf("%sCertificate %zu of %zu\n", i > 0 ? "\n" : "", i + 1, count);
		print_details(&list[i]);
	}
	if (!json)
		return;
	json_t *object = json_object();
	json_object_set_new(object, "certificates", certificates);
	cert_report_print(object);
}

void cert_report_problem(const char *problem)
{
	json_t *object = json_object();

	json_object_set_new(object, "passed", json_false());
	json_object_set_new(object, "problem", cert_report_json_text(problem));
	cert_report_print(object);
}

static json_t *json_judgement(bool passed, const char *reason)
{
	json_t *object = json_object();

	json_object_set_new(object, "passed", json_boolean(passed));
	json_object_set_new(object, "reason", passed ? json_null() : cert_report_json_text(reason));
	return object;
}

static void print_verdict_json(const struct inspect_question *question, const struct inspect_verdict *verdict,
                               bool passed)
{
	json_t *object = json_object();

	json_object_set_new(object, "passed", json_boolean(passed));
	json_object_set_new(object, "chain", json_judgement(verdict->chain_passed, verdict->chain_reason));
	if (question->name) {
		json_t *name = json_judgement(verdict->name_passed, verdict->name_reason);
		json_object_set_new(name, "name", cert_report_json_text(question->name));
		json_object_set_new(object, "hostname", name);
	}
	if (question->expires_in_days)
		json_object_set_new(object, "expiry", json_judgement(verdict->expiry_passed, verdict->expiry_reason));
	cert_report_print(object);
}

static void print_judgement(bool passed, const char *reason)
{
	if (passed)
		puts("PASSED");
	else
		printf("FAILED (%s)\n", reason);
}

bool cert_report_verdict(const struct inspect_question *question, const struct inspect_verdict *verdict, bool json)
{
	bool passed = verdict->chain_passed && verdict->name_passed && verdict->expiry_passed;

	if (json) {
		print_verdict_json(question, verdict, passed);
		return passed;
	}
	printf("Certificate chain verification: ");
	print_judgement(verdict->chain_passed, verdict->chain_reason);
	if (question->name) {
		printf("Hostname verification for '%s': ", question->name);
		print_judgement(verdict->name_passed, verdict->name_reason);
	}
	if (question->expires_in_days) {
		printf("Valid for more than %u days: ", question->expires_in_days);
		print_judgement(verdict->expiry_passed, verdict->expiry_reason);
	}
	if (passed)
		puts("All verifications passed successfully");
	return passed;
}
