// From accept to a finished handshake.
//
// Hostile: all of this is done for strangers. Until its first byte a connection is a socket and less than a KiB; only
// then a TLS connection is made for it. One deadline holds for all of it, however the bytes trickle in.

#include "core/clock.h"
#include "core/log.h"
#include "edge/proxy_header.h"
#include "flow/sidecar_internal.h"
#include "net/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TLS_HANDSHAKE_RECORD 0x16

const struct address *sidecar_client(const struct sidecar *sidecar)
{
	return sidecar->told ? &sidecar->told->client : &sidecar->peer;
}

// ---- what is not TLS -----------------------------------------------------------------------------------------------

static bool is_http(const uint8_t *bytes, size_t length)
{
	static const char *const methods[] = {"GET ",     "HEAD ",  "POST ",    "PUT ",   "DELETE ",
	                                      "OPTIONS ", "TRACE ", "CONNECT ", "PATCH ", "PRI * "};
	for (size_t i = 0; i < COUNT_OF(methods); i++) {
		size_t compared = strlen(methods[i]) < length ? strlen(methods[i]) : length;
		if (memcmp(bytes, methods[i], compared) == 0)
			return true;
	}
	return false;
}

static const char http_answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 57\r\n"
								  "Connection: close\r\n\r\nThis port speaks TLS. Plain HTTP is not understood here.\n";
// Spec: RFC 8446 6, 5.1: a fatal unexpected_message, in a plain record.
static const uint8_t alert[] = {0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x0a};
#define ALERT ((struct sidecar_words){alert, sizeof alert})

static void turn_stranger_away(struct sidecar *sidecar, const uint8_t *bytes, size_t length)
{
	if (is_http(bytes, length)) {
		tally_outcome(sidecar->all->total, TALLY_HTTP);
		sidecar_part(sidecar, SIDECAR_BAD_HANDSHAKE, "plain HTTP, on a port that speaks TLS",
		             (struct sidecar_words){http_answer, sizeof http_answer - 1});
		return;
	}
	tally_outcome(sidecar->all->total, TALLY_NOT_TLS);
	sidecar_part(sidecar, SIDECAR_BAD_HANDSHAKE, "the first byte is not one of TLS", ALERT);
}

// ---- the PROXY header ----------------------------------------------------------------------------------------------

static bool expects_header(const struct sidecar *sidecar)
{
	const struct sidecars *all = sidecar->all;
	return all->settings.takes_header && !sidecar->has_header &&
	       cidr_list_allows(all->header_from, all->settings.header_from_count, &sidecar->peer.any);
}

static bool keep_told(struct sidecar *sidecar, const struct proxy_peer *peer)
{
	sidecar->has_header = true;
	free(sidecar->partial);
	sidecar->partial = NULL;
	if (peer->is_local || peer->client.length == 0)
		return true;
	sidecar->told = malloc(sizeof *sidecar->told);
	if (sidecar->told)
		*sidecar->told = (struct sidecar_told){.client = peer->client, .server = peer->server};
	return sidecar->told != NULL;
}

static bool keep_partial(struct sidecar *sidecar, const uint8_t *bytes, size_t length)
{
	if (!sidecar->partial && !(sidecar->partial = malloc(LIMIT_PROXY_HEADER_BYTES)))
		return false;
	memcpy(sidecar->partial, bytes, length);
	sidecar->partial_length = length;
	return true;
}

// Exactly the header is taken out of the socket, whatever came behind it. 0: it is there; PROXY_MORE; or it was closed.
enum { HEADER_GONE = 3 };
static int read_header(struct sidecar *sidecar)
{
	uint8_t *bytes = sidecar->all->unit;
	size_t had = sidecar->partial_length, used = 0;
	struct proxy_peer peer;
	if (had > 0)
		memcpy(bytes, sidecar->partial, had);
	ssize_t n = recv(sidecar->fd, bytes + had, LIMIT_PROXY_HEADER_BYTES - had, MSG_PEEK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return PROXY_MORE;
	if (n <= 0) {
		tally_outcome(sidecar->all->total, had > 0 ? TALLY_CLOSED : TALLY_SILENT);
		sidecar_close(sidecar, SIDECAR_SILENT, "no PROXY header");
		return HEADER_GONE;
	}
	int r = proxy_header_decode(bytes, had + (size_t)n, &peer, &used);
	if (r == PROXY_MORE)
		used = had + (size_t)n;
	if (r == PROXY_BAD || used == LIMIT_PROXY_HEADER_BYTES) {
		tally_outcome(sidecar->all->total, TALLY_BAD_PROXY_HEADER);
		sidecar_close(sidecar, SIDECAR_BAD_HEADER, NULL);
		return HEADER_GONE;
	}
	// What is asked for has just been seen there.
	(void)!recv(sidecar->fd, bytes + had, used - had, 0);
	if (r == 0 ? keep_told(sidecar, &peer) : keep_partial(sidecar, bytes, used))
		return r;
	sidecar_close(sidecar, SIDECAR_NO_MEMORY, NULL);
	return HEADER_GONE;
}

// ---- the first byte ------------------------------------------------------------------------------------------------

bool sidecar_charge(struct sidecar *sidecar)
{
	const struct address *client = sidecar_client(sidecar);
	if (sidecar->charged || expects_header(sidecar) || address_is_unix(client))
		return true;
	quota_key_of_address(&client->any, &sidecar->key);
	if (sidecar_share_charge(sidecar->all->settings.shares, &sidecar->key, &sidecar->charged))
		return true;
	sidecar_close(sidecar, SIDECAR_CLIENT_LIMIT, NULL);
	return false;
}

// Hostile: charged before anything is made for it.
static bool charge(struct sidecar *sidecar)
{
	const struct address *client = sidecar_client(sidecar);
	struct sidecar_shares *shares = sidecar->all->settings.shares;
	if (!sidecar_charge(sidecar))
		return false;
	if (address_is_unix(client) || sidecar->all->settings.is_client ||
	    sidecar_share_allows(shares, &client->any, loop_now_ms(sidecar->all->settings.loop)))
		return true;
	sidecar_close(sidecar, SIDECAR_RATE, NULL);
	return false;
}

static void begin_tls(struct sidecar *sidecar)
{
	struct sidecars *all = sidecar->all;
	struct tls_options options = sidecar_options(sidecar);
	if (!charge(sidecar))
		return;
	sidecar->handshake_ns = clock_ns();
	sidecar->age = all->age;
	if (tls_conn_new(all->settings.profile, &sidecar->fd, &options, &sidecar->tls) < 0) {
		sidecar_close(sidecar, SIDECAR_NO_MEMORY, NULL);
		return;
	}
	sidecar->phase = SIDECAR_HANDSHAKE;
	tls_conn_readable(sidecar->tls);
	sidecar_shake(sidecar);
}

static void look_at_first_byte(struct sidecar *sidecar)
{
	uint8_t bytes[8];
	ssize_t n = recv(sidecar->fd, bytes, sizeof bytes, MSG_PEEK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		tally_outcome(sidecar->all->total, TALLY_SILENT);
		sidecar_close(sidecar, SIDECAR_SILENT, n < 0 ? "reset" : "closed");
		return;
	}
	if (bytes[0] == TLS_HANDSHAKE_RECORD)
		begin_tls(sidecar);
	else
		turn_stranger_away(sidecar, bytes, (size_t)n);
}

void sidecar_on_accepted(void *owner, int events)
{
	struct sidecar *sidecar = owner;
	(void)events;
	if (expects_header(sidecar) && read_header(sidecar) != 0)
		return;
	sidecar_begin(sidecar);
}

void sidecar_begin(struct sidecar *sidecar)
{
	if (expects_header(sidecar))
		return; // it has not come yet
	if (!sidecar->all->settings.is_client)
		look_at_first_byte(sidecar);
	else if (charge(sidecar))
		sidecar_reach(sidecar);
}

// ---- the handshake -------------------------------------------------------------------------------------------------

// Of a handshake that was not finished; NONE: not by the peer's doing.
static enum tally_outcome outcome_of(enum tls_failure failure)
{
	switch (failure) {
	case TLS_FAILURE_NONE:
		return TALLY_INTERNAL;
	case TLS_FAILURE_CLOSED:
		return TALLY_CLOSED;
	case TLS_FAILURE_HTTP:
		return TALLY_HTTP;
	case TLS_FAILURE_NO_VERSION:
		return TALLY_NO_VERSION;
	case TLS_FAILURE_NO_SIGNATURE:
		return TALLY_NO_SIGNATURE;
	case TLS_FAILURE_WRONG_PIN:
		return TALLY_WRONG_PIN;
	case TLS_FAILURE_CLASSICAL:
		return TALLY_CLASSICAL;
	case TLS_FAILURE_NOT_TLS:
		return TALLY_NOT_TLS;
	case TLS_FAILURE_BAD_ALPN:
		return TALLY_BAD_ALPN;
	case TLS_FAILURE_NO_GROUP:
		return TALLY_NO_GROUP;
	case TLS_FAILURE_PROTOCOL:
		return TALLY_PROTOCOL;
	case TLS_FAILURE_PEER_ALERT:
		return TALLY_PEER_ALERT;
	case TLS_FAILURE_NO_CERTIFICATE:
		return TALLY_NO_CERTIFICATE;
	case TLS_FAILURE_UNKNOWN_CA:
		return TALLY_UNKNOWN_CA;
	case TLS_FAILURE_EXPIRED:
		return TALLY_EXPIRED;
	case TLS_FAILURE_NOT_YET_VALID:
		return TALLY_NOT_YET_VALID;
	case TLS_FAILURE_REVOKED:
		return TALLY_REVOKED;
	case TLS_FAILURE_NO_CRL:
		return TALLY_NO_CRL;
	case TLS_FAILURE_WRONG_USAGE:
		return TALLY_WRONG_USAGE;
	case TLS_FAILURE_WRONG_NAME:
		return TALLY_WRONG_NAME;
	case TLS_FAILURE_NOT_ALLOWED:
		return TALLY_NOT_ALLOWED;
	case TLS_FAILURE_BAD_SIGNATURE:
		return TALLY_BAD_SIGNATURE;
	case TLS_FAILURE_BAD_CERTIFICATE:
		return TALLY_BAD_CERTIFICATE;
	case TLS_FAILURE_PSK_MALFORMED:
	case TLS_FAILURE_PSK_UNKNOWN_LINK:
	case TLS_FAILURE_PSK_UNKNOWN_EPOCH:
	case TLS_FAILURE_PSK_REPLAYED:
	case TLS_FAILURE_PSK_BAD_BINDER:
	case TLS_FAILURE_PSK_NOT_USED:
	case TLS_FAILURE_ADMISSION:
	case TLS_FAILURE_INTERNAL:
	case TLS_FAILURE_COUNT:
		return TALLY_INTERNAL;
	}
	return TALLY_INTERNAL;
}

static void fail(struct sidecar *sidecar)
{
	char text[TLS_EXPLANATION_BYTES];
	enum tls_failure failure = tls_conn_failure(sidecar->tls);
	enum tally_outcome outcome = outcome_of(failure);
	tls_conn_explain(sidecar->tls, text);
	tally_outcome(sidecar->all->total, outcome);
	sidecar_blame(sidecar, outcome);
	// The library says nothing to what begins like TLS and is none.
	bool is_told = tls_conn_put(sidecar->tls) > 0 || failure == TLS_FAILURE_CLOSED;
	sidecar_part(sidecar, SIDECAR_BAD_HANDSHAKE, text, is_told ? (struct sidecar_words){NULL, 0} : ALERT);
}

void sidecar_shake(struct sidecar *sidecar)
{
	int r = tls_conn_handshake(sidecar->tls);
	if (r == TLS_BLOCKED) {
		loop_io_want(sidecar->tls_io, tls_conn_wants(sidecar->tls));
		return;
	}
	if (r != 0) {
		fail(sidecar);
		return;
	}
	sidecar->is_proved = true;
	if (sidecar->all->settings.is_client)
		sidecar_join(sidecar);
	else
		sidecar_reach(sidecar);
}
