// The chain of a certificate of our own that somebody else's CA issued: put in order, not judged against a store.

#include "crypto/chain.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static bool is_self_issued(X509 *certificate)
{
	return X509_check_issued(certificate, certificate) == X509_V_OK;
}

static bool issued(X509 *issuer, X509 *subject)
{
	return X509_check_issued(issuer, subject) == X509_V_OK && X509_verify(subject, X509_get0_pubkey(issuer)) == 1;
}

static int index_of_issuer(STACK_OF(X509) * others, X509 *subject)
{
	for (int i = 0; i < sk_X509_num(others); i++)
		if (issued(sk_X509_value(others, i), subject))
			return i;
	return -1;
}

static int judge(X509 *certificate, char reason[CHAIN_REASON_BYTES])
{
	const char *wrong = NULL;
	if (X509_check_ca(certificate) != 1)
		wrong = "is not a CA's";
	else if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
		wrong = "has expired";
	else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
		wrong = "is not valid yet";
	if (!wrong)
		return 0;
	struct identity_text text;
	identity_describe(certificate, &text);
	snprintf(reason, CHAIN_REASON_BYTES, "an intermediate certificate in it (%.200s) %s", text.subject, wrong);
	return CHAIN_REFUSED;
}

// What is left belongs to no chain of the leaf.
static int judge_rest(STACK_OF(X509) * others, char reason[CHAIN_REASON_BYTES])
{
	if (sk_X509_num(others) == 0)
		return 0;
	struct identity_text text;
	identity_describe(sk_X509_value(others, 0), &text);
	snprintf(reason, CHAIN_REASON_BYTES,
	         "it also holds a certificate that did not issue the first one or another of its chain (%.200s). The file "
	         "begins with our own certificate, and its intermediates follow",
	         text.subject);
	return CHAIN_REFUSED;
}

// Moves the issuer of the chain's last certificate from `rest` to its end. 0 also when there is no more to move.
static int extend(X509 *leaf, STACK_OF(X509) * rest, STACK_OF(X509) * chain, bool *is_complete,
                  char reason[CHAIN_REASON_BYTES])
{
	int count = sk_X509_num(chain);
	X509 *subject = count > 0 ? sk_X509_value(chain, count - 1) : leaf;
	int at = is_self_issued(subject) ? -1 : index_of_issuer(rest, subject);
	*is_complete = at < 0;
	if (at < 0)
		return 0;
	X509 *issuer = sk_X509_delete(rest, at);
	int r = judge(issuer, reason);
	// The root is the peer's affair: it has it or does not believe us, and it would travel with every handshake.
	*is_complete = is_self_issued(issuer);
	if (r == 0 && !*is_complete && sk_X509_push(chain, issuer) > 0)
		return 0;
	X509_free(issuer);
	return r != 0 || *is_complete ? r : -ENOMEM;
}

int chain_arrange(X509 *leaf, STACK_OF(X509) * others, STACK_OF(X509) * *chain, char reason[CHAIN_REASON_BYTES])
{
	STACK_OF(X509) *rest = others ? X509_chain_up_ref(others) : sk_X509_new_null();
	STACK_OF(X509) *arranged = sk_X509_new_null();
	int r = rest && arranged ? 0 : -ENOMEM;
	for (bool is_complete = false; r == 0 && !is_complete;)
		r = extend(leaf, rest, arranged, &is_complete, reason);
	if (r == 0)
		r = judge_rest(rest, reason);
	ERR_clear_error();
	OSSL_STACK_OF_X509_free(rest);
	if (r == 0)
		*chain = arranged;
	else
		OSSL_STACK_OF_X509_free(arranged);
	return r;
}
