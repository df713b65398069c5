#include "wire/tls_choice.h"

#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

// Spec: RFC 8446 4.2.3; draft-ietf-tls-mldsa.
enum scheme {
	RSA_PKCS1_SHA256 = 0x0401,
	ECDSA_SHA256 = 0x0403,
	RSA_PKCS1_SHA384 = 0x0501,
	ECDSA_SHA384 = 0x0503,
	RSA_PKCS1_SHA512 = 0x0601,
	ECDSA_SHA512 = 0x0603,
	RSA_PSS_RSAE_SHA256 = 0x0804,
	RSA_PSS_RSAE_SHA384 = 0x0805,
	RSA_PSS_RSAE_SHA512 = 0x0806,
	ED25519 = 0x0807,
	ED448 = 0x0808,
	RSA_PSS_PSS_SHA256 = 0x0809,
	RSA_PSS_PSS_SHA384 = 0x080a,
	RSA_PSS_PSS_SHA512 = 0x080b,
	MLDSA44 = 0x0904,
	MLDSA65 = 0x0905,
	MLDSA87 = 0x0906,
};

static const struct {
	const char *key, *curve;
	uint16_t schemes[8];
	bool in_tls12, is_rsa;
	uint16_t group;
} keys[] = {
	{"EC", "prime256v1", {ECDSA_SHA256}, true, false, 0x0017},
	{"EC", "secp384r1", {ECDSA_SHA384}, true, false, 0x0018},
	{"EC", "secp521r1", {ECDSA_SHA512}, true, false, 0x0019},
	{"ED25519", NULL, {ED25519}, true, false, 0},
	{"ED448", NULL, {ED448}, true, false, 0},
	{"RSA", NULL, {RSA_PSS_RSAE_SHA256, RSA_PSS_RSAE_SHA384, RSA_PSS_RSAE_SHA512}, true, true, 0},
	{"RSA-PSS", NULL, {RSA_PSS_PSS_SHA256, RSA_PSS_PSS_SHA384, RSA_PSS_PSS_SHA512}, true, true, 0},
	{"ML-DSA-44", NULL, {MLDSA44}, false, false, 0},
	{"ML-DSA-65", NULL, {MLDSA65}, false, false, 0},
	{"ML-DSA-87", NULL, {MLDSA87}, false, false, 0},
};

static const struct {
	int nid;
	uint16_t scheme;
} signatures[] = {
	{NID_ecdsa_with_SHA256, ECDSA_SHA256},
	{NID_ecdsa_with_SHA384, ECDSA_SHA384},
	{NID_ecdsa_with_SHA512, ECDSA_SHA512},
	{NID_sha256WithRSAEncryption, RSA_PKCS1_SHA256},
	{NID_sha384WithRSAEncryption, RSA_PKCS1_SHA384},
	{NID_sha512WithRSAEncryption, RSA_PKCS1_SHA512},
	{NID_ED25519, ED25519},
	{NID_ED448, ED448},
	{NID_ML_DSA_44, MLDSA44},
	{NID_ML_DSA_65, MLDSA65},
	{NID_ML_DSA_87, MLDSA87},
};

// A signature with RSASSA-PSS says its hash in parameters.
static uint16_t scheme_of_pss(X509 *certificate)
{
	int digest = NID_undef;
	if (X509_get_signature_info(certificate, &digest, NULL, NULL, NULL) != 1)
		return TLS_SCHEME_OTHER;
	return digest == NID_sha256   ? RSA_PSS_RSAE_SHA256
	       : digest == NID_sha384 ? RSA_PSS_RSAE_SHA384
	       : digest == NID_sha512 ? RSA_PSS_RSAE_SHA512
	                              : TLS_SCHEME_OTHER;
}

static uint16_t scheme_of_signature(X509 *certificate)
{
	int nid = X509_get_signature_nid(certificate);
	if (nid == NID_rsassaPss)
		return scheme_of_pss(certificate);
	for (size_t i = 0; i < COUNT_OF(signatures); i++)
		if (signatures[i].nid == nid)
			return signatures[i].scheme;
	return TLS_SCHEME_OTHER;
}

static void set_own(struct tls_choice *choice, const EVP_PKEY *key)
{
	char curve[32] = "";
	(void)EVP_PKEY_get_group_name(key, curve, sizeof curve, NULL);
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		if (!EVP_PKEY_is_a(key, keys[i].key) || (keys[i].curve && strcmp(keys[i].curve, curve) != 0))
			continue;
		memcpy(choice->own, keys[i].schemes, sizeof choice->own);
		choice->in_tls12 = keys[i].in_tls12;
		choice->is_rsa = keys[i].is_rsa;
		choice->curve = keys[i].group;
		return;
	}
}

static void add_issuer(struct tls_choice *choice, uint16_t scheme)
{
	size_t count = 0;
	while (choice->issuer[count] != 0 && choice->issuer[count] != scheme)
		count++;
	// One place stays 0; a chain of more kinds than this has one that is not common.
	choice->issuer[count] = count + 1 < COUNT_OF(choice->issuer) ? scheme : 0;
}

void tls_choice_init(struct tls_choice *choice, struct identity *identity)
{
	X509 *leaf = identity_certificate(identity);
	STACK_OF(X509) *chain = identity_chain(identity);
	*choice = (struct tls_choice){.identity = identity};
	set_own(choice, identity_key(identity));
	// Nobody checks the signature of a certificate that has signed itself: it is believed or not.
	if (!(X509_get_extension_flags(leaf) & EXFLAG_SS))
		add_issuer(choice, scheme_of_signature(leaf));
	for (int i = 0; i < sk_X509_num(chain); i++)
		add_issuer(choice, scheme_of_signature(sk_X509_value(chain, i)));
}

// TLS 1.2 lets an ECDSA key of any curve sign with any hash, and RSA in its old form.
static bool has_old_scheme(const struct tls_choice *choice, const struct tls_codes *schemes)
{
	if (choice->own[0] == ECDSA_SHA256 || choice->own[0] == ECDSA_SHA384 || choice->own[0] == ECDSA_SHA512)
		return tls_codes_have(schemes, ECDSA_SHA256) || tls_codes_have(schemes, ECDSA_SHA384) ||
		       tls_codes_have(schemes, ECDSA_SHA512);
	return choice->own[0] == RSA_PSS_RSAE_SHA256 &&
	       (tls_codes_have(schemes, RSA_PKCS1_SHA256) || tls_codes_have(schemes, RSA_PKCS1_SHA384) ||
	        tls_codes_have(schemes, RSA_PKCS1_SHA512));
}

// The suites of tls_sidecar.c.
static bool has_suite(const struct tls_choice *choice, const struct tls_codes *suites)
{
	static const uint16_t ecdsa[] = {0xc02c, 0xcca9, 0xc02b}, rsa[] = {0xc030, 0xcca8, 0xc02f};
	const uint16_t *mine = choice->is_rsa ? rsa : ecdsa;
	return tls_codes_have(suites, mine[0]) || tls_codes_have(suites, mine[1]) || tls_codes_have(suites, mine[2]);
}

// Spec: RFC 8422 5.1.1, 5.3.
static bool has_curve(const struct tls_choice *choice, const struct tls_codes *groups)
{
	return choice->curve == 0 || groups->length == 0 || tls_codes_have(groups, choice->curve);
}

static bool is_usable(const struct tls_choice *choice, const struct tls_wanted *wanted)
{
	if (!wanted->is_tls13 &&
	    (!choice->in_tls12 || !has_suite(choice, &wanted->suites) || !has_curve(choice, &wanted->groups)))
		return false;
	for (size_t i = 0; i < COUNT_OF(choice->own) && choice->own[i] != 0; i++)
		if (tls_codes_have(&wanted->schemes, choice->own[i]))
			return true;
	return !wanted->is_tls13 && has_old_scheme(choice, &wanted->schemes);
}

static bool chain_is_known(const struct tls_choice *choice, const struct tls_wanted *wanted)
{
	const struct tls_codes *known = wanted->cert_schemes.length > 0 ? &wanted->cert_schemes : &wanted->schemes;
	for (size_t i = 0; choice->issuer[i] != 0; i++)
		if (!tls_codes_have(known, choice->issuer[i]))
			return false;
	return true;
}

const struct tls_choice *tls_choice_best(const struct tls_choice *choices, size_t count,
                                         const struct tls_wanted *wanted)
{
	enum { NAMED = 4, CHAINED = 2, USABLE = 1 };
	const struct tls_choice *best = NULL;
	int best_rank = 0;
	for (size_t i = 0; i < count; i++) {
		if (!is_usable(&choices[i], wanted))
			continue;
		int rank = USABLE;
		if (wanted->name && wanted->name[0] &&
		    identity_has_name(identity_certificate(choices[i].identity), wanted->name))
			rank += NAMED;
		if (chain_is_known(&choices[i], wanted))
			rank += CHAINED;
		if (rank > best_rank) {
			best = &choices[i];
			best_rank = rank;
		}
	}
	return best;
}
