// What people see of a vpn server's clients, and may ask for: rows of /status, `qanat devices` and `qanat kick`.

#include "cmd/vpn_clients.h"

#include "cmd/tunnel.h"
#include "core/clock.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void show(const struct vpn *vpn, const struct vpn_client *client, struct status_client *out)
{
	snprintf(out->name, sizeof out->name, "%s", client->name);
	grant_format(&client->given.ipv4, out->ipv4);
	grant_format(&client->given.ipv6, out->ipv6);
	out->bandwidth_limit = vpn_clients_limit(vpn->config, client->name);
	out->spoofed = lanes_peer_dropped(client->peer, LANES_DROP_SPOOFED);
	out->crossed = lanes_peer_dropped(client->peer, LANES_DROP_CROSSED);
	out->congested = lanes_peer_dropped(client->peer, LANES_DROP_CONGESTED);
}

void vpn_clients_fill(struct vpn *vpn, struct status_node *status)
{
	status->links = calloc(vpn->clients->count + 1, sizeof *status->links);
	for (uint32_t i = 0; i < LIMIT_VPN_CLIENTS && status->links; i++) {
		const struct vpn_client *client = vpn->clients->slots[i];
		if (!client)
			continue;
		struct status_link *out = &status->links[status->link_count++];
		*out = (struct status_link){.role = "responder", .carrier = "tls", .kem_mode = "", .state = "up"};
		tunnel_describe_link(client->link, out);
		show(vpn, client, &out->client);
	}
}

// ---- the control socket

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct vpn_client *const *)a)->name, (*(const struct vpn_client *const *)b)->name);
}

static json_t *describe(const struct vpn *vpn, const struct vpn_client *client)
{
	struct status_client shown = {0};
	struct link_state state;
	const struct link_peer *peer = link_peer(client->link);
	uint64_t now = clock_ms();
	show(vpn, client, &shown);
	link_read(client->link, &state);
	return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:I}",
	                 "name", client->name, "online", 1, "channels", (json_int_t)state.streams_open, "channels_total",
	                 (json_int_t)state.streams_total, "bytes_sent", (json_int_t)state.bytes_outward, "bytes_received",
	                 (json_int_t)state.bytes_inward, "address", peer->address, "subject", peer->certificate.subject,
	                 "fingerprint", peer->certificate.fingerprint, "not_after", (json_int_t)peer->certificate.not_after,
	                 "rtt_us", (json_int_t)state.rtt_us, "last_seen_ms",
	                 (json_int_t)(state.heard_ms ? now - state.heard_ms : 0), "ipv4", shown.ipv4, "ipv6", shown.ipv6,
	                 "bandwidth_limit", (json_int_t)shown.bandwidth_limit, "packets_spoofed", (json_int_t)shown.spoofed,
	                 "packets_client_to_client", (json_int_t)shown.crossed, "packets_congested",
	                 (json_int_t)shown.congested);
}

// As many as LIMIT_DEVICES_PER_ANSWER behind that name.
static json_t *describe_page(struct vpn *vpn, const char *after, size_t *left)
{
	const struct vpn_client *list[LIMIT_VPN_CLIENTS];
	size_t count = 0;
	json_t *page = json_array();
	*left = 0;
	for (uint32_t i = 0; i < LIMIT_VPN_CLIENTS; i++)
		if (vpn->clients->slots[i] && strcmp(vpn->clients->slots[i]->name, after) > 0)
			list[count++] = vpn->clients->slots[i];
	qsort(list, count, sizeof *list, by_name);
	for (size_t i = 0; i < count && i < LIMIT_DEVICES_PER_ANSWER; i++)
		json_array_append_new(page, describe(vpn, list[i]));
	*left = count > LIMIT_DEVICES_PER_ANSWER ? count - LIMIT_DEVICES_PER_ANSWER : 0;
	return page;
}

char *vpn_clients_answer_devices(void *owner, const char *after)
{
	struct vpn *vpn = owner;
	size_t left;
	pthread_mutex_lock(&vpn->lock);
	json_t *page = describe_page(vpn, after, &left);
	pthread_mutex_unlock(&vpn->lock);
	json_t *answer = json_pack("{s:b, s:I, s:o}", "ok", 1, "left", (json_int_t)left, "devices", page);
	char *text = json_dumps(answer, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(answer);
	return text;
}

char *vpn_clients_answer_kick(void *owner, const char *name)
{
	bool found = vpn_clients_kick(owner, name);
	json_t *answer = found ? json_pack("{s:b}", "ok", 1)
	                       : json_pack("{s:b, s:[s]}", "ok", 0, "problems", "no client with that name is here");
	char *text = json_dumps(answer, JSON_COMPACT);
	json_decref(answer);
	return text;
}
