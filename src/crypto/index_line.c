#include "crypto/index_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { LINE_MAX_FIELDS = 11, DATE_BYTES = 24, DATE_LENGTH = 20, TM_YEAR_BASE = 1900 };

static const char *const reasons[] = {
	[INDEX_UNSPECIFIED] = "unspecified",
	[INDEX_KEY_COMPROMISE] = "key-compromise",
	[INDEX_AFFILIATION_CHANGED] = "affiliation-changed",
	[INDEX_SUPERSEDED] = "superseded",
	[INDEX_CESSATION_OF_OPERATION] = "cessation-of-operation",
	[INDEX_PRIVILEGE_WITHDRAWN] = "privilege-withdrawn",
};
_Static_assert(COUNT_OF(reasons) == INDEX_PRIVILEGE_WITHDRAWN + 1, "a word for every reason");

const char *index_reason_name(enum index_reason reason)
{
	return reasons[reason];
}

// Equal but for capitals and '-': RFC 5280 writes keyCompromise.
static bool is_same_word(const char *a, const char *b)
{
	for (;; a++, b++) {
		a += *a == '-';
		b += *b == '-';
		if (strncasecmp(a, b, 1) != 0)
			return false;
		if (!*a)
			return true;
	}
}

int index_reason_parse(const char *word, enum index_reason *reason)
{
	for (size_t i = 0; i < COUNT_OF(reasons); i++) {
		if (is_same_word(word, reasons[i])) {
			*reason = (enum index_reason)i;
			return 0;
		}
	}
	return 1;
}

// ---- fields

static const char *date_text(int64_t seconds, char text[DATE_BYTES])
{
	time_t when = (time_t)seconds;
	struct tm parts;

	if (!gmtime_r(&when, &parts) || strftime(text, DATE_BYTES, "%Y-%m-%dT%H:%M:%SZ", &parts) != DATE_LENGTH)
		snprintf(text, DATE_BYTES, "1970-01-01T00:00:00Z");
	return text;
}

static bool take_date(const char *text, int64_t *seconds)
{
	struct tm parts = {0};
	const char *end = strlen(text) == DATE_LENGTH ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts) : NULL;

	// A year of less than four digits would not be written as it was read.
	bool is_date = end && !*end && parts.tm_year + TM_YEAR_BASE >= 1000;

	*seconds = is_date ? (int64_t)timegm(&parts) : 0;
	return is_date;
}

// Printable ASCII only: a line may have been edited, and it ends on terminals.
static bool take_text(const char *text, char *into, size_t room)
{
	int length = snprintf(into, room, "%s", text);

	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			return false;

	return length > 0 && (size_t)length < room;
}

static bool take_hex(const char *text, char *into, size_t room)
{
	return text[strspn(text, "0123456789abcdef")] == 0 && take_text(text, into, room);
}

static bool take_number(const char *text, uint64_t *number)
{
	char *end = NULL;

	*number = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
	return end && !*end;
}

static size_t split(char *text, char *fields[LINE_MAX_FIELDS])
{
	size_t count = 0;
	char *field;

	while ((field = strsep(&text, "\t")) && count < LINE_MAX_FIELDS)
		fields[count++] = field;
	return field ? 0 : count;
}

// ---- lines

static bool take_issued(char *const *field, struct index_entry *entry)
{
	return take_hex(field[3], entry->serial, sizeof entry->serial) && take_date(field[4], &entry->not_before) &&
	       take_date(field[5], &entry->not_after) && take_text(field[6], entry->usage, sizeof entry->usage) &&
	       take_text(field[7], entry->key_type, sizeof entry->key_type) &&
	       take_hex(field[8], entry->fingerprint, sizeof entry->fingerprint) &&
	       take_text(field[9], entry->subject, sizeof entry->subject) &&
	       (!field[10][0] || take_text(field[10], entry->names, sizeof entry->names));
}

static bool take_revoked(char *const *field, struct index_entry *entry)
{
	return take_hex(field[3], entry->serial, sizeof entry->serial) &&
	       index_reason_parse(field[4], &entry->reason) == 0 && take_date(field[5], &entry->not_after) &&
	       take_text(field[6], entry->subject, sizeof entry->subject);
}

static bool take_list(char *const *field, struct index_line *line)
{
	uint64_t count = 0;
	bool is_good = take_number(field[3], &line->number) && take_date(field[4], &line->next_update) &&
	               take_number(field[5], &count);

	line->revoked_count = count;
	return is_good;
}

static int decode_fields(char *const *field, size_t count, struct index_line *line)
{
	struct index_entry *entry = &line->entry;

	if (count < 4 || !take_date(field[1], &line->at) || !take_hex(field[2], line->authority, sizeof line->authority))
		return 1;
	if (strcmp(field[0], "issued") == 0 && count == 11) {
		line->event = INDEX_LINE_ISSUED;
		entry->issued_at = line->at;
		return take_issued(field, entry) ? 0 : 1;
	}
	if (strcmp(field[0], "withdrawn") == 0 && count == 5) {
		line->event = INDEX_LINE_WITHDRAWN;
		return take_hex(field[3], entry->serial, sizeof entry->serial) ? 0 : 1;
	}
	if (strcmp(field[0], "revoked") == 0 && count == 7) {
		line->event = INDEX_LINE_REVOKED;
		entry->revoked_at = line->at;
		return take_revoked(field, entry) ? 0 : 1;
	}
	if (strcmp(field[0], "list") == 0 && count == 6) {
		line->event = INDEX_LINE_LIST;
		return take_list(field, line) ? 0 : 1;
	}
	return 1;
}

int index_line_decode(const char *text, struct index_line *line)
{
	char copy[LIMIT_INDEX_LINE_BYTES], *fields[LINE_MAX_FIELDS];
	size_t length = strlen(text);
	bool is_torn = length >= 5 && strcmp(text + length - 5, "\ttorn") == 0;

	*line = (struct index_line){.event = INDEX_LINE_REMARK};
	if (!text[0] || text[0] == '#' || is_torn)
		return 0;
	if (length >= sizeof copy)
		return 1;
	memcpy(copy, text, length + 1);
	return decode_fields(fields, split(copy, fields), line);
}

void index_line_encode(const struct index_line *line, char text[LIMIT_INDEX_LINE_BYTES])
{
	const struct index_entry *entry = &line->entry;
	char at[DATE_BYTES], from[DATE_BYTES], to[DATE_BYTES];

	date_text(line->at, at);
	date_text(entry->not_after, to);
	switch (line->event) {
	case INDEX_LINE_ISSUED:
		snprintf(text, LIMIT_INDEX_LINE_BYTES, "issued\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", at, line->authority,
		         entry->serial, date_text(entry->not_before, from), to, entry->usage, entry->key_type,
		         entry->fingerprint, entry->subject, entry->names);
		return;
	case INDEX_LINE_WITHDRAWN:
		snprintf(text, LIMIT_INDEX_LINE_BYTES, "withdrawn\t%s\t%s\t%s\t-\n", at, line->authority, entry->serial);
		return;
	case INDEX_LINE_REVOKED:
		snprintf(text, LIMIT_INDEX_LINE_BYTES, "revoked\t%s\t%s\t%s\t%s\t%s\t%s\n", at, line->authority, entry->serial,
		         index_reason_name(entry->reason), to, entry->subject);
		return;
	case INDEX_LINE_LIST:
		snprintf(text, LIMIT_INDEX_LINE_BYTES, "list\t%s\t%s\t%llu\t%s\t%zu\n", at, line->authority,
		         (unsigned long long)line->number, date_text(line->next_update, from), line->revoked_count);
		return;
	case INDEX_LINE_REMARK:
		snprintf(text, LIMIT_INDEX_LINE_BYTES, "#\n");
		return;
	}
}
