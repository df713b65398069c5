#include "core/tally.h"

#include "core/outcome.h"

#include <string.h>
#include <strings.h>

const uint32_t tally_bounds_us[TALLY_BOUNDS] = {500,    1000,   2500,   5000,    10000,   25000,   50000,
                                                100000, 250000, 500000, 1000000, 2500000, 10000000};

static const char *const outcomes[] = {
	[TALLY_OK] = "ok",
	[TALLY_TIMEOUT] = "timeout",
	[TALLY_SILENT] = "silent",
	[TALLY_CLOSED] = "closed",
	[TALLY_HTTP] = "http",
	[TALLY_NOT_TLS] = "not_tls",
	[TALLY_BAD_PROXY_HEADER] = "bad_proxy_header",
	[TALLY_NO_VERSION] = "no_common_version",
	[TALLY_BAD_ALPN] = "bad_alpn",
	[TALLY_NO_GROUP] = "no_common_group",
	[TALLY_NO_SIGNATURE] = "no_common_signature",
	[TALLY_PROTOCOL] = "protocol_error",
	[TALLY_PEER_ALERT] = "peer_alert",
	[TALLY_NO_CERTIFICATE] = "no_certificate",
	[TALLY_UNKNOWN_CA] = "unknown_ca",
	[TALLY_EXPIRED] = "expired",
	[TALLY_NOT_YET_VALID] = "not_yet_valid",
	[TALLY_REVOKED] = "revoked",
	[TALLY_NO_CRL] = "no_crl",
	[TALLY_WRONG_USAGE] = "wrong_usage",
	[TALLY_WRONG_NAME] = "wrong_name",
	[TALLY_NOT_ALLOWED] = "not_allowed",
	[TALLY_WRONG_PIN] = "wrong_pin",
	[TALLY_CLASSICAL] = "classical_signature",
	[TALLY_BAD_SIGNATURE] = "bad_signature",
	[TALLY_BAD_CERTIFICATE] = "bad_certificate",
	[TALLY_INTERNAL] = "internal",
};
static const char *const versions[] = {"TLSv1.3", "TLSv1.2", "other"};
// The library's names, where it has several of one group they stand in `aliases`.
static const char *const groups[] = {
	"X25519MLKEM768",
	"SecP256r1MLKEM768",
	"SecP384r1MLKEM1024",
	"MLKEM512",
	"MLKEM768",
	"MLKEM1024",
	"X25519",
	"P-256",
	"P-384",
	"P-521",
	"X448",
	"ffdhe2048",
	"ffdhe3072",
	"ffdhe4096",
	"none",
	"other",
};
static const char *const signatures[] = {
	"mldsa44",
	"mldsa65",
	"mldsa87",
	"ecdsa_secp256r1_sha256",
	"ecdsa_secp384r1_sha384",
	"ecdsa_secp521r1_sha512",
	"ed25519",
	"ed448",
	"rsa_pss_rsae_sha256",
	"rsa_pss_rsae_sha384",
	"rsa_pss_rsae_sha512",
	"rsa_pss_pss_sha256",
	"rsa_pss_pss_sha384",
	"rsa_pss_pss_sha512",
	"rsa_pkcs1_sha256",
	"rsa_pkcs1_sha384",
	"rsa_pkcs1_sha512",
	"none",
	"other",
};
_Static_assert(COUNT_OF(outcomes) == TALLY_OUTCOME_COUNT, "an outcome has no word");

static const struct family {
	const char *label;
	const char *const *words;
	size_t count;
} families[] = {
	[TALLY_OUTCOME] = {"outcome", outcomes, COUNT_OF(outcomes)},
	[TALLY_VERSION] = {"version", versions, COUNT_OF(versions)},
	[TALLY_GROUP] = {"group", groups, COUNT_OF(groups)},
	[TALLY_SIGNATURE] = {"signature", signatures, COUNT_OF(signatures)},
	[TALLY_SIGNATURE_PEER] = {"signature_peer", signatures, COUNT_OF(signatures)},
};
_Static_assert(COUNT_OF(families) == TALLY_FAMILY_COUNT, "a family has no words");
_Static_assert(COUNT_OF(outcomes) <= TALLY_WORDS_MAX && COUNT_OF(signatures) <= TALLY_WORDS_MAX &&
                   COUNT_OF(groups) <= TALLY_WORDS_MAX,
               "a family has more words than there is room for");

static const char *plain_name(const char *name)
{
	static const char *const aliases[][2] = {
		{"secp256r1", "P-256"}, {"prime256v1", "P-256"}, {"secp384r1", "P-384"}, {"secp521r1", "P-521"}, {"", "none"}};
	for (size_t i = 0; i < COUNT_OF(aliases); i++)
		if (strcasecmp(name, aliases[i][0]) == 0)
			return aliases[i][1];
	return name;
}

static void count_word(struct tally *tally, enum tally_family family, const char *name)
{
	const struct family *table = &families[family];
	const char *wanted = plain_name(name ? name : "");
	size_t place = 0;
	while (place < table->count - 1 && strcasecmp(table->words[place], wanted) != 0)
		place++;
	atomic_fetch_add_explicit(&tally->word[family][place], 1, memory_order_relaxed);
}

void tally_outcome(struct tally *tally, enum tally_outcome outcome)
{
	atomic_fetch_add_explicit(&tally->word[TALLY_OUTCOME][outcome], 1, memory_order_relaxed);
}

void tally_negotiated(struct tally *tally, const struct tally_handshake *handshake)
{
	size_t bucket = 0;
	tally_outcome(tally, TALLY_OK);
	count_word(tally, TALLY_VERSION, handshake->version);
	count_word(tally, TALLY_GROUP, handshake->group);
	count_word(tally, TALLY_SIGNATURE, handshake->signature);
	count_word(tally, TALLY_SIGNATURE_PEER, handshake->signature_peer);
	while (bucket < TALLY_BOUNDS && handshake->took_us > tally_bounds_us[bucket])
		bucket++;
	atomic_fetch_add_explicit(&tally->took[bucket], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&tally->took_us, handshake->took_us, memory_order_relaxed);
}

void tally_add(struct tally *tally, enum tally_number number, uint64_t amount)
{
	atomic_fetch_add_explicit(&tally->number[number], amount, memory_order_relaxed);
}

void tally_take_off(struct tally *tally, enum tally_number number, uint64_t amount)
{
	atomic_fetch_sub_explicit(&tally->number[number], amount, memory_order_relaxed);
}

static void copy(uint64_t *to, const _Atomic uint64_t *from, size_t count)
{
	for (size_t i = 0; i < count; i++)
		to[i] = atomic_load_explicit(&from[i], memory_order_relaxed);
}

void tally_read(const struct tally *tally, struct tally_sums *sums)
{
	for (size_t family = 0; family < TALLY_FAMILY_COUNT; family++)
		copy(sums->word[family], tally->word[family], TALLY_WORDS_MAX);
	copy(sums->number, tally->number, TALLY_NUMBER_COUNT);
	copy(sums->took, tally->took, TALLY_BOUNDS + 1);
	copy(&sums->took_us, &tally->took_us, 1);
}

const char *tally_label(enum tally_family family)
{
	return families[family].label;
}

const char *tally_word(enum tally_family family, size_t place)
{
	return families[family].words[place];
}

size_t tally_words(enum tally_family family)
{
	return families[family].count;
}
