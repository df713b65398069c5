// For tests of what speaks TLS: certificates of a small CA in a temporary folder, TCP pairs over the loopback, and a
// clock that ends a wait.

#pragma once

#include "core/clock.h"
#include "core/secret.h"
#include "crypto/identity.h"
#include "crypto/issue.h"
#include "net/socket.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// Nothing that is waited for takes longer than this, also on a busy machine and under a sanitizer.
#define RIG_PATIENCE_MS 20000

struct tls_rig {
	char folder[64];
	struct identity *server, *client; // of one CA; the server's name is "dest.example"
	struct identity *stranger;        // a client of another CA
};

static inline void tls_rig_issue(const struct tls_rig *rig, enum issue_kind kind, const char *ca, const char *name)
{
	static const char *const dns[] = {"dest.example"};
	static const char *const ip[] = {"127.0.0.1"};
	char ca_cert[96], ca_key[96], cert[96], key[96], problem[ISSUE_PROBLEM_BYTES];
	snprintf(ca_cert, sizeof ca_cert, "%s/%s.crt", rig->folder, ca);
	snprintf(ca_key, sizeof ca_key, "%s/%s.key", rig->folder, ca);
	snprintf(cert, sizeof cert, "%s/%s.crt", rig->folder, name);
	snprintf(key, sizeof key, "%s/%s.key", rig->folder, name);
	struct issue_request request = {
		.kind = kind,
		.key = ISSUE_KEY_P256,
		.common_name = name,
		.validity_days = 2,
		.out_cert_path = cert,
		.out_key_path = key,
	};
	if (kind != ISSUE_CA) {
		request.ca_cert_path = ca_cert;
		request.ca_key_path = ca_key;
	}
	if (kind == ISSUE_SERVER) {
		request.dns_names = dns;
		request.dns_count = 1;
		request.ip_addresses = ip;
		request.ip_count = 1;
	}
	if (issue_certificate(&request, problem) != 0)
		fail_msg("%s: %s", name, problem);
}

static inline struct identity *tls_rig_load(const struct tls_rig *rig, enum identity_usage usage, const char *ca,
                                            const char *name)
{
	char ca_cert[96], cert[96], key[96], problem[IDENTITY_PROBLEM_BYTES];
	snprintf(ca_cert, sizeof ca_cert, "%s/%s.crt", rig->folder, ca);
	snprintf(cert, sizeof cert, "%s/%s.crt", rig->folder, name);
	snprintf(key, sizeof key, "%s/%s.key", rig->folder, name);
	struct identity_files files = {.ca_path = ca_cert, .cert_path = cert, .key_path = key, .usage = usage};
	struct identity *identity = NULL;
	if (identity_load(&files, &identity, problem) != 0)
		fail_msg("%s: %s", name, problem);
	return identity;
}

// The CA's list, which names one certificate or none (NULL), into "ca.crl".
static inline void tls_rig_write_list(const struct tls_rig *rig, X509 *revoked)
{
	char path[96];
	snprintf(path, sizeof path, "%s/ca.key", rig->folder);
	BIO *in = BIO_new_file(path, "rb");
	EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
	BIO_free(in);
	X509_CRL *list = X509_CRL_new();
	ASN1_TIME *time = ASN1_TIME_new();
	X509_gmtime_adj(time, -60);
	assert_int_equal(X509_CRL_set_version(list, X509_CRL_VERSION_2), 1);
	assert_int_equal(X509_CRL_set_issuer_name(list, X509_get_issuer_name(identity_certificate(rig->server))), 1);
	assert_int_equal(X509_CRL_set1_lastUpdate(list, time), 1);
	if (revoked) {
		X509_REVOKED *entry = X509_REVOKED_new();
		assert_int_equal(X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked)), 1);
		assert_int_equal(X509_REVOKED_set_revocationDate(entry, time), 1);
		assert_int_equal(X509_CRL_add0_revoked(list, entry), 1);
	}
	X509_gmtime_adj(time, 3600);
	assert_int_equal(X509_CRL_set1_nextUpdate(list, time), 1);
	assert_true(X509_CRL_sign(list, key, EVP_sha256()) > 0);
	snprintf(path, sizeof path, "%s/ca.crl", rig->folder);
	BIO *out = BIO_new_file(path, "wb");
	assert_int_equal(PEM_write_bio_X509_CRL(out, list), 1);
	BIO_free(out);
	ASN1_TIME_free(time);
	X509_CRL_free(list);
	EVP_PKEY_free(key);
}

static inline struct identity *tls_rig_load_with_list(const struct tls_rig *rig, enum identity_usage usage,
                                                      const char *name, X509 *revoked)
{
	char ca[96], cert[96], key[96], list[96], problem[IDENTITY_PROBLEM_BYTES];
	const char *lists[] = {list};
	struct identity *identity = NULL;
	snprintf(ca, sizeof ca, "%s/ca.crt", rig->folder);
	snprintf(cert, sizeof cert, "%s/%s.crt", rig->folder, name);
	snprintf(key, sizeof key, "%s/%s.key", rig->folder, name);
	snprintf(list, sizeof list, "%s/ca.crl", rig->folder);
	tls_rig_write_list(rig, revoked);
	struct identity_files files = {
		.ca_path = ca, .cert_path = cert, .key_path = key, .crl_paths = lists, .crl_count = 1, .usage = usage};
	if (identity_load(&files, &identity, problem) != 0)
		fail_msg("%s: %s", name, problem);
	return identity;
}

static inline void tls_rig_start(struct tls_rig *rig)
{
	assert_int_equal(secret_start(), 0);
	strcpy(rig->folder, "/tmp/qanat-tls-XXXXXX");
	assert_non_null(mkdtemp(rig->folder));
	tls_rig_issue(rig, ISSUE_CA, NULL, "ca");
	tls_rig_issue(rig, ISSUE_CA, NULL, "other");
	tls_rig_issue(rig, ISSUE_SERVER, "ca", "server");
	tls_rig_issue(rig, ISSUE_CLIENT, "ca", "client");
	tls_rig_issue(rig, ISSUE_CLIENT, "other", "stranger");
	rig->server = tls_rig_load(rig, IDENTITY_SERVER, "ca", "server");
	rig->client = tls_rig_load(rig, IDENTITY_CLIENT, "ca", "client");
	rig->stranger = tls_rig_load(rig, IDENTITY_CLIENT, "other", "stranger");
}

static inline void tls_rig_stop(struct tls_rig *rig)
{
	char command[96];
	identity_unref(&rig->server);
	identity_unref(&rig->client);
	identity_unref(&rig->stranger);
	snprintf(command, sizeof command, "rm -rf '%s'", rig->folder);
	assert_int_equal(system(command), 0);
}

// Two connected TCP sockets; the first one's send buffer is small when asked for (0: the kernel's own choice).
static inline void tls_rig_pair(int pair[2], int buffer_bytes)
{
	struct address address;
	int listener, r;
	assert_int_equal(address_from_ip("127.0.0.1", 0, &address), 0);
	assert_int_equal(socket_listen(&address, 4, &listener), 0);
	if (buffer_bytes > 0)
		assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes), 0);
	assert_true(socket_connect(&address, &pair[0]) >= 0);
	if (buffer_bytes > 0)
		assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes), 0);
	struct address peer;
	do {
		struct pollfd one = {.fd = listener, .events = POLLIN};
		assert_int_equal(poll(&one, 1, RIG_PATIENCE_MS), 1);
		r = socket_accept(listener, &pair[1], &peer);
	} while (r == SOCKET_NONE);
	assert_int_equal(r, 0);
	for (int i = 0; i < 2; i++)
		socket_tune(pair[i], &(struct socket_options){0});
	socket_close(&listener);
}

// ---- what the library allocates

static void (*tls_rig_on_allocation)(size_t size);

static inline void *tls_rig_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	tls_rig_on_allocation(size);
	return malloc(size);
}

static inline void *tls_rig_realloc(void *old, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return realloc(old, size);
}

static inline void tls_rig_free(void *old, const char *file, int line)
{
	(void)file;
	(void)line;
	free(old);
}

// Tells the size of each allocation before it is made. False when the library has allocated already.
static inline bool tls_rig_watch_library(void (*on_allocation)(size_t size))
{
	tls_rig_on_allocation = on_allocation;
	return CRYPTO_set_mem_functions(tls_rig_malloc, tls_rig_realloc, tls_rig_free) == 1;
}
