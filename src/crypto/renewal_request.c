#include "crypto/renewal_request.h"

#include "crypto/authority.h"
#include "crypto/digest.h"
#include "crypto/identity.h"
#include "crypto/refusal.h"
#include "limits.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)RENEWAL_REQUEST_REFUSED == (int)REFUSAL && RENEWAL_REQUEST_PROBLEM_BYTES == REFUSAL_BYTES,
               "refusals are passed up");

#define PROOF_BLOCK "QANAT RENEWAL PROOF"
// With its NUL.
static const char label[] = "qanat renewal 1";

void renewal_request_fini(struct renewal_request *request)
{
	X509_REQ_free(request->request);
	X509_free(request->certificate);
	OPENSSL_free(request->proof);
	*request = (struct renewal_request){0};
}

// ---- the proof

// What is signed; freed with OPENSSL_free. NULL without memory.
static uint8_t *statement(X509_REQ *request, X509 *certificate, size_t *length)
{
	uint8_t digest[DIGEST_BYTES], *der = NULL, *bytes = NULL;
	int der_length = i2d_X509_REQ(request, &der);

	if (der_length > 0 && identity_digest(certificate, digest) == 0)
		bytes = OPENSSL_malloc(sizeof label + sizeof digest + (size_t)der_length);
	if (bytes) {
		memcpy(bytes, label, sizeof label);
		memcpy(bytes + sizeof label, digest, sizeof digest);
		memcpy(bytes + sizeof label + sizeof digest, der, (size_t)der_length);
		*length = sizeof label + sizeof digest + (size_t)der_length;
	}
	OPENSSL_free(der);
	return bytes;
}

static uint8_t *sign(EVP_PKEY *key, const uint8_t *bytes, size_t length, size_t *proof_bytes)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t *proof = NULL;
	bool done = context && EVP_DigestSignInit(context, NULL, authority_digest(key), NULL, key) == 1 &&
	            EVP_DigestSign(context, NULL, proof_bytes, bytes, length) == 1 &&
	            (proof = OPENSSL_malloc(*proof_bytes)) &&
	            EVP_DigestSign(context, proof, proof_bytes, bytes, length) == 1;

	EVP_MD_CTX_free(context);
	if (done)
		return proof;
	OPENSSL_free(proof);
	return NULL;
}

int renewal_request_prove(const struct renewal_request *request, char problem[RENEWAL_REQUEST_PROBLEM_BYTES])
{
	EVP_PKEY *fresh = X509_REQ_get0_pubkey(request->request), *old = X509_get0_pubkey(request->certificate);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	size_t length = 0;
	uint8_t *bytes = statement(request->request, request->certificate, &length);
	int result = 0;

	if (!context || !bytes)
		result = refusal_by_library("checking the request", problem);
	else if (!fresh || X509_REQ_verify(request->request, fresh) != 1)
		result = refusal(problem, "the request's own signature is wrong: its sender does not have the new private key");
	else if (!old || EVP_DigestVerifyInit(context, NULL, authority_digest(old), NULL, old) != 1 ||
	         EVP_DigestVerify(context, request->proof, request->proof_bytes, bytes, length) != 1)
		result = refusal(problem,
		                 "the proof is wrong: its sender does not have the private key of the certificate that "
		                 "is to be renewed");
	OPENSSL_free(bytes);
	EVP_MD_CTX_free(context);
	ERR_clear_error();
	return result;
}

// ---- the text

static int print(X509_REQ *request, X509 *certificate, const struct renewal_request *signature, BIO *output)
{
	return PEM_write_bio_X509_REQ(output, request) == 1 && PEM_write_bio_X509(output, certificate) == 1 &&
	       PEM_write_bio(output, PROOF_BLOCK, "", signature->proof, (long)signature->proof_bytes) > 0;
}

int renewal_request_encode(X509_REQ *request, X509 *certificate, EVP_PKEY *old_key, char **text,
                           char problem[RENEWAL_REQUEST_PROBLEM_BYTES])
{
	struct renewal_request signature = {0};
	BIO *output = BIO_new(BIO_s_mem());
	size_t length = 0;
	uint8_t *bytes = statement(request, certificate, &length);
	char *printed = NULL;
	int result = 0;

	if (bytes)
		signature.proof = sign(old_key, bytes, length, &signature.proof_bytes);
	if (!output || !signature.proof || !print(request, certificate, &signature, output)) {
		result = refusal_by_library("signing the request", problem);
	} else {
		long printed_length = BIO_get_mem_data(output, &printed);
		if (printed_length > LIMIT_RENEWAL_BYTES)
			result = refusal(problem, "the request is larger than %d bytes: the certificate has too many names",
			                 LIMIT_RENEWAL_BYTES);
		else if (!(*text = strndup(printed, (size_t)printed_length)))
			result = refusal(problem, "out of memory");
	}
	OPENSSL_free(bytes);
	BIO_free(output);
	renewal_request_fini(&signature);
	ERR_clear_error();
	return result;
}

// Takes the block's bytes where it wants to keep them. False: a block that does not belong there.
static bool take_block(struct renewal_request *into, const char *name, uint8_t **bytes, long length)
{
	const uint8_t *at = *bytes, *end = at + length;

	if (strcmp(name, PEM_STRING_X509_REQ) == 0 && !into->request)
		return d2i_X509_REQ(&into->request, &at, length) && at == end;
	if (strcmp(name, PEM_STRING_X509) == 0 && !into->certificate)
		return d2i_X509(&into->certificate, &at, length) && at == end;
	if (strcmp(name, PROOF_BLOCK) != 0 || into->proof || length <= 0)
		return false;
	into->proof = *bytes;
	into->proof_bytes = (size_t)length;
	*bytes = NULL;
	return true;
}

static int read_blocks(BIO *input, struct renewal_request *into, char problem[RENEWAL_REQUEST_PROBLEM_BYTES])
{
	bool good = true;

	while (good) {
		char *name = NULL, *header = NULL;
		uint8_t *bytes = NULL;
		long length = 0;
		if (PEM_read_bio(input, &name, &header, &bytes, &length) != 1)
			break;
		good = header[0] == 0 && take_block(into, name, &bytes, length);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(bytes);
	}
	if (good && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		good = false;
	if (!good)
		return refusal(problem, "it is damaged, or holds what does not belong in a request for a renewal");
	if (!into->request || !into->certificate || !into->proof)
		return refusal(problem, "it lacks %s: it was not made by a node with [renewal]",
		               !into->request       ? "the request"
		               : !into->certificate ? "the certificate"
		                                    : "the proof");
	return 0;
}

int renewal_request_decode(const void *bytes, size_t length, struct renewal_request *request,
                           char problem[RENEWAL_REQUEST_PROBLEM_BYTES])
{
	struct renewal_request found = {0};

	if (length == 0 || length > LIMIT_RENEWAL_BYTES)
		return refusal(problem, "it is empty, or larger than %d bytes", LIMIT_RENEWAL_BYTES);
	ERR_clear_error();
	BIO *input = BIO_new_mem_buf(bytes, (int)length);
	int result = input ? read_blocks(input, &found, problem) : refusal_by_library("reading PEM", problem);
	BIO_free(input);
	ERR_clear_error();
	if (result == 0)
		*request = found;
	else
		renewal_request_fini(&found);
	return result;
}
