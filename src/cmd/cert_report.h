// What `qanat cert` says about certificates, as text or as JSON, on standard output. Never a key.

#pragma once

#include "crypto/index.h"
#include "crypto/inspect.h"
#include "crypto/request.h"
#include "crypto/revoke.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

// `key_path` NULL: no key was made.
void cert_report_issued(const char *cert_path, const char *key_path, const struct inspect_details *details);
void cert_report_list(const struct inspect_details *list, size_t count, bool json);
// True when everything passed.
bool cert_report_verdict(const struct inspect_question *question, const struct inspect_verdict *verdict, bool json);
// A file that could not be used, as JSON.
void cert_report_problem(const char *problem);

// ---- cert_report_life.c

// Subject, names, key: in the form of cert_report_issued.
void cert_report_request_short(const struct request_details *details);
void cert_report_request(const struct request_details *details, bool json);
void cert_report_lists(const struct revoke_details *lists, size_t count, bool json);
void cert_report_list_written(const char *path, const struct index_list *written);

// The index, entry by entry.
struct cert_report_index {
	int64_t now;
	bool json;
	json_t *entries;
	size_t count;
};
void cert_report_index_start(struct cert_report_index *report);
void cert_report_index_entry(struct cert_report_index *report, const struct index_entry *entry);
void cert_report_index_end(struct cert_report_index *report, uint64_t last_list);

// ---- shared by both

#define CERT_REPORT_DATE_BYTES 40
const char *cert_report_date(int64_t seconds, char text[CERT_REPORT_DATE_BYTES]);
const char *cert_report_or_none(const char *text);
json_t *cert_report_json_date(int64_t seconds);
json_t *cert_report_json_text(const char *text);
json_t *cert_report_json_names(const char *names);
void cert_report_print(json_t *value);
