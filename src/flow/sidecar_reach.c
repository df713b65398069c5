// The target: which one, the dial, and what it hears first.

#include "core/clock.h"
#include "core/log.h"
#include "edge/proxy_header.h"
#include "flow/sidecar_internal.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

const char *sidecar_target_name(const struct sidecar *sidecar)
{
	return sidecar->pick.name ? sidecar->pick.name : "";
}

void sidecar_forget_target(struct sidecar *sidecar)
{
	dial_cancel(&sidecar->dial);
	targets_leave(&sidecar->pick);
	targets_unref(&sidecar->targets);
}

// ---- what was negotiated -------------------------------------------------------------------------------------------

static void say_classical(struct sidecar *sidecar, const struct tls_text *tls)
{
	struct sidecars *all = sidecar->all;
	char client[ADDRESS_TEXT_BYTES];
	counter_add(COUNTER_SIDECAR_CLASSICAL, 1);
	if (!brake_passes(&all->classical, loop_now_ms(all->settings.loop)))
		return;
	address_format(sidecar_client(sidecar), client);
	log_warn("sidecar",
	         "connection %llu from %s: the key agreement is classical (%s, %s): whoever records it may read it "
	         "once there are quantum computers",
	         (unsigned long long)sidecar->id, client, tls->version, *tls->group ? tls->group : "no group");
}

void sidecar_count_handshake(struct sidecar *sidecar)
{
	struct tls_text tls;
	tls_conn_describe(sidecar->tls, &tls);
	sidecar->is_tls13 = strcmp(tls.version, "TLSv1.3") == 0;
	struct tally_handshake handshake = {.version = tls.version,
	                                    .group = tls.group,
	                                    .signature = tls.signature_own,
	                                    .signature_peer = tls.signature_peer,
	                                    .took_us = (clock_ns() - sidecar->handshake_ns) / 1000};
	tally_negotiated(sidecar->all->total, &handshake);
	if (sidecar->tally)
		tally_negotiated(sidecar->tally, &handshake);
	if (!tls_group_is_pq(tls.group))
		say_classical(sidecar, &tls);
}

void sidecar_blame(struct sidecar *sidecar, enum tally_outcome outcome)
{
	struct sidecars *all = sidecar->all;
	struct tally *tally = sidecar->tally;
	struct target_pick pick = {0};
	// We have answered a client: its ClientHello was there, and with it the name.
	bool is_named = !tally && sidecar->tls && !all->settings.is_client && tls_conn_put(sidecar->tls) > 0;
	if (is_named && targets_pick(all->settings.targets, tls_sidecar_sni(sidecar->tls), &pick) == 0)
		tally = sidecar_tally(all->settings.shares, pick.name);
	if (tally)
		tally_outcome(tally, outcome);
	targets_leave(&pick);
}

// ---- what the target hears first -----------------------------------------------------------------------------------

// Where the client believes to have connected to.
static void find_server(const struct sidecar *sidecar, struct address *server)
{
	int fd = sidecar->all->settings.is_client ? sidecar->joint.fd : tls_conn_fd(sidecar->tls);
	if (sidecar->told) {
		*server = sidecar->told->server;
		return;
	}
	*server = (struct address){.length = sizeof server->storage};
	if (getsockname(fd, &server->any, &server->length) != 0)
		server->length = 0;
}

// What is known of the client's TLS connection; a client of ours that speaks plainly has none.
struct known {
	struct tls_text text;
	struct identity_text peer;
	struct proxy_tls tls;
};

static const struct proxy_tls *describe(const struct sidecar *sidecar, struct known *known)
{
	const struct identity_text *own = &sidecar->all->settings.own;
	X509 *certificate = tls_conn_peer_certificate(sidecar->tls);
	if (sidecar->all->settings.is_client)
		return NULL;
	tls_conn_describe(sidecar->tls, &known->text);
	if (certificate)
		identity_describe(certificate, &known->peer);
	known->tls = (struct proxy_tls){
		.version = known->text.version,
		.cipher = known->text.cipher,
		.common_name = certificate ? known->peer.common_name : NULL,
		.signature = own->signature,
		.key = own->key_type,
		.group = known->text.group,
		.scheme = known->text.signature_own,
		.names = certificate ? known->peer.names : NULL,
	};
	return &known->tls;
}

bool sidecar_introduce(struct sidecar *sidecar)
{
	uint8_t bytes[PROXY_HEADER_BYTES];
	enum sidecar_header kind = sidecar->all->settings.sends_header;
	struct known known = {0};
	if (kind == SIDECAR_HEADER_OFF)
		return true;
	struct proxy_header header = {.client = *sidecar_client(sidecar)};
	find_server(sidecar, &header.server);
	header.tls = describe(sidecar, &known);
	header.authority = header.tls ? tls_sidecar_sni(sidecar->tls) : NULL;
	header.alpn = header.tls ? tls_sidecar_alpn(sidecar->tls) : NULL;
	size_t length = kind == SIDECAR_HEADER_V1 ? proxy_header_encode_text(&header, (char *)bytes)
	                                          : proxy_header_encode(&header, bytes);
	return sidecar_say(sidecar, bytes, length);
}

// ---- the dial ------------------------------------------------------------------------------------------------------

static void dial_next(struct sidecar *sidecar);

static bool take_socket(struct sidecar *sidecar, int fd)
{
	struct sidecars *all = sidecar->all;
	struct tls_options options = sidecar_options(sidecar);
	struct loop_io **io = all->settings.is_client ? &sidecar->tls_io : &sidecar->plain_io;
	sidecar_tune(sidecar, fd);
	sidecar->age = all->settings.is_client ? all->age : sidecar->age;
	if (all->settings.is_client && tls_conn_new(all->settings.profile, &fd, &options, &sidecar->tls) < 0) {
		socket_close(&fd);
		return false;
	}
	if (!all->settings.is_client)
		sidecar->joint.fd = fd;
	fd = all->settings.is_client ? tls_conn_fd(sidecar->tls) : fd;
	return loop_io_open(all->settings.loop, fd, all->settings.is_client ? sidecar_on_tls : sidecar_on_plain, sidecar,
	                    io) == 0;
}

static void say_changed(const char *name, const struct dial_result *result)
{
	if (result->fd >= 0)
		log_info("sidecar", "target %s is up", name);
	else
		log_warn("sidecar", "target %s is down: %s", name, result->problem);
}

static void on_dialled(void *owner, const struct dial_result *result)
{
	struct sidecar *sidecar = owner;
	struct sidecars *all = sidecar->all;
	int fd = result->fd;
	if (fd < 0 ? result->no_descriptor : socket_is_reserved(fd)) {
		socket_close(&fd);
		sidecar_close(sidecar, SIDECAR_NO_DESCRIPTOR, NULL);
		return;
	}
	if (targets_report(sidecar->targets, &sidecar->pick, fd >= 0))
		say_changed(sidecar->pick.name, result);
	if (fd < 0) {
		sidecar_add(sidecar, TALLY_UNREACHABLE, 1);
		snprintf(sidecar->all->problem, sizeof sidecar->all->problem, "%s", result->problem);
		dial_next(sidecar);
		return;
	}
	if (!take_socket(sidecar, fd)) {
		sidecar_close(sidecar, SIDECAR_NO_MEMORY, NULL);
		return;
	}
	if (!all->settings.is_client) {
		sidecar_join(sidecar);
		return;
	}
	sidecar->phase = SIDECAR_HANDSHAKE;
	sidecar->handshake_ns = clock_ns();
	sidecar->due_ms = loop_now_ms(all->settings.loop) + all->settings.handshake_ms;
	sidecar_shake(sidecar);
}

// The next one in line. What refused is not tried again for this connection.
static void dial_next(struct sidecar *sidecar)
{
	struct sidecars *all = sidecar->all;
	bool is_first = sidecar->pick.tried == 0;
	const char *name = all->settings.is_client ? "" : tls_sidecar_sni(sidecar->tls);
	int r = targets_pick(sidecar->targets, name, &sidecar->pick);
	if (r != 0) {
		sidecar_close(sidecar, is_first ? SIDECAR_NO_TARGET : SIDECAR_UNREACHABLE, is_first ? name : all->problem);
		return;
	}
	sidecar->tally = sidecar_tally(all->settings.shares, sidecar->pick.name);
	if (is_first && !all->settings.is_client)
		sidecar_count_handshake(sidecar);
	r = dial_start(all->settings.loop, sidecar->pick.host, sidecar->pick.port, all->settings.connect_ms, on_dialled,
	               sidecar, &sidecar->dial);
	if (r < 0)
		sidecar_close(sidecar, SIDECAR_UNREACHABLE, outcome_text(r));
}

static void watch_client(struct sidecar *sidecar)
{
	int ended = sidecar->client_ended ? 0 : LOOP_ENDED;
	if (sidecar->all->settings.is_client)
		loop_io_want(sidecar->plain_io, ended);
	else
		loop_io_want(sidecar->tls_io, (tls_conn_wants(sidecar->tls) & LOOP_WRITE) | ended);
}

// Nothing can be said to it either: a Unix socket whose other end was closed, a TCP connection that was reset.
// Syscalls: poll
static bool is_gone(int fd)
{
	struct pollfd question = {.fd = fd};
	return poll(&question, 1, 0) == 1 && question.revents & (POLLHUP | POLLERR);
}

bool sidecar_client_broke(struct sidecar *sidecar, int events)
{
	int fd = sidecar->all->settings.is_client ? sidecar->fd : tls_conn_fd(sidecar->tls);
	// Told again and again as long as it is wanted.
	sidecar->client_ended = sidecar->client_ended || events & LOOP_ENDED;
	watch_client(sidecar);
	return events & (LOOP_ENDED | LOOP_READ) && is_gone(fd); // LOOP_READ was not wanted: an error
}

void sidecar_reach(struct sidecar *sidecar)
{
	struct sidecars *all = sidecar->all;
	sidecar->phase = SIDECAR_REACHING;
	sidecar_enlist(sidecar, &all->reaching);
	sidecar->targets = targets_ref(all->settings.targets);
	// Back-pressure is silence: what the client says now waits in its socket. That it has gone is told all the same.
	watch_client(sidecar);
	dial_next(sidecar);
}
