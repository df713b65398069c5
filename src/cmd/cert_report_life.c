// What `qanat cert` says about requests, revocation lists and the CA's index.

#include "cmd/cert_report.h"

#include <stdio.h>

enum { DATE_BYTES = CERT_REPORT_DATE_BYTES, DAY_S = 86400 };

// ---- requests

void cert_report_request_short(const struct request_details *details)
{
	printf("Subject:     %s\n", cert_report_or_none(details->subject));
	printf("Names:       %s\n", cert_report_or_none(details->names));
	printf("Key:         %s, self-signed with %s\n", details->key_type, details->signature);
}

static void print_request_json(const struct request_details *details)
{
	json_t *object = json_object(), *list = json_array();

	json_object_set_new(object, "subject", cert_report_json_text(details->subject));
	json_object_set_new(object, "common_name", cert_report_json_text(details->common_name));
	json_object_set_new(object, "names", cert_report_json_names(details->names));
	json_object_set_new(object, "key", cert_report_json_text(details->key_type));
	json_object_set_new(object, "signature", cert_report_json_text(details->signature));
	json_object_set_new(object, "not_given", cert_report_json_text(details->ignored));
	json_object_set_new(object, "self_signature_is_good", json_boolean(details->is_self_signed));
	json_object_set_new(object, "is_acceptable", json_boolean(details->is_acceptable));
	json_object_set_new(object, "fault", details->is_acceptable ? json_null() : cert_report_json_text(details->fault));
	json_array_append_new(list, object);
	object = json_object();
	json_object_set_new(object, "requests", list);
	cert_report_print(object);
}

void cert_report_request(const struct request_details *details, bool json)
{
	if (json) {
		print_request_json(details);
		return;
	}
	puts("Request for a certificate");
	printf("Subject:                   %s\n", cert_report_or_none(details->subject));
	printf("Key:                       %s\n", details->key_type);
	printf("Signature algorithm:       %s\n", details->signature);
	printf("Self-signature:            %s\n", details->is_self_signed ? "good" : "WRONG");
	printf("Subject alternative names: %s\n", cert_report_or_none(details->names));
	printf("Also asked for, not given: %s\n", cert_report_or_none(details->ignored));
	printf("qanat cert sign:           %s%s\n",
	       details->is_acceptable ? "would take it" : "refuses it: ", details->is_acceptable ? "" : details->fault);
}

// ---- revocation lists

static json_t *json_list(const struct revoke_details *list)
{
	json_t *object = json_object(), *items = json_array();

	for (size_t i = 0; i < list->count; i++) {
		json_t *item = json_object();
		json_object_set_new(item, "serial", cert_report_json_text(list->items[i].serial));
		json_object_set_new(item, "revoked_at", cert_report_json_date(list->items[i].at));
		json_object_set_new(item, "reason", cert_report_json_text(list->items[i].reason));
		json_array_append_new(items, item);
	}
	json_object_set_new(object, "issuer", cert_report_json_text(list->issuer));
	json_object_set_new(object, "number", list->number[0] ? cert_report_json_text(list->number) : json_null());
	json_object_set_new(object, "this_update", cert_report_json_date(list->this_update));
	json_object_set_new(object, "next_update",
	                    list->next_update ? cert_report_json_date(list->next_update) : json_null());
	json_object_set_new(object, "signature", cert_report_json_text(list->signature));
	json_object_set_new(object, "authority_key_identifier", cert_report_json_text(list->authority_key_identifier));
	json_object_set_new(object, "revoked", items);
	return object;
}

static void print_list(const struct revoke_details *list)
{
	char date[DATE_BYTES];

	puts("Revocation list");
	printf("Issuer:                    %s\n", cert_report_or_none(list->issuer));
	printf("Number:                    %s\n", cert_report_or_none(list->number));
	printf("Made:                      %s\n", cert_report_date(list->this_update, date));
	printf("Next due:                  %s\n",
	       list->next_update ? cert_report_date(list->next_update, date) : "not said");
	printf("Signature algorithm:       %s\n", list->signature);
	printf("Authority key identifier:  %s\n", cert_report_or_none(list->authority_key_identifier));
	printf("Revoked certificates:      %zu\n", list->count);
	for (size_t i = 0; i < list->count; i++)
		printf("  %s  %s  %s\n", list->items[i].serial, cert_report_date(list->items[i].at, date),
		       list->items[i].reason);
}

void cert_report_lists(const struct revoke_details *lists, size_t count, bool json)
{
	json_t *array = json ? json_array() : NULL;

	for (size_t i = 0; i < count; i++) {
		if (json)
			json_array_append_new(array, json_list(&lists[i]));
		else
			print_list(&lists[i]);
	}
	if (!json)
		return;
	json_t *object = json_object();
	json_object_set_new(object, "revocation_lists", array);
	cert_report_print(object);
}

void cert_report_list_written(const char *path, const struct index_list *written)
{
	char date[DATE_BYTES];

	printf("Revocation list: %s\n", path);
	printf("Number:          %llu\n", (unsigned long long)written->number);
	printf("Revoked:         %zu certificate%s\n", written->count, written->count == 1 ? "" : "s");
	printf("Next due:        %s\n", cert_report_date(written->next_update, date));
}

// ---- the index

static const char *state_of(const struct index_entry *entry, int64_t now)
{
	if (entry->revoked_at)
		return "revoked";
	if (entry->is_withdrawn)
		return "withdrawn";
	if (entry->not_after < now)
		return "expired";
	return entry->not_before > now ? "early" : "valid";
}

void cert_report_index_start(struct cert_report_index *report)
{
	report->entries = report->json ? json_array() : NULL;
	report->count = 0;
}

static json_t *json_entry(const struct cert_report_index *report, const struct index_entry *entry)
{
	json_t *object = json_object();

	json_object_set_new(object, "serial", cert_report_json_text(entry->serial));
	json_object_set_new(object, "state", cert_report_json_text(state_of(entry, report->now)));
	json_object_set_new(object, "subject", cert_report_json_text(entry->subject));
	json_object_set_new(object, "names", cert_report_json_names(entry->names));
	json_object_set_new(object, "usage", cert_report_json_text(entry->usage));
	json_object_set_new(object, "key", cert_report_json_text(entry->key_type));
	json_object_set_new(object, "fingerprint_sha256", cert_report_json_text(entry->fingerprint));
	json_object_set_new(object, "issued_at", entry->issued_at ? cert_report_json_date(entry->issued_at) : json_null());
	json_object_set_new(object, "not_before",
	                    entry->not_before ? cert_report_json_date(entry->not_before) : json_null());
	json_object_set_new(object, "not_after", cert_report_json_date(entry->not_after));
	json_object_set_new(object, "days_left", json_integer((entry->not_after - report->now) / DAY_S));
	json_object_set_new(object, "revoked_at",
	                    entry->revoked_at ? cert_report_json_date(entry->revoked_at) : json_null());
	json_object_set_new(object, "reason",
	                    entry->revoked_at ? cert_report_json_text(index_reason_name(entry->reason)) : json_null());
	return object;
}

void cert_report_index_entry(struct cert_report_index *report, const struct index_entry *entry)
{
	char date[DATE_BYTES];

	report->count++;
	if (report->json) {
		json_array_append_new(report->entries, json_entry(report, entry));
		return;
	}
	if (report->count == 1)
		printf("%-40s  %-9s  %5s  %-23s  %-13s  %s\n", "SERIAL", "STATE", "DAYS", "UNTIL", "USAGE", "SUBJECT");
	printf("%-40s  %-9s  %5lld  %-23s  %-13s  %s%s%s\n", entry->serial, state_of(entry, report->now),
	       (long long)((entry->not_after - report->now) / DAY_S), cert_report_date(entry->not_after, date),
	       cert_report_or_none(entry->usage), entry->subject, entry->revoked_at ? ", " : "",
	       entry->revoked_at ? index_reason_name(entry->reason) : "");
}

void cert_report_index_end(struct cert_report_index *report, uint64_t last_list)
{
	if (!report->json) {
		if (report->count == 0)
			puts("nothing");
		return;
	}
	json_t *object = json_object();
	json_object_set_new(object, "certificates", report->entries);
	json_object_set_new(object, "last_revocation_list", json_integer((json_int_t)last_list));
	cert_report_print(object);
}
