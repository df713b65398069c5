// What people see of a hub and its devices.

#include "cmd/hub_internal.h"
#include "cmd/tunnel.h"
#include "cmd/tunnel_reload.h"
#include "core/clock.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

// ---- certificates that end -----------------------------------------------------------------------------------------

enum expiry_stage hub_judge_expiry(const struct expiry_thresholds *thresholds, const struct link *link)
{
	const struct link_peer *peer = link_peer(link);
	struct lifetime lifetime = {.from = peer->certificate.not_before, .until = peer->certificate.not_after};
	return expiry_judge(thresholds, &lifetime, clock_wall_s());
}

struct expiring {
	struct expiry_thresholds thresholds;
	uint64_t count;
};

static void count_expiring(void *owner, const struct fleet_view *view)
{
	struct expiring *expiring = owner;
	if (view->link && hub_judge_expiry(&expiring->thresholds, view->link) != EXPIRY_FINE)
		expiring->count++;
}

// ---- the hub -------------------------------------------------------------------------------------------------------

void hub_fill_status(void *owner, struct status_node *status)
{
	struct hub *hub = owner;
	unsigned online = fleet_online(hub->fleet);
	bool draining = atomic_load(&hub->node.draining);
	*status = (struct status_node){
		.command = "hub",
		.version = QANAT_VERSION,
		.uptime_ms = clock_ms() - hub->node.started_ms,
		.ready = !draining,
		.health = draining ? "Unhealthy" : "Healthy",
		.tunnel_established = online > 0,
		.last_successful_operation_s = online > 0 ? 0 : -1,
		.error_count = tunnel_refusals(),
		.missed_pongs = -1,
		.average_rtt_us = -1,
		.reconnection_attempts = -1,
		.flows_open = atomic_load(&hub->channels),
		.workers = hub->worker_count,
		// Links are those of devices, which `qanat devices` pages through: thousands of series help nobody.
		.has_devices = true,
		.devices_online = online,
	};
	tunnel_reload_show(status);
	status->startup_complete = process_is_confined();
	pthread_mutex_lock(&hub->lock);
	struct expiring expiring = {.thresholds = hub->policy->expiry};
	identity_expiry(hub->identity, &status->own_not_after, &status->ca_not_after);
	snprintf(status->name, sizeof status->name, "%s", hub->config->node.name);
	pthread_mutex_unlock(&hub->lock);
	snprintf(status->message, sizeof status->message, "%s",
	         draining ? "Stopping: no new devices" : "All systems operational");
	(void)fleet_visit(hub->fleet, "", SIZE_MAX, count_expiring, &expiring);
	status->devices_expiring = expiring.count;
	life_show(hub->node.life, status);
}

// ---- devices -------------------------------------------------------------------------------------------------------

struct page {
	struct hub *hub;
	json_t *devices;
	uint64_t now_ms;
	struct expiry_thresholds thresholds;
};

static void set(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_link(struct page *page, json_t *object, struct link *link)
{
	const struct link_peer *peer = link_peer(link);
	struct reverse_state reverse;
	struct link_state state;
	link_read(link, &state);
	reverse_read(page->hub->reverse, link, &reverse);
	json_object_set_new(object, "address", json_string(peer->address));
	json_object_set_new(object, "subject", json_string(peer->certificate.subject));
	json_object_set_new(object, "fingerprint", json_string(peer->certificate.fingerprint));
	json_object_set_new(object, "not_after", json_integer(peer->certificate.not_after));
	json_object_set_new(object, "certificate",
	                    json_string(expiry_stage_name(hub_judge_expiry(&page->thresholds, link))));
	set(object, "rtt_us", state.rtt_us);
	set(object, "parked", reverse.parked);
	set(object, "waiting", reverse.waiting);
	set(object, "last_seen_ms", state.heard_ms ? page->now_ms - state.heard_ms : 0);
}

static void add_device(void *owner, const struct fleet_view *view)
{
	struct page *page = owner;
	const struct device *device = view->device;
	json_t *object = json_object();
	json_object_set_new(object, "name", json_string(device->name));
	json_object_set_new(object, "online", json_boolean(view->link));
	json_object_set_new(object, "resting", json_boolean(view->rests));
	set(object, "channels", atomic_load(&device->channels));
	set(object, "channels_total", atomic_load(&device->channels_total));
	set(object, "channels_refused", atomic_load(&device->channels_refused));
	set(object, "bytes_sent", atomic_load(&device->outward));
	set(object, "bytes_received", atomic_load(&device->inward));
	set(object, "links_total", view->ups);
	set(object, "flaps", view->flaps);
	if (view->link) {
		set(object, "up_ms", page->now_ms - view->last_up_ms);
		set_link(page, object, view->link);
	} else {
		set(object, "last_seen_ms", page->now_ms - view->last_down_ms);
	}
	json_array_append_new(page->devices, object);
}

char *hub_answer_devices(void *owner, const char *after)
{
	struct page page = {.hub = owner, .devices = json_array(), .now_ms = clock_ms()};
	page.thresholds = page.hub->policy->expiry;
	size_t left = fleet_visit(page.hub->fleet, after, LIMIT_DEVICES_PER_ANSWER, add_device, &page);
	json_t *answer = json_pack("{s:b, s:I, s:s, s:o}", "ok", 1, "left", (json_int_t)left, "directory",
	                           page.hub->config->hub.directory, "devices", page.devices);
	char *text = json_dumps(answer, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(answer);
	return text;
}

char *hub_answer_kick(void *owner, const char *name)
{
	bool found = hub_kick(owner, name, "ended by the hub's operator");
	json_t *answer = found ? json_pack("{s:b}", "ok", 1)
	                       : json_pack("{s:b, s:[s]}", "ok", 0, "problems", "no device with that name is here");
	char *text = json_dumps(answer, JSON_COMPACT);
	json_decref(answer);
	return text;
}
