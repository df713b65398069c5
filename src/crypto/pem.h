// Certificates and private keys in PEM files, judged as files first: who may read them, who may change them. Every
// refusal is a sentence for people that names the file, what is wrong and how to mend it.

#pragma once

#include "core/outcome.h"

#include <openssl/safestack.h>
#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

STACK_OF(X509);
STACK_OF(X509_CRL);
struct X509_req_st; // X509_REQ

#define PEM_PROBLEM_BYTES 512
enum { PEM_REFUSED = 1 };

// All certificates of the file in their order, at least one; other PEM blocks are skipped. `what` names the file's role
// in a problem ("CA file"). The caller frees with OSSL_STACK_OF_X509_free. A file to rely on is refused when every user
// of the machine may change it.
enum pem_care { PEM_TO_RELY_ON, PEM_TO_LOOK_AT };
MUST_USE int pem_certificates(const char *path, const char *what, enum pem_care care, STACK_OF(X509) * *certificates,
                              char problem[PEM_PROBLEM_BYTES]);

// All revocation lists of the file, at least one, from a file to rely on. The caller frees them with pem_lists_free.
MUST_USE int pem_revocation_lists(const char *path, STACK_OF(X509_CRL) * *lists, char problem[PEM_PROBLEM_BYTES]);
void pem_lists_free(STACK_OF(X509_CRL) * lists);

// The bytes of a file to rely on that is in another form than PEM. The caller frees them.
MUST_USE int pem_other(const char *path, const char *what, uint8_t **bytes, size_t *length,
                       char problem[PEM_PROBLEM_BYTES]);

// The first request for a certificate. Its file is a stranger's anyway: nobody relies on it.
MUST_USE int pem_request(const char *path, struct X509_req_st **request, char problem[PEM_PROBLEM_BYTES]);

// Which kinds of blocks the file has, whoever may change it. Not refused when there are none.
struct pem_kinds {
	bool certificate, request, list;
};
MUST_USE int pem_look(const char *path, struct pem_kinds *kinds, char problem[PEM_PROBLEM_BYTES]);

// The first private key of the file. Refused: readable or changeable by others; readable by a group that is not ours;
// changeable by a group; of another owner than us or root; encrypted (there is nobody to ask for a passphrase). What is
// judged is the opened file, so it cannot be exchanged in between.
MUST_USE int pem_private_key(const char *path, EVP_PKEY **key, char problem[PEM_PROBLEM_BYTES]);

// What every reader of PEM gives the library as its callback for passphrases: it refuses, and says so in the bool at
// `asked` (or NULL). Without one the library would ask at the terminal for a block that says that it is encrypted.
int pem_refuse_to_ask(char *buffer, int size, int is_writing, void *asked);
