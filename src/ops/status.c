#include "ops/status.h"
#include "ops/status_proxy.h"
#include "ops/status_text.h"

#include "core/counter.h"
#include "core/outcome.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Every byte of the longest text may become four.
#define TEXT_BYTES (256 * 4 + 1)

void status_text(const char *text, char *out, size_t size)
{
	size_t length = 0;
	for (const char *at = text ? text : ""; *at; at++) {
		unsigned char byte = (unsigned char)*at;
		char shown[5];
		// Hostile: names and reasons of peers end up on terminals, in browsers and in label values.
		int count = snprintf(shown, sizeof shown, byte < 0x20 || byte > 0x7e ? "\\x%02x" : "%c", byte);
		if (length + (size_t)count >= size)
			break;
		memcpy(out + length, shown, (size_t)count);
		length += (size_t)count;
	}
	out[length] = '\0';
}

// ---- objects -------------------------------------------------------------------------------------------------------

// Like a writer of core/codec.h: a value that found no memory makes the whole object bad, which is asked for once.
struct object {
	json_t *json;
	bool bad;
};

static void add(struct object *object, const char *key, json_t *value)
{
	if (json_object_set_new(object->json, key, value) != 0)
		object->bad = true;
}

static void add_text(struct object *object, const char *key, const char *text)
{
	char shown[TEXT_BYTES];
	status_text(text, shown, sizeof shown);
	add(object, key, json_string(shown));
}

static void add_number(struct object *object, const char *key, uint64_t number)
{
	add(object, key, json_integer((json_int_t)number));
}

// Negative: not known.
static void add_known(struct object *object, const char *key, int64_t number)
{
	add(object, key, number < 0 ? json_null() : json_integer(number));
}

static void add_truth(struct object *object, const char *key, bool truth)
{
	add(object, key, json_boolean(truth));
}

static char *print(struct object *object)
{
	char *text = object->bad ? NULL : json_dumps(object->json, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	json_decref(object->json);
	return text;
}

void status_release(struct status_node *status)
{
	free(status->links);
	free(status->services);
	free(status->targets);
	status->targets = NULL;
	status->target_count = 0;
	status->links = NULL;
	status->services = NULL;
	status->link_count = status->service_count = 0;
}

// ---- /status -------------------------------------------------------------------------------------------------------

static json_t *describe_drops(const struct status_link *link, bool *bad)
{
	struct object object = {.json = json_object()};
	add_number(&object, "congested", link->datagrams_congested);
	add_number(&object, "refused_by_peer", link->datagrams_refused);
	add_number(&object, "broken", link->datagrams_broken);
	add_number(&object, "malformed", link->datagrams_malformed);
	add_number(&object, "undelivered", link->datagrams_undelivered);
	*bad = *bad || object.bad;
	return object.json;
}

static json_t *describe_client(const struct status_client *client, bool *bad)
{
	struct object object = {.json = json_object()};
	add_text(&object, "name", client->name);
	add_text(&object, "ipv4", client->ipv4);
	add_text(&object, "ipv6", client->ipv6);
	add_number(&object, "bandwidth_limit", client->bandwidth_limit);
	add_number(&object, "packets_spoofed", client->spoofed);
	add_number(&object, "packets_client_to_client", client->crossed);
	add_number(&object, "packets_congested", client->congested);
	*bad = *bad || object.bad;
	return object.json;
}

static json_t *describe_link(const struct status_link *link, bool *bad)
{
	struct object object = {.json = json_object()};
	add_text(&object, "id", link->id);
	add_text(&object, "role", link->role);
	add_text(&object, "state", link->state);
	add_text(&object, "peer_name", link->peer_name);
	add_text(&object, "peer_address", link->peer_address);
	add_text(&object, "subject", link->subject);
	add_text(&object, "fingerprint", link->fingerprint);
	add_text(&object, "issuer", link->issuer);
	add(&object, "not_after", json_integer(link->not_after));
	add_text(&object, "carrier", link->carrier);
	add_text(&object, "tls_version", link->tls_version);
	add_text(&object, "tls_group", link->tls_group);
	add_text(&object, "tls_cipher", link->tls_cipher);
	add_text(&object, "signature_peer", link->signature_peer);
	add_text(&object, "signature_own", link->signature_own);
	add_text(&object, "kem_mode", link->kem_mode);
	add_text(&object, "kem_legs", link->kem_legs);
	add_number(&object, "epoch", link->epoch);
	add_number(&object, "epoch_age_ms", link->epoch_age_ms);
	add_number(&object, "streams_open", link->streams_open);
	add_number(&object, "streams_total", link->streams_total);
	add_number(&object, "bytes_outward", link->bytes_outward);
	add_number(&object, "bytes_inward", link->bytes_inward);
	add_number(&object, "datagrams_outward", link->datagrams_outward);
	add_number(&object, "datagrams_inward", link->datagrams_inward);
	add(&object, "datagrams_dropped", describe_drops(link, &object.bad));
	add_number(&object, "rtt_us", link->rtt_us);
	add_number(&object, "up_ms", link->up_ms);
	add_text(&object, "last_error", link->last_error);
	if (link->client.name[0])
		add(&object, "client", describe_client(&link->client, &object.bad));
	*bad = *bad || object.bad;
	return object.json;
}

static json_t *describe_links(const struct status_node *status, bool *bad)
{
	json_t *links = json_array();
	for (size_t i = 0; i < status->link_count; i++)
		if (json_array_append_new(links, describe_link(&status->links[i], bad)) != 0)
			*bad = true;
	return links;
}

static json_t *describe_service(const struct status_service *service, bool *bad)
{
	struct object object = {.json = json_object()};
	add_text(&object, "name", service->name);
	add_number(&object, "connections", service->connections);
	add_number(&object, "connections_total", service->connections_total);
	add_number(&object, "bytes_sent", service->bytes_sent);
	add_number(&object, "bytes_received", service->bytes_received);
	add_number(&object, "errors", service->errors);
	*bad = *bad || object.bad;
	return object.json;
}

static json_t *describe_services(const struct status_node *status, bool *bad)
{
	json_t *services = json_array();
	for (size_t i = 0; i < status->service_count; i++)
		if (json_array_append_new(services, describe_service(&status->services[i], bad)) != 0)
			*bad = true;
	return services;
}

// Everything that is counted, under the names and labels of /metrics.
static json_t *describe_counters(bool *bad)
{
	struct object all = {.json = json_object()};
	for (int i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_text *text = counter_text((enum counter)i);
		char key[160];
		snprintf(key, sizeof key, *text->labels ? "%s{%s}" : "%s%s", text->name, text->labels);
		add(&all, key, json_integer((json_int_t)counter_read((enum counter)i)));
	}
	*bad = *bad || all.bad;
	return all.json;
}

static json_t *describe_reload(const struct status_node *status, bool *bad)
{
	struct object object = {.json = NULL};
	if (status->reload_age_ms < 0)
		return json_null();
	object.json = json_object();
	add_text(&object, "outcome", status->reload_ok ? "ok" : "refused");
	add_number(&object, "age_ms", (uint64_t)status->reload_age_ms);
	*bad = *bad || object.bad;
	return object.json;
}

static json_t *describe_certificate(const struct status_certificate *certificate, bool *bad)
{
	struct object object = {.json = json_object()};
	add_text(&object, "role", certificate->role);
	add_number(&object, "number", certificate->number);
	add_text(&object, "subject", certificate->subject);
	add(&object, "not_before", json_integer(certificate->not_before));
	add(&object, "not_after", json_integer(certificate->not_after));
	add_text(&object, "state", certificate->state);
	*bad = *bad || object.bad;
	return object.json;
}

static json_t *describe_certificates(const struct status_node *status, bool *bad)
{
	json_t *list = json_array();
	for (size_t i = 0; i < status->certificate_count; i++)
		if (json_array_append_new(list, describe_certificate(&status->certificates[i], bad)) != 0)
			*bad = true;
	return list;
}

static json_t *describe_renewal(const struct status_renewal *renewal, bool *bad)
{
	struct object object = {.json = NULL};
	if (!renewal->method)
		return json_null();
	object.json = json_object();
	add_text(&object, "method", renewal->method);
	add_text(&object, "state", renewal->state);
	add(&object, "due", json_integer(renewal->due));
	add(&object, "next", json_integer(renewal->next));
	add_text(&object, "last_error", renewal->last_error);
	*bad = *bad || object.bad;
	return object.json;
}

char *status_encode(struct status_node *status)
{
	struct object object = {.json = json_object()};
	add_text(&object, "command", status->command);
	add_text(&object, "version", status->version);
	add_text(&object, "name", status->name);
	add_number(&object, "uptime_ms", status->uptime_ms);
	add_truth(&object, "ready", status->ready);
	add_text(&object, "health", status->health);
	add_text(&object, "message", status->message);
	add_truth(&object, "tunnel_established", status->tunnel_established);
	add_known(&object, "last_successful_operation_s", status->last_successful_operation_s);
	add_number(&object, "error_count", status->error_count);
	add_known(&object, "missed_pongs", status->missed_pongs);
	add_known(&object, "average_rtt_us", status->average_rtt_us);
	add_known(&object, "reconnection_attempts", status->reconnection_attempts);
	add_number(&object, "flows_open", status->flows_open);
	add_number(&object, "associations_open", status->associations_open);
	if (status->has_devices) {
		add_number(&object, "devices_online", status->devices_online);
		add_number(&object, "devices_expiring", status->devices_expiring);
	}
	add_number(&object, "workers", status->workers);
	add_truth(&object, "startup_complete", status->startup_complete);
	add(&object, "own_not_after", json_integer(status->own_not_after));
	add(&object, "ca_not_after", json_integer(status->ca_not_after));
	add(&object, "certificates", describe_certificates(status, &object.bad));
	add(&object, "renewal", describe_renewal(&status->renewal, &object.bad));
	add(&object, "last_reload", describe_reload(status, &object.bad));
	add(&object, "services", describe_services(status, &object.bad));
	if (status->is_proxy)
		add(&object, "proxy", status_describe_proxy(status, &object.bad));
	add(&object, "counters", describe_counters(&object.bad));
	add_number(&object, "link_count", status->link_count);
	add(&object, "links", describe_links(status, &object.bad));
	status_release(status);
	return print(&object);
}

// ---- /health -------------------------------------------------------------------------------------------------------

char *status_encode_health(struct status_node *status)
{
	struct object object = {.json = json_object()};
	status_release(status);
	add_text(&object, "status", status->health);
	add_number(&object, "uptime_seconds", status->uptime_ms / 1000);
	add_known(&object, "last_successful_operation", status->last_successful_operation_s);
	add_number(&object, "error_count", status->error_count);
	add_truth(&object, "tunnel_established", status->tunnel_established);
	add_text(&object, "message", status->message);
	add_known(&object, "consecutive_missed_pongs", status->missed_pongs);
	add_known(&object, "average_rtt_us", status->average_rtt_us);
	add_known(&object, "reconnection_attempts", status->reconnection_attempts);
	return print(&object);
}
