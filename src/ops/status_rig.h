// For tests of ops/status.h: nodes of which everything is known. For one file of a test program.

#pragma once

#include "ops/status.h"

#include "ops/status_text.h"

#include "core/counter.h"
#include "core/outcome.h"

#include <ctype.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define HOSTILE "a\"b\\c\nqanat_ready 7\n{}\x1b[2J\x7f\xc3\xa9"
#define HOSTILE_SHOWN "a\"b\\c\\x0aqanat_ready 7\\x0a{}\\x1b[2J\\x7f\\xc3\\xa9"

static const struct status_link sample_link = {
	.id = "a1b2c3d4e5f60718293a4b5c6d7e8f90",
	.role = "initiator",
	.state = "up",
	.peer_name = "far",
	.peer_address = "192.0.2.1:4433",
	.subject = "CN=far",
	.fingerprint = "00ff",
	.issuer = "CN=ca",
	.not_after = 1800000000,
	.carrier = "tls",
	.tls_version = "TLSv1.3",
	.tls_group = "X25519MLKEM768",
	.tls_cipher = "TLS_AES_256_GCM_SHA384",
	.signature_peer = "mldsa65",
	.signature_own = "ed25519",
	.kem_mode = "hybrid",
	.kem_legs = "X25519+ML-KEM-768",
	.epoch = 7,
	.epoch_age_ms = 61500,
	.streams_open = 3,
	.streams_total = 5000000000,
	.bytes_outward = 9007199254740993,
	.bytes_inward = 12,
	.datagrams_outward = 13,
	.datagrams_inward = 14,
	.datagrams_congested = 15,
	.datagrams_refused = 16,
	.datagrams_broken = 17,
	.datagrams_malformed = 18,
	.datagrams_undelivered = 19,
	.rtt_us = 1500,
	.up_ms = 99,
	.last_error = "connection refused",
};

static inline void fill(struct status_node *status, size_t links)
{
	*status = (struct status_node){
		.command = "source",
		.version = "0.1.0",
		.name = "near",
		.uptime_ms = 3725500,
		.ready = true,
		.health = "Healthy",
		.message = "All systems operational",
		.tunnel_established = true,
		.last_successful_operation_s = 4,
		.error_count = 2,
		.missed_pongs = 1,
		.average_rtt_us = 1500,
		.reconnection_attempts = 6,
		.flows_open = 11,
		.associations_open = 12,
		.workers = 2,
		.startup_complete = true,
		.own_not_after = 1800000001,
		.ca_not_after = 1800000002,
		.certificates = {{"own", 1, "CN=near", 1700000001, 1800000001, "valid"},
	                     {"own", 2, "CN=second", 1700000002, 1800000003, "expires soon"},
	                     {"ca", 1, "CN=CA", 1700000003, 1800000002, "valid"}},
		.certificate_count = 3,
		.renewal = {.method = "drop", .state = "asked the CA", .due = 1790000000, .next = 1790000001},
		.reload_age_ms = -1,
		.links = calloc(links ? links : 1, sizeof(struct status_link)),
		.link_count = links,
	};
	assert_non_null(status->links);
	for (size_t i = 0; i < links; i++) {
		status->links[i] = sample_link;
		snprintf(status->links[i].id, sizeof status->links[i].id, "%08x%s", (unsigned)i, sample_link.id + 8);
	}
}

// ---- /status and /health

static inline void fill_services(struct status_node *status)
{
	fill(status, 0);
	status->reload_age_ms = 1500;
	status->services = calloc(2, sizeof *status->services);
	assert_non_null(status->services);
	status->service_count = 2;
	status->services[0] = (struct status_service){"ssh", 1, 20, 300, 4000, 5};
	status->services[1] = (struct status_service){.name = "we\"b"};
}
