// The holder of a valid client certificate who does not keep to the protocol. It opens a real link to a dest (control
// connection, HELLO, first epoch; kem_mode mlkem768), so it has real one-time keys, and then opens data connections
// that should be refused, each as one scenario:
//
//   tls_peer PORT CA CERT KEY SERVICE SCENARIO
//
//   good               the right key, once: to show that the refusals of the others mean something
//   twice              the same index on two connections, one after the other
//   race               the same index on eight connections at once
//   forged-then-good   the right identity with a wrong key first; that must not burn the index of the right one
//   control-psk        control ALPN, a right key, no certificate
//   control-psk-cert   control ALPN, a right key and a certificate: a control connection, but by the certificate alone
//   data-cert          data ALPN, a certificate, no key
//   data-unknown-cert  data ALPN, the identity of a link that does not exist, and a certificate
//   data-malformed     data ALPN, an identity that is not one of ours, and a certificate
//   next-epoch         an identity of an epoch that does not exist yet
//   far-index          an index beyond the last
//   both-names         both ALPN names at once, a right key
//   after-close        the right key after the control connection has gone
//   classical          the right key, but a classical group
//   other-suite        the right key, but a SHA-256 suite, with which it cannot be used
//
// Prints one line of JSON: the fate of each connection, "answered" (with the status of the answer), "refused" (during
// the handshake) or "closed" (after it, without an answer to a stream header), and whether the key was used.

#include "core/codec.h"
#include "core/secret.h"
#include "link/control.h"
#include "link/header.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#define CONTROL_ALPN "\x07qanat/1"
#define DATA_ALPN "\x0cqanat-data/1"
#define SUITE_AES_256 0x1302
#define SECONDS 20

struct peer {
	const char *ca, *cert, *key, *service;
	uint16_t port;
	SSL *control_tls;
	struct control *control;
	uint8_t link_id[LINK_ID_BYTES];
	struct secret data;
	uint32_t epoch;
	bool ended;
};

// How a data connection presents itself.
struct guise {
	const char *alpn;
	bool with_cert, with_psk, wrong_key;
	const char *group, *suite;
	struct psk_identity identity;
	const uint8_t *raw_identity; // instead of identity
	size_t raw_length;
};

enum fate { ANSWERED, REFUSED, CLOSED };

static const char *const fate_names[] = {"answered", "refused", "closed"};

struct result {
	enum fate fate;
	int status; // of the answer
	bool key_used;
};

static int result_count;

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "tls_peer: %s\n", what);
	ERR_print_errors_fp(stderr);
	exit(2);
}

static void print_result(const struct result *result)
{
	printf("%s{\"fate\":\"%s\",\"status\":%d,\"key_used\":%s}", result_count++ == 0 ? "[" : ",",
	       fate_names[result->fate], result->status, result->key_used ? "true" : "false");
}

static uint64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int dial(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timeval patience = {.tv_sec = SECONDS};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		die("cannot connect");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return fd;
}

static SSL_CTX *context_new(const struct peer *peer, bool with_cert, const char *alpn)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set1_groups_list(context, "X25519MLKEM768") != 1 ||
	    SSL_CTX_set_alpn_protos(context, (const uint8_t *)alpn, (unsigned)strlen(alpn)) != 0)
		die("context");
	if (with_cert && (SSL_CTX_use_certificate_file(context, peer->cert, SSL_FILETYPE_PEM) != 1 ||
	                  SSL_CTX_use_PrivateKey_file(context, peer->key, SSL_FILETYPE_PEM) != 1))
		die("certificate");
	return context;
}

// ---- the link

static void on_send(void *owner, const uint8_t *frame, size_t length)
{
	struct peer *peer = owner;
	if (SSL_write(peer->control_tls, frame, (int)length) != (int)length)
		die("the control connection does not take a frame");
}

static int on_export(void *owner, const uint8_t context[DIGEST_BYTES], struct secret *chain)
{
	static const char label[] = "EXPORTER-qanat-link";
	struct peer *peer = owner;
	if (secret_init(chain, DIGEST_BYTES) != 0)
		return -ENOMEM;
	return SSL_export_keying_material(peer->control_tls, chain->bytes, DIGEST_BYTES, label, sizeof(label) - 1, context,
	                                  DIGEST_BYTES, 1) == 1
	           ? 0
	           : -EIO;
}

static void on_hello(void *owner, const struct control_hello *hello, const uint8_t link_id[LINK_ID_BYTES])
{
	struct peer *peer = owner;
	(void)hello;
	memcpy(peer->link_id, link_id, LINK_ID_BYTES);
}

static void on_epoch(void *owner, uint32_t epoch, uint8_t legs, struct secret *data)
{
	struct peer *peer = owner;
	(void)legs;
	peer->epoch = epoch;
	secret_move(&peer->data, data);
}

static void on_confirmed(void *owner, uint32_t epoch)
{
	(void)owner;
	(void)epoch;
}

static void on_goaway(void *owner, enum control_reason reason, uint32_t deadline_ms)
{
	(void)owner;
	(void)reason;
	(void)deadline_ms;
}

static void on_close(void *owner, enum control_reason reason, const char *text, bool by_peer)
{
	struct peer *peer = owner;
	peer->ended = true;
	fprintf(stderr, "tls_peer: the link ended (%s, %s): %s\n", by_peer ? "peer" : "we", control_reason_name(reason),
	        text);
}

static void digest_of(X509 *certificate, uint8_t out[DIGEST_BYTES])
{
	uint8_t *der = NULL;
	int length = i2d_X509(certificate, &der);
	if (length <= 0)
		die("a certificate without bytes");
	digest_sha384(&(struct digest_part){der, (size_t)length}, 1, out);
	OPENSSL_free(der);
}

static void open_link(struct peer *peer)
{
	static const struct control_ops ops = {
		.send = on_send,
		.export_chain = on_export,
		.on_hello = on_hello,
		.on_epoch = on_epoch,
		.on_epoch_confirmed = on_confirmed,
		.on_goaway = on_goaway,
		.on_close = on_close,
	};
	struct control_settings settings = {
		.role = CONTROL_INITIATOR,
		.rotation_ms = 3600000,
		.heartbeat_ms = 15000,
		.heartbeat_timeout_ms = 5000,
		.missed_pongs_max = 3,
	};
	uint8_t bytes[16384];
	SSL_CTX *context = context_new(peer, true, CONTROL_ALPN);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	if (SSL_CTX_load_verify_file(context, peer->ca) != 1)
		die("CA");
	peer->control_tls = SSL_new(context);
	SSL_CTX_free(context);
	if (peer->control_tls == NULL || SSL_set_fd(peer->control_tls, dial(peer->port)) != 1 ||
	    SSL_connect(peer->control_tls) != 1)
		die("the control connection's handshake failed");
	settings.hello = (struct control_hello){
		.version = 1, .legs = LEG_X25519 | LEG_MLKEM768, .carriers = 1, .heartbeat_ms = 15000, .rotation_s = 3600};
	snprintf(settings.hello.node_name, sizeof(settings.hello.node_name), "tls_peer");
	snprintf(settings.hello.build_id, sizeof(settings.hello.build_id), "test");
	digest_of(SSL_get_certificate(peer->control_tls), settings.cert_i_digest);
	digest_of(SSL_get0_peer_certificate(peer->control_tls), settings.cert_r_digest);
	if (control_new(&settings, &ops, peer, &peer->control) != 0 || control_start(peer->control, now_us()) != 0)
		die("the control engine does not start");
	while (!secret_is_set(&peer->data)) {
		int got = SSL_read(peer->control_tls, bytes, sizeof(bytes));
		if (got <= 0 || control_receive(peer->control, bytes, (size_t)got, now_us()) != 0)
			die("no epoch");
	}
}

static void close_link(struct peer *peer)
{
	control_close(peer->control, CONTROL_REASON_SHUTDOWN, "done");
	SSL_shutdown(peer->control_tls);
	// Until dest has ended its side, so that it has surely seen the CLOSE.
	char byte[1024];
	while (SSL_read(peer->control_tls, byte, sizeof(byte)) > 0)
		;
}

// ---- data connections

struct attempt {
	const struct peer *peer;
	const struct guise *guise;
	uint8_t identity[PSK_IDENTITY_BYTES];
	struct secret psk;
	struct result result;
};

static int use_psk(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *length, SSL_SESSION **out)
{
	const struct attempt *attempt = SSL_get_app_data(ssl);
	static const uint8_t suite[] = {SUITE_AES_256 >> 8, SUITE_AES_256 & 0xff};
	(void)md;
	*out = NULL;
	if (!attempt->guise->with_psk)
		return 1;
	SSL_SESSION *session = SSL_SESSION_new();
	if (session == NULL || SSL_SESSION_set1_master_key(session, attempt->psk.bytes, attempt->psk.length) != 1 ||
	    SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, suite)) != 1 ||
	    SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) != 1)
		die("PSK");
	*id = attempt->guise->raw_identity != NULL ? attempt->guise->raw_identity : attempt->identity;
	*length = attempt->guise->raw_identity != NULL ? attempt->guise->raw_length : sizeof(attempt->identity);
	*out = session;
	return 1;
}

// What dest says to a stream header, or nothing.
static void converse(SSL *ssl, const struct peer *peer, struct result *result)
{
	struct header header = {.kind = HEADER_TCP};
	struct header_answer answer;
	uint8_t bytes[LIMIT_STREAM_HEADER_BYTES];
	size_t used, have = 0;
	const uint8_t *alpn;
	unsigned alpn_length;
	snprintf(header.service, sizeof(header.service), "%s", peer->service);
	size_t length = header_encode(&header, bytes);
	result->fate = CLOSED;
	// What a control connection says is no answer to a stream header, whatever it looks like.
	SSL_get0_alpn_selected(ssl, &alpn, &alpn_length);
	bool is_data = alpn_length == sizeof(DATA_ALPN) - 2 && memcmp(alpn, DATA_ALPN + 1, alpn_length) == 0;
	if (SSL_write(ssl, bytes, (int)length) != (int)length)
		return;
	while (have < sizeof(bytes)) {
		int got = SSL_read(ssl, bytes + have, (int)(sizeof(bytes) - have));
		if (got <= 0)
			return;
		have = is_data ? have + (size_t)got : 0;
		int decoded = header_answer_decode(bytes, have, &answer, &used);
		if (decoded == HEADER_MORE)
			continue;
		result->fate = decoded == 0 ? ANSWERED : CLOSED;
		result->status = decoded == 0 ? (int)answer.status : 0;
		return;
	}
}

static void *try_data(void *argument)
{
	struct attempt *attempt = argument;
	const struct guise *guise = attempt->guise;
	SSL_CTX *context = context_new(attempt->peer, guise->with_cert, guise->alpn);
	psk_identity_encode(&guise->identity, attempt->identity);
	if (schedule_psk(&attempt->peer->data, &guise->identity, SUITE_AES_256, &attempt->psk) != 0)
		die("PSK");
	if (guise->wrong_key)
		attempt->psk.bytes[0] ^= 1;
	SSL_CTX_set_psk_use_session_callback(context, use_psk);
	if (SSL_CTX_set_ciphersuites(context, guise->suite != NULL ? guise->suite : "TLS_AES_256_GCM_SHA384") != 1 ||
	    (guise->group != NULL && SSL_CTX_set1_groups_list(context, guise->group) != 1))
		die("context");
	SSL *ssl = SSL_new(context);
	SSL_CTX_free(context);
	int fd = dial(attempt->peer->port);
	if (ssl == NULL || SSL_set_fd(ssl, fd) != 1)
		die("connection");
	SSL_set_app_data(ssl, attempt);
	attempt->result = (struct result){.fate = REFUSED};
	if (SSL_connect(ssl) == 1) {
		attempt->result.key_used = SSL_session_reused(ssl) == 1;
		converse(ssl, attempt->peer, &attempt->result);
	}
	secret_fini(&attempt->psk);
	SSL_free(ssl);
	close(fd);
	return NULL;
}

static void show(const struct peer *peer, const struct guise *guise)
{
	struct attempt attempt = {.peer = peer, .guise = guise};
	try_data(&attempt);
	print_result(&attempt.result);
}

static void race(const struct peer *peer, const struct guise *guise)
{
	struct attempt attempts[8];
	pthread_t threads[8];
	for (int i = 0; i < 8; i++) {
		attempts[i] = (struct attempt){.peer = peer, .guise = guise};
		if (pthread_create(&threads[i], NULL, try_data, &attempts[i]) != 0)
			die("thread");
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		print_result(&attempts[i].result);
	}
}

// ---- scenarios

static bool play(struct peer *peer, const char *scenario)
{
	static const uint8_t malformed[] = "not one of ours";
	struct guise guise = {.alpn = DATA_ALPN, .with_psk = true};
	memcpy(guise.identity.link_id, peer->link_id, LINK_ID_BYTES);
	guise.identity.epoch = peer->epoch;

	if (strcmp(scenario, "race") == 0) {
		race(peer, &guise);
		return true;
	}
	if (strcmp(scenario, "twice") == 0) {
		show(peer, &guise);
	} else if (strcmp(scenario, "forged-then-good") == 0) {
		guise.wrong_key = true;
		show(peer, &guise);
		guise.wrong_key = false;
	} else if (strcmp(scenario, "control-psk") == 0) {
		guise.alpn = CONTROL_ALPN;
	} else if (strcmp(scenario, "control-psk-cert") == 0) {
		guise.alpn = CONTROL_ALPN;
		guise.with_cert = true;
	} else if (strcmp(scenario, "data-cert") == 0) {
		guise.with_psk = false;
		guise.with_cert = true;
	} else if (strcmp(scenario, "data-unknown-cert") == 0) {
		guise.identity.link_id[0] ^= 1;
		guise.with_cert = true;
	} else if (strcmp(scenario, "data-malformed") == 0) {
		guise.raw_identity = malformed;
		guise.raw_length = sizeof(malformed) - 1;
		guise.with_cert = true;
	} else if (strcmp(scenario, "next-epoch") == 0) {
		guise.identity.epoch++;
	} else if (strcmp(scenario, "far-index") == 0) {
		guise.identity.index = LIMIT_EPOCH_INDICES;
	} else if (strcmp(scenario, "both-names") == 0) {
		guise.alpn = CONTROL_ALPN DATA_ALPN;
	} else if (strcmp(scenario, "after-close") == 0) {
		close_link(peer);
	} else if (strcmp(scenario, "classical") == 0) {
		guise.group = "X25519";
	} else if (strcmp(scenario, "other-suite") == 0) {
		guise.suite = "TLS_AES_128_GCM_SHA256";
	} else if (strcmp(scenario, "good") != 0) {
		return false;
	}
	show(peer, &guise);
	return true;
}

int main(int argc, char **argv)
{
	struct peer peer = {0};
	if (argc != 7) {
		fprintf(stderr, "tls_peer PORT CA CERT KEY SERVICE SCENARIO\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	peer.port = (uint16_t)strtoul(argv[1], NULL, 10);
	peer.ca = argv[2];
	peer.cert = argv[3];
	peer.key = argv[4];
	peer.service = argv[5];
	if (secret_start() != 0)
		die("no memory for secrets");
	open_link(&peer);
	if (!play(&peer, argv[6]))
		die("no such scenario");
	printf("]\n");
	control_free(&peer.control);
	close(SSL_get_fd(peer.control_tls));
	SSL_free(peer.control_tls);
	secret_fini(&peer.data);
	return 0;
}
