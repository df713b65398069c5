#include "crypto/identity.h"

#include "crypto/chain.h"
#include "crypto/ocsp.h"
#include "crypto/pem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

_Static_assert((int)IDENTITY_REFUSED == (int)PEM_REFUSED && (int)IDENTITY_REFUSED == (int)CHAIN_REFUSED &&
                   (int)IDENTITY_REFUSED == (int)OCSP_REFUSED,
               "refusals are passed up");
_Static_assert(IDENTITY_PROBLEM_BYTES == PEM_PROBLEM_BYTES, "and so are their texts");

struct identity {
	atomic_uint references;
	X509 *certificate;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
	X509_STORE *store;
	struct ocsp_staple staple;
	atomic_bool staple_is_told;
};

static void identity_free(struct identity *identity)
{
	X509_free(identity->certificate);
	OSSL_STACK_OF_X509_free(identity->chain);
	EVP_PKEY_free(identity->key);
	X509_STORE_free(identity->store);
	ocsp_fini(&identity->staple);
	free(identity);
}

static void date_text(int64_t seconds, char text[32])
{
	time_t when = (time_t)seconds;
	struct tm parts;

	if (!gmtime_r(&when, &parts) || strftime(text, 32, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
		snprintf(text, 32, "unknown");
}

static int judge_time(const struct identity_files *files, X509 *certificate, char problem[IDENTITY_PROBLEM_BYTES])
{
	struct identity_text text;
	char when[32];

	identity_describe(certificate, &text);
	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
		date_text(text.not_after, when);
		snprintf(problem, IDENTITY_PROBLEM_BYTES, "certificate %s (%s) expired on %s: it must be issued again",
		         files->cert_path, text.subject, when);
		return IDENTITY_REFUSED;
	}
	if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0) {
		date_text(text.not_before, when);
		snprintf(problem, IDENTITY_PROBLEM_BYTES,
		         "certificate %s (%s) is not valid before %s: is the clock of this machine right?", files->cert_path,
		         text.subject, when);
		return IDENTITY_REFUSED;
	}
	return 0;
}

static int judge_usage(const struct identity_files *files, X509 *certificate, char problem[IDENTITY_PROBLEM_BYTES])
{
	bool server = files->usage == IDENTITY_SERVER;

	if (identity_has_usage(certificate, files->usage) ||
	    (files->any_issuer && !(X509_get_extension_flags(certificate) & EXFLAG_XKUSAGE)))
		return 0;
	snprintf(problem, IDENTITY_PROBLEM_BYTES,
	         "certificate %s is not for a %s: its extended key usage lacks %s%s. Issue one with: qanat cert %s",
	         files->cert_path, server ? "server" : "client", server ? "serverAuth" : "clientAuth",
	         identity_has_usage(certificate, server ? IDENTITY_CLIENT : IDENTITY_SERVER)
	             ? (server ? " (it is a client's)" : " (it is a server's)")
	             : "",
	         server ? "server" : "client");
	return IDENTITY_REFUSED;
}

static int judge_key(const struct identity_files *files, const struct identity *identity,
                     char problem[IDENTITY_PROBLEM_BYTES])
{
	int matches = X509_check_private_key(identity->certificate, identity->key);

	ERR_clear_error();
	if (matches == 1)
		return 0;
	snprintf(problem, IDENTITY_PROBLEM_BYTES,
	         "private key %s does not belong to certificate %s: they must have been made together", files->key_path,
	         files->cert_path);
	return IDENTITY_REFUSED;
}

static int judge_chain(const struct identity_files *files, struct identity *identity, STACK_OF(X509) * intermediates,
                       char problem[IDENTITY_PROBLEM_BYTES])
{
	char reason[CHAIN_REASON_BYTES];

	if (files->any_issuer) {
		int arranged = chain_arrange(identity->certificate, intermediates, &identity->chain, reason);
		if (arranged == CHAIN_REFUSED)
			snprintf(problem, IDENTITY_PROBLEM_BYTES, "certificate %s: %s", files->cert_path, reason);
		return arranged;
	}
	int result = chain_verify(identity->store, identity->certificate, intermediates, files->usage, &identity->chain,
	                          reason);

	if (result == CHAIN_REFUSED) {
		snprintf(problem, IDENTITY_PROBLEM_BYTES, "certificate %s does not verify against CA file %s: %s",
		         files->cert_path, files->ca_path, reason);
		return IDENTITY_REFUSED;
	}
	return result;
}

// The library has a mind of its own about keys and signatures that are too weak for TLS. It is asked here, where
// nothing depends on the answer yet, and not when a profile is made.
static int judge_strength(const struct identity_files *files, const struct identity *identity,
                          char problem[IDENTITY_PROBLEM_BYTES])
{
	SSL_CTX *trial = SSL_CTX_new(TLS_method());
	int result = trial ? 0 : -ENOMEM;

	ERR_clear_error();
	if (trial && SSL_CTX_use_cert_and_key(trial, identity->certificate, identity->key, identity->chain, 1) != 1) {
		const char *reason = ERR_reason_error_string(ERR_peek_last_error());
		snprintf(problem, IDENTITY_PROBLEM_BYTES,
		         "certificate %s is not strong enough for TLS: %s. Issue one with: "
		         "qanat cert %s",
		         files->cert_path, reason ? reason : "no reason given",
		         files->usage == IDENTITY_SERVER ? "server" : "client");
		result = IDENTITY_REFUSED;
	}
	ERR_clear_error();
	SSL_CTX_free(trial);
	return result;
}

// The issuer may be in the chain, in the store, or in the file of the chain though it is not sent (a root).
static int load_staple(const struct identity_files *files, struct identity *identity, STACK_OF(X509) * others,
                       char problem[IDENTITY_PROBLEM_BYTES])
{
	const struct ocsp_subject subject = {.leaf = identity->certificate, .others = others, .store = identity->store};
	return ocsp_load(files->ocsp_path, &subject, &identity->staple, problem);
}

// Leaves the certificates after the leaf in `others`.
static int load_files(const struct identity_files *files, struct identity *identity, STACK_OF(X509) * *others,
                      char problem[IDENTITY_PROBLEM_BYTES])
{
	int result = files->any_issuer ? 0 : chain_load_store(files->ca_path, &identity->store, problem);

	for (size_t i = 0; result == 0 && !files->any_issuer && i < files->crl_count; i++)
		result = chain_load_lists(identity->store, files->ca_path, files->crl_paths[i], problem);
	if (result == 0)
		result = pem_certificates(files->cert_path, "certificate", PEM_TO_RELY_ON, others, problem);
	if (result == 0)
		identity->certificate = sk_X509_shift(*others);
	if (result == 0)
		result = pem_private_key(files->key_path, &identity->key, problem);
	return result;
}

int identity_load(const struct identity_files *files, struct identity **identity, char problem[IDENTITY_PROBLEM_BYTES])
{
	STACK_OF(X509) *others = NULL;
	struct identity *fresh = calloc(1, sizeof *fresh);

	if (!fresh)
		return -ENOMEM;
	atomic_init(&fresh->references, 1);
	int result = load_files(files, fresh, &others, problem);
	if (result == 0)
		result = judge_key(files, fresh, problem);
	if (result == 0)
		result = judge_time(files, fresh->certificate, problem);
	if (result == 0)
		result = judge_usage(files, fresh->certificate, problem);
	if (result == 0)
		result = judge_chain(files, fresh, others, problem);
	if (result == 0)
		result = judge_strength(files, fresh, problem);
	if (result == 0 && files->ocsp_path)
		result = load_staple(files, fresh, others, problem);
	OSSL_STACK_OF_X509_free(others);
	if (result != 0) {
		identity_free(fresh);
		return result;
	}
	*identity = fresh;
	return 0;
}

const uint8_t *identity_staple(const struct identity *identity, size_t *length)
{
	*length = identity->staple.length;
	return identity->staple.bytes && ocsp_is_current(&identity->staple) ? identity->staple.bytes : NULL;
}

bool identity_staple_news(struct identity *identity)
{
	return identity->staple.bytes && !ocsp_is_current(&identity->staple) &&
	       !atomic_exchange_explicit(&identity->staple_is_told, true, memory_order_relaxed);
}

int64_t identity_staple_until(const struct identity *identity)
{
	return identity->staple.until;
}

bool identity_shows_same(const struct identity *a, const struct identity *b)
{
	if (X509_cmp(a->certificate, b->certificate) != 0 || sk_X509_num(a->chain) != sk_X509_num(b->chain))
		return false;
	for (int i = 0; i < sk_X509_num(a->chain); i++)
		if (X509_cmp(sk_X509_value(a->chain, i), sk_X509_value(b->chain, i)) != 0)
			return false;
	return true;
}

struct identity *identity_ref(struct identity *identity)
{
	atomic_fetch_add_explicit(&identity->references, 1, memory_order_relaxed);
	return identity;
}

void identity_unref(struct identity **identity)
{
	struct identity *last = *identity;

	*identity = NULL;
	if (last && atomic_fetch_sub_explicit(&last->references, 1, memory_order_acq_rel) == 1)
		identity_free(last);
}

X509 *identity_certificate(const struct identity *identity)
{
	return identity->certificate;
}

STACK_OF(X509) * identity_chain(const struct identity *identity)
{
	return identity->chain;
}

EVP_PKEY *identity_key(const struct identity *identity)
{
	return identity->key;
}

X509_STORE *identity_store(const struct identity *identity)
{
	return identity->store;
}
