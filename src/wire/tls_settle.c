// What only a handshake needed and the library would keep as long as the connection: the key shares, a peer's ML-KEM
// key (expanded, 6 KiB) and, on a client, our own private ones. Connections of this program last for weeks.

#include "wire/tls_internal.h"

#include <openssl/err.h>
#include <openssl/evp.h>

// The library's reference stays, the key behind it goes: a key that gets a type is emptied first (and wiped).
static void empty(EVP_PKEY *key)
{
	(void)EVP_PKEY_set_type(key, EVP_PKEY_X25519);
	EVP_PKEY_free(key);
}

void tls_settle(struct tls_conn *conn)
{
	EVP_PKEY *key = NULL;
	if (SSL_get_peer_tmp_key(conn->ssl, &key) == 1)
		empty(key);
	key = NULL;
	if (SSL_get_tmp_key(conn->ssl, &key) == 1)
		empty(key);
	ERR_clear_error();
}
