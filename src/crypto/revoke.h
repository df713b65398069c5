// What takes certificates back: an entry in the CA's index, then in its next revocation list.

#pragma once

#include "core/outcome.h"
#include "crypto/authority.h"

#include <stdbool.h>
#include <stdint.h>

#define REVOKE_PROBLEM_BYTES 512
enum { REVOKE_REFUSED = 1, REVOKE_ALREADY = 2 };

struct revoke_request {
	struct authority_files ca; // without its key: a revocation is only written down here
	const char *cert_path;     // the certificate; or
	const char *serial;        // its serial number in hex (capitals and ':' allowed), which the index must know
	enum index_reason reason;
};
// `entry` receives what is known of the certificate. REVOKE_ALREADY: for the same reason, nothing was changed. Refused:
// not of this CA, a serial number that the index does not know, already revoked for another reason.
MUST_USE int revoke_certificate(const struct revoke_request *request, struct index_entry *entry,
                                char problem[REVOKE_PROBLEM_BYTES]);

enum { REVOKE_MAX_LIST_DAYS = 3650 };

struct revoke_list {
	struct authority_files ca;
	const char *out_path;
	unsigned days; // until the next one is due, 1..REVOKE_MAX_LIST_DAYS
	bool force;    // replace an older list
};
// Writes a revocation list (RFC 5280 5: version 2, number, AKI, a reason for each entry that has one) of everything the
// index has as revoked, mode 0644. Its number is one more than the last, in the index or in the list that is replaced;
// it is in the index before the file is there. Refused: when the list to be replaced has entries that the index does
// not know, for then they would be forgotten.
MUST_USE int revoke_write_list(const struct revoke_list *list, struct index_list *written,
                               char problem[REVOKE_PROBLEM_BYTES]);

struct revoke_item {
	char serial[48];
	int64_t at;
	char reason[32];
};
// A revocation list as people see it. Texts as in struct identity_text.
struct revoke_details {
	char issuer[256];
	char signature[32];
	char number[48]; // decimal; "" when it has none
	char authority_key_identifier[68];
	int64_t this_update, next_update; // 0: not said
	size_t count;
	struct revoke_item *items;
};
// All lists of a PEM file; freed with revoke_free.
MUST_USE int revoke_inspect(const char *path, struct revoke_details **lists, size_t *count,
                            char problem[REVOKE_PROBLEM_BYTES]);
void revoke_free(struct revoke_details *lists, size_t count);
