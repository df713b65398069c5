#include "cmd/tunnel.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "net/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t legs_of(enum config_kem_mode mode)
{
	switch (mode) {
	case CONFIG_KEM_HYBRID:
		return LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE;
	case CONFIG_KEM_MLKEM768:
		return LEG_X25519 | LEG_MLKEM768;
	case CONFIG_KEM_MCELIECE:
		return LEG_X25519 | LEG_MCELIECE;
	}
	return 0;
}

// Of a link's epochs: the configuration may have another one by now.
static const char *mode_name(uint8_t legs)
{
	static const char *const names[] = {"hybrid", "mlkem768", "mceliece460896"};
	for (unsigned mode = 0; mode < COUNT_OF(names); mode++)
		if (legs_of((enum config_kem_mode)mode) == legs)
			return names[mode];
	return "";
}

struct control_settings tunnel_control(const struct config *config, enum control_role role)
{
	struct control_settings settings = {
		.role = role,
		.hello =
			{
				.version = 1,
				.role = (uint8_t)role,
				.legs = legs_of(config->crypto.kem_mode),
				.carriers = 1,
				.heartbeat_ms = config->link.heartbeat_interval_ms,
				.rotation_s = config->crypto.key_rotation_interval_seconds,
			},
		.rotation_ms = config->crypto.key_rotation_interval_seconds * 1000,
		.heartbeat_ms = config->link.heartbeat_interval_ms,
		.heartbeat_timeout_ms = config->link.heartbeat_timeout_ms,
		.missed_pongs_max = config->link.max_missed_pongs,
	};
	snprintf(settings.hello.node_name, sizeof settings.hello.node_name, "%s", config->node.name);
	snprintf(settings.hello.build_id, sizeof settings.hello.build_id, "qanat %s", QANAT_VERSION);
	return settings;
}

struct link_settings tunnel_link(const struct config *config)
{
	return (struct link_settings){
		.overlap_ms = config->crypto.key_overlap_seconds * 1000,
		.rotation_bytes = config->crypto.key_rotation_bytes,
		.rotation_streams = config->crypto.key_rotation_streams,
		.key_update_bytes = config->crypto.tls_key_update_bytes,
		.silence_ms = config->link.user_timeout_ms,
		.connections_max = LIMIT_LINK_CONNECTIONS,
	};
}

enum tls_pq tunnel_pq(const struct config *config)
{
	switch (config->crypto.pq) {
	case CONFIG_PQ_REQUIRE:
		return TLS_PQ_REQUIRE;
	case CONFIG_PQ_PREFER:
		return TLS_PQ_PREFER;
	case CONFIG_PQ_OFF:
		return TLS_PQ_OFF;
	}
	return TLS_PQ_REQUIRE;
}

void tunnel_log(const struct config *config)
{
	log_set(config->logging.level, config->logging.format, config->logging.include_timestamp);
	config_log_notes(config);
	if (config->crypto.kem_mode == CONFIG_KEM_MCELIECE)
		log_warn("tunnel",
		         "kem_mode = mceliece460896 leaves ML-KEM out of the epochs: \"hybrid\" stays safe when either "
		         "of the two is broken and costs nothing more");
	if (config->crypto.pq != CONFIG_PQ_REQUIRE)
		log_warn("tunnel", "crypto.pq is not \"require\": a link may be made with a classical key agreement only; what "
		                   "was negotiated is shown per link");
}

struct identity_files tunnel_identity_files(const struct config *config, enum identity_usage usage)
{
	return (struct identity_files){.ca_path = config->auth.ca_cert_path,
	                               .cert_path = config->auth.cert_path,
	                               .key_path = config->auth.key_path,
	                               .crl_paths = (const char *const *)config->auth.crl_paths,
	                               .crl_count = config->auth.crl_count,
	                               .usage = usage};
}

int tunnel_identity(const struct config *config, enum identity_usage usage, struct identity **identity)
{
	char problem[IDENTITY_PROBLEM_BYTES];
	struct identity_files files = tunnel_identity_files(config, usage);
	int r = identity_load(&files, identity, problem);
	if (r == 0)
		return 0;
	log_error("tunnel", "%s", r == IDENTITY_REFUSED ? problem : outcome_text(r));
	return 1;
}

const char *tunnel_listen_problem(const struct address *address, int error)
{
	if (error == -EACCES && !address_is_unix(address))
		return "permission denied; a port below 1024 wants root, CAP_NET_BIND_SERVICE or a socket of the service manager";
	if (error == -EADDRNOTAVAIL)
		return "no interface of this machine has that address";
	return outcome_text(error);
}

int tunnel_http(const struct config *config, status_fn fill, void *owner, struct http **http)
{
	if (!config->metrics.enabled)
		return 0;
	struct address address;
	char text[ADDRESS_TEXT_BYTES];
	const char *bind_to = config->metrics.metrics_bind_ip;
	int bad = strncmp(bind_to, "unix:", 5) == 0 ? address_parse(bind_to, &address)
	                                            : address_from_ip(bind_to, config->metrics.metrics_port, &address);
	if (bad) {
		log_error("tunnel", "metrics.metrics_bind_ip \"%s\" is not an address", bind_to);
		return 2;
	}
	address_format(&address, text);
	int r = http_start(&address, fill, owner, http);
	if (r < 0) {
		log_error("tunnel", "cannot serve metrics on %s: %s (metrics.metrics_port chooses another port)", text,
		          tunnel_listen_problem(&address, r));
		return 1;
	}
	address_format(&address, text);
	log_info("tunnel", address_is_unix(&address) ? "status on %s" : "status on http://%s/", text);
	if (!address_is_loopback(&address))
		log_warn("tunnel", "metrics are served beyond this host, without a password");
	return 0;
}

#define COPY_TEXT(to, from) snprintf(to, sizeof(to), "%s", from)

int64_t tunnel_missed_pongs(const struct config *config, struct link *link)
{
	struct link_state state;
	link_read(link, &state);
	return (int64_t)((clock_ms() - state.heard_ms) / config->link.heartbeat_interval_ms);
}

uint64_t tunnel_refusals(void)
{
	uint64_t sum = 0;
	for (int i = COUNTER_HANDSHAKE_TIMEOUT; i <= COUNTER_PSK_NOT_USED; i++)
		sum += counter_read((enum counter)i);
	return sum + counter_read(COUNTER_LINK_REFUSED) + counter_read(COUNTER_FLOW_REFUSED_SERVICE) +
	       counter_read(COUNTER_FLOW_REFUSED_TARGET) + counter_read(COUNTER_FLOW_REFUSED_LIMIT);
}

void tunnel_describe_link(struct link *link, struct status_link *out)
{
	struct link_state state;
	const struct link_peer *peer = link_peer(link);
	uint64_t now = clock_ms();
	link_read(link, &state);
	*out = (struct status_link){
		.role = link_role(link) == CONTROL_INITIATOR ? "initiator" : "responder",
		.state = state.up ? "up" : "down",
		.not_after = peer->certificate.not_after,
		.carrier = "tls",
		.kem_mode = mode_name(state.legs),
		.epoch = state.epoch,
		.epoch_age_ms = now - state.epoch_since_ms,
		.streams_open = state.streams_open,
		.streams_total = state.streams_total,
		.bytes_outward = state.bytes_outward,
		.bytes_inward = state.bytes_inward,
		.datagrams_outward = state.datagrams.outward,
		.datagrams_inward = state.datagrams.inward,
		.datagrams_congested = state.datagrams.congested,
		.datagrams_refused = state.datagrams.refused,
		.datagrams_broken = state.datagrams.broken,
		.datagrams_malformed = state.datagrams.malformed,
		.datagrams_undelivered = state.datagrams.undelivered,
		.rtt_us = state.rtt_us,
		.up_ms = now - state.up_since_ms,
	};
	for (unsigned i = 0; i < LINK_ID_BYTES; i++)
		snprintf(out->id + 2 * i, 3, "%02x", link_id(link)[i]);
	COPY_TEXT(out->peer_name, peer->node_name);
	COPY_TEXT(out->peer_address, peer->address);
	COPY_TEXT(out->subject, peer->certificate.subject);
	COPY_TEXT(out->fingerprint, peer->certificate.fingerprint);
	COPY_TEXT(out->issuer, peer->certificate.issuer);
	COPY_TEXT(out->tls_version, peer->tls.version);
	COPY_TEXT(out->tls_group, peer->tls.group);
	COPY_TEXT(out->tls_cipher, peer->tls.cipher);
	COPY_TEXT(out->signature_own, peer->tls.signature_own);
	COPY_TEXT(out->signature_peer, peer->tls.signature_peer);
	COPY_TEXT(out->kem_legs, link_legs_text(state.legs));
	COPY_TEXT(out->last_error, state.error);
}

void tunnel_describe_services(const struct service_table *table, struct status_node *status)
{
	status->services = calloc(table->count + 1, sizeof *status->services);
	status->service_count = status->services ? table->count : 0;
	for (size_t i = 0; i < status->service_count; i++) {
		struct status_service *to = &status->services[i];
		const struct service_load *load = table->services[i].load;
		snprintf(to->name, sizeof to->name, "%s", table->services[i].name);
		to->connections = atomic_load(&load->connections);
		to->connections_total = atomic_load(&load->connections_total);
		to->bytes_sent = atomic_load(&load->bytes_sent);
		to->bytes_received = atomic_load(&load->bytes_received);
		to->errors = atomic_load(&load->errors);
	}
}
