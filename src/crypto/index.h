// What a CA has issued, revoked and listed: a text file beside its certificate, one line per event, only ever appended
// to, and pruned of what is over for long. A line is on the disk before what it tells of exists (a certificate's file,
// a revocation list), so nothing issued is unrecorded; a crash in between leaves at most a line about a certificate
// that nobody has.
//
// Fields are separated by tabs, dates are UTC (2026-11-28T10:00:00Z), every text is printable ASCII:
//
//   issued     DATE CA SERIAL NOT-BEFORE NOT-AFTER USAGE KEY FINGERPRINT SUBJECT NAMES
//   withdrawn  DATE CA SERIAL -                    its file could not be written, so nobody has it
//   revoked    DATE CA SERIAL REASON NOT-AFTER SUBJECT
//   list       DATE CA NUMBER NEXT-UPDATE COUNT    a revocation list with COUNT entries
//
// CA is authority_identify's name of the CA, so a CA that is made anew under the same file name begins anew in the same
// index. Lines that begin with '#' are remarks. A crash while a line is written leaves a torn one: the next writer ends
// it with "torn", and it counts for nothing.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INDEX_AUTHORITY_BYTES 33
#define INDEX_SERIAL_BYTES 48
#define INDEX_PROBLEM_BYTES 512

// Spec: RFC 5280 5.3.1, those that make sense for a certificate that is no CA's and is never taken back into use.
enum index_reason {
	INDEX_UNSPECIFIED,
	INDEX_KEY_COMPROMISE,
	INDEX_AFFILIATION_CHANGED,
	INDEX_SUPERSEDED,
	INDEX_CESSATION_OF_OPERATION,
	INDEX_PRIVILEGE_WITHDRAWN,
};
const char *index_reason_name(enum index_reason reason);
// "key-compromise" or "keyCompromise". 1: none of them.
MUST_USE int index_reason_parse(const char *word, enum index_reason *reason);

struct index_entry {
	char serial[INDEX_SERIAL_BYTES]; // hex, as identity_text.serial
	int64_t issued_at;               // 0: issued before there was an index, and known by its revocation only
	int64_t not_before, not_after;   // not_before 0: not known
	char usage[16];                  // "server", "client", "server,client"
	char key_type[32];
	char fingerprint[65];
	char subject[256];
	char names[256];
	bool is_withdrawn;
	int64_t revoked_at; // 0: not
	enum index_reason reason;
};

enum { INDEX_REFUSED = 1 };
enum index_access { INDEX_TO_READ, INDEX_TO_WRITE };

struct index;
// To write: made when missing (mode 0600), locked against other writers until it is closed, a torn line ended. To read:
// a missing file is an empty index; what is read is a moment's state. Refused: not a file of ours, changeable by
// others, a line that is not understood (which one is said), locked for LIMIT_INDEX_LOCK_MS.
MUST_USE int index_open(const char *path, const char *authority, enum index_access access, struct index **index,
                        char problem[INDEX_PROBLEM_BYTES]);
void index_close(struct index **index);

const char *index_path(const struct index *index);

// The entries of this CA in the order they were issued; lent until the next change.
const struct index_entry *index_entries(const struct index *index, size_t *count);
// NULL when this CA has no such certificate.
const struct index_entry *index_find(const struct index *index, const char *serial);
// The number of the last revocation list; 0: there was none.
uint64_t index_last_list(const struct index *index);

// Each appends one line and returns when it is on the disk.
MUST_USE int index_add_issued(struct index *index, const struct index_entry *entry, char problem[INDEX_PROBLEM_BYTES]);
MUST_USE int index_add_withdrawn(struct index *index, const char *serial, char problem[INDEX_PROBLEM_BYTES]);
// `entry` is copied when the serial number is not known yet.
MUST_USE int index_add_revoked(struct index *index, const struct index_entry *entry, enum index_reason reason,
                               char problem[INDEX_PROBLEM_BYTES]);
struct index_list {
	uint64_t number;
	int64_t next_update;
	size_t count;
};
MUST_USE int index_add_list(struct index *index, const struct index_list *list, char problem[INDEX_PROBLEM_BYTES]);

// Takes out what is of no use any more: the lines of this CA's certificates that ended before that moment and were
// never revoked, and its lists but the last one. All else stays as it is, byte by byte. The file is replaced by rename
// when at least an eighth of this CA's certificates can go; *pruned tells how many went. To write only, and locked
// throughout.
MUST_USE int index_prune(struct index *index, int64_t ended_before, size_t *pruned, char problem[INDEX_PROBLEM_BYTES]);
