// Post-quantum algorithms from before their standard, as oqs-provider made them: recognised by their object identifiers
// only, to say what takes their place.

#pragma once

#include <openssl/types.h>
#include <stddef.h>

// "Dilithium3 (from before the standard; ...). Make a new one with --key ml-dsa-65", for a sentence that begins "its
// key is" or "is a key of". NULL: not one of them. Static.
const char *legacy_of_pubkey(const X509_PUBKEY *key);
// The same by what signed a certificate, for "was signed with".
const char *legacy_of_signature(const X509 *certificate);
// The same by the PKCS #8 private key in PEM that the library could not decode, or by a word of the command line
// ("dilithium3").
const char *legacy_of_pem(const void *bytes, size_t length);
const char *legacy_of_word(const char *word);
