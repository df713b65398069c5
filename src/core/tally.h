// What came of the TLS connections to or for one target: handshakes by outcome, protocol version, group and signature
// algorithm, how long they took, and what was carried. Any thread adds, any thread reads; each number is exact, and
// they belong together only once nothing is added any more.

#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

// Each family is a row of numbers, named by the word of its place ("tls13"). What is not in the table is its last word,
// "other".
enum tally_family {
	TALLY_OUTCOME,
	TALLY_VERSION,
	TALLY_GROUP,
	TALLY_SIGNATURE,      // that our certificate made
	TALLY_SIGNATURE_PEER, // that the peer's certificate made; "none": it showed none
	TALLY_FAMILY_COUNT
};

enum tally_outcome { // of handshakes
	TALLY_OK,
	TALLY_TIMEOUT,
	TALLY_SILENT, // gone without having said a byte
	TALLY_CLOSED,
	TALLY_HTTP,
	TALLY_NOT_TLS,
	TALLY_BAD_PROXY_HEADER,
	TALLY_NO_VERSION,
	TALLY_BAD_ALPN,
	TALLY_NO_GROUP,
	TALLY_NO_SIGNATURE,
	TALLY_PROTOCOL,
	TALLY_PEER_ALERT,
	TALLY_NO_CERTIFICATE,
	TALLY_UNKNOWN_CA,
	TALLY_EXPIRED,
	TALLY_NOT_YET_VALID,
	TALLY_REVOKED,
	TALLY_NO_CRL,
	TALLY_WRONG_USAGE,
	TALLY_WRONG_NAME,
	TALLY_NOT_ALLOWED,
	TALLY_WRONG_PIN,
	TALLY_CLASSICAL, // a signature, where post-quantum ones are demanded
	TALLY_BAD_SIGNATURE,
	TALLY_BAD_CERTIFICATE,
	TALLY_INTERNAL,
	TALLY_OUTCOME_COUNT
};

enum tally_number { // gauges and counters
	TALLY_OPEN,     // connections that are joined now
	TALLY_JOINED,   // so far
	TALLY_SENT,     // bytes to the target
	TALLY_RECEIVED, // bytes from the target
	TALLY_UNREACHABLE,
	TALLY_NUMBER_COUNT
};

#define TALLY_WORDS_MAX 32
// Upper bounds of a handshake's time in microseconds; what took longer is beyond the last one.
#define TALLY_BOUNDS 13
extern const uint32_t tally_bounds_us[TALLY_BOUNDS];

struct tally {
	_Atomic uint64_t word[TALLY_FAMILY_COUNT][TALLY_WORDS_MAX];
	_Atomic uint64_t number[TALLY_NUMBER_COUNT];
	_Atomic uint64_t took[TALLY_BOUNDS + 1], took_us; // each handshake in one bucket; and the sum of times
};

struct tally_sums { // a copy to look at
	uint64_t word[TALLY_FAMILY_COUNT][TALLY_WORDS_MAX];
	uint64_t number[TALLY_NUMBER_COUNT];
	uint64_t took[TALLY_BOUNDS + 1], took_us;
};

void tally_outcome(struct tally *tally, enum tally_outcome outcome);
// A handshake that was finished: what was negotiated, as the library calls it, and how long it took.
struct tally_handshake {
	const char *version, *group, *signature, *signature_peer;
	uint64_t took_us;
};
void tally_negotiated(struct tally *tally, const struct tally_handshake *handshake);
void tally_add(struct tally *tally, enum tally_number number, uint64_t amount);
void tally_take_off(struct tally *tally, enum tally_number number, uint64_t amount);
void tally_read(const struct tally *tally, struct tally_sums *sums);

// The label of a family ("group"), its words, and how many there are.
const char *tally_label(enum tally_family family);
const char *tally_word(enum tally_family family, size_t place);
size_t tally_words(enum tally_family family);
