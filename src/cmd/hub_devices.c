// Devices as they come and go.

#include "cmd/hub_audit.h"
#include "cmd/hub_internal.h"
#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "flow/service.h"
#include "node/mail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define SAY(...) (void)snprintf(text, LIMIT_REASON_BYTES + 1, __VA_ARGS__)

// ---- links ---------------------------------------------------------------------------------------------------------

static enum control_reason refuse_by(int r, const char *name, char text[LIMIT_REASON_BYTES + 1])
{
	if (r == FLEET_TAKEN) {
		counter_add(COUNTER_DEVICE_TAKEN, 1);
		SAY("the name \"%s\" is taken by a device with another key, which is connected", name);
		return CONTROL_REASON_TAKEN;
	}
	if (r == FLEET_FLAPS) {
		counter_add(COUNTER_DEVICE_FLAPS, 1);
		SAY("\"%s\" has connected too often: it may again in %d s (do two devices have this name?)", name,
		    LIMIT_DEVICE_REST_MS / 1000);
		return CONTROL_REASON_LIMIT;
	}
	counter_add(COUNTER_DEVICE_FULL, 1);
	SAY("the hub knows as many devices as it may (hub.max_devices)");
	return CONTROL_REASON_LIMIT;
}

// What pins_judge or pins_claim has said.
static enum control_reason refuse_claim(int r, const char *name, char text[LIMIT_REASON_BYTES + 1])
{
	if (r == 0 || r == PINS_FREE || r == PINS_PENDING)
		return CONTROL_REASON_NONE;
	if (r == PINS_OTHER) {
		counter_add(COUNTER_DEVICE_TAKEN, 1);
		SAY("the name \"%s\" belongs to the key that claimed it first", name);
		return CONTROL_REASON_PEER_POLICY;
	}
	counter_add(r == PINS_KEY_FULL ? COUNTER_DEVICE_CLAIMS : COUNTER_DEVICE_FULL, 1);
	SAY("%s", r == PINS_KEY_FULL ? "its key has claimed as many names as it may (hub.max_claims_per_key)"
	                             : "the hub cannot keep another name");
	return CONTROL_REASON_LIMIT;
}

static enum control_reason judge_claim(const struct hub *hub, const char *name, const uint8_t pin[PIN_BYTES],
                                       char text[LIMIT_REASON_BYTES + 1])
{
	return hub->pins ? refuse_claim(pins_judge(hub->pins, name, pin), name, text) : CONTROL_REASON_NONE;
}

void hub_on_kept(void *owner, const char *name, int r)
{
	struct hub *hub = owner;
	struct device *device = fleet_find(hub->fleet, name);
	if (r < 0)
		log_error("hub", "hub.claims_path: the name \"%s\" cannot be kept: %s", name, outcome_text(r));
	if (r < 0)
		(void)hub_kick(hub, name, "the hub cannot keep its name");
	else if (device)
		hub_seat_look(hub, &device);
	device_unref(&device);
}

static enum control_reason identify(struct hub_worker *worker, const struct link_peer *peer, char name[NAMING_BYTES],
                                    uint8_t pin[PIN_BYTES], char text[LIMIT_REASON_BYTES + 1])
{
	if (!peer->x509 || pin_of(peer->x509, pin) < 0) {
		SAY("its key cannot be read");
		return CONTROL_REASON_INTERNAL;
	}
	return hub_policy_name(worker->policy, peer, name, text);
}

static enum control_reason judge_link(struct hub_worker *worker, const struct link_peer *peer, char name[NAMING_BYTES],
                                      char text[LIMIT_REASON_BYTES + 1])
{
	struct hub *hub = worker->hub;
	uint8_t pin[PIN_BYTES];
	if (atomic_load(&hub->node.draining)) {
		SAY("the hub stops");
		return CONTROL_REASON_SHUTDOWN;
	}
	enum control_reason reason = identify(worker, peer, name, pin, text);
	if (reason != CONTROL_REASON_NONE)
		return reason;
	// Hostile: before the fleet is asked, whose answer says whether somebody of that name is connected. The link does
	// not stand yet, so it has no name of it.
	reason = judge_claim(hub, name, pin, text);
	if (reason != CONTROL_REASON_NONE)
		return reason;
	int r = fleet_judge(hub->fleet, name, pin, clock_ms());
	return r == 0 ? CONTROL_REASON_NONE : refuse_by(r, name, text);
}

// The link stands, so what its device calls itself is its name from now on. Its sockets come when that is on the disk.
static bool claim(struct hub *hub, const char *name, const uint8_t pin[PIN_BYTES], struct link *link, bool *is_kept)
{
	char text[LIMIT_REASON_BYTES + 1] = "no memory";
	int r = hub->pins ? pins_claim(hub->pins, name, pin) : 0;
	*is_kept = r == 0;
	if (r >= 0 && refuse_claim(r, name, text) == CONTROL_REASON_NONE)
		return true;
	log_warn("hub", "link %s refused: %s", link_name(link), text);
	hub_audit_refused(hub->audit, name, link_peer(link), text);
	struct device *device = fleet_down(hub->fleet, link, clock_ms());
	if (device)
		hub_seat_look(hub, &device);
	return false;
}

static enum control_reason may_link(void *owner, const struct link_peer *peer, char text[LIMIT_REASON_BYTES + 1])
{
	struct hub_worker *worker = owner;
	char name[NAMING_BYTES] = "";
	enum control_reason reason = judge_link(worker, peer, name, text);
	if (reason != CONTROL_REASON_NONE)
		hub_audit_refused(worker->hub->audit, name, peer, text);
	return reason;
}

static void warn_of_expiry(const struct hub_worker *worker, const char *name, const struct link *link)
{
	enum expiry_stage stage = hub_judge_expiry(&worker->policy->expiry, link);
	int64_t left_s = link_peer(link)->certificate.not_after - clock_wall_s();
	if (stage >= EXPIRY_WARNING)
		log_warn("hub", "device %s: its certificate %s, in %lld hours", name, expiry_stage_name(stage),
		         (long long)(left_s / 3600));
}

static bool on_up(void *owner, struct link *link)
{
	struct hub_worker *worker = owner;
	struct hub *hub = worker->hub;
	const struct link_peer *peer = link_peer(link);
	char name[NAMING_BYTES] = "", text[LIMIT_REASON_BYTES + 1] = "no memory";
	uint8_t pin[PIN_BYTES];
	struct fleet_up up;
	// Hostile: its device may hold no more descriptors than what it is for needs.
	link_limit_connections(link, hub_connections_max(hub));
	// Asked again: a reload, or another device, may have come between its HELLO and its keys. Hostile: whose name it is
	// comes first, for in the fleet it ends the link that is there.
	bool is_good = identify(worker, peer, name, pin, text) == CONTROL_REASON_NONE &&
	               judge_claim(hub, name, pin, text) == CONTROL_REASON_NONE;
	int r = is_good ? fleet_up(hub->fleet, name, pin, link, &up) : -EACCES;
	if (r != 0) {
		if (r > 0)
			(void)refuse_by(r, name, text);
		log_warn("hub", "link %s refused: %s", link_name(link), text);
		hub_audit_refused(hub->audit, name, peer, text);
		return false;
	}
	counter_add(COUNTER_DEVICE_UP, 1);
	log_info("hub", "device %s is %s (link %s from %s)", name, up.is_new ? "here" : "here again, on a new link",
	         link_name(link), peer->address);
	hub_audit_device(hub->audit, "device-up", name, peer, NULL);
	if (up.rests)
		hub_audit_device(hub->audit, "device-resting", name, peer, "too many links in a short time");
	warn_of_expiry(worker, name, link);
	if (up.replaced) {
		counter_add(COUNTER_DEVICE_TAKEOVER, 1);
		hub_audit_device(hub->audit, "device-replaced", name, link_peer(up.replaced), "a new link of this device");
		reverse_end_link(hub->reverse, up.replaced, CONTROL_REASON_SHUTDOWN,
		                 "a new link of this device has taken over");
		link_unref(&up.replaced);
	}
	bool is_kept, is_granted = claim(hub, name, pin, link, &is_kept);
	if (is_granted && is_kept) // else hub_on_kept does
		hub_seat_look(hub, &up.device);
	device_unref(&up.device);
	return is_granted;
}

static void on_cut(void *contents)
{
	struct link **link = contents;
	stream_cut_all(*link);
	link_unref(link);
}

static void on_over(void *contents)
{
	struct link **link = contents;
	stream_drop_parked(*link);
	link_unref(link);
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct hub_worker *worker = owner;
	struct hub *hub = worker->hub;
	for (unsigned i = 0; i < hub->worker_count; i++) {
		struct link *reference = link_ref(link);
		mail_send_surely(hub->worker[i].loop, cut ? on_cut : on_over, &reference, sizeof reference);
	}
	struct device *device = fleet_down(hub->fleet, link, clock_ms());
	if (!device)
		return;
	log_info("hub", "device %s is away", device->name);
	hub_audit_down(hub->audit, device->name, link, NULL);
	hub_seat_look(hub, &device);
}

// The agent never opens streams: reverse_on_header takes what it offers.
static void on_header(void *owner, struct stream *stream, const struct header *header)
{
	(void)owner;
	(void)header;
	stream_refuse(&stream, HEADER_NO_SERVICE, "the hub opens the streams");
}

const struct responder_ops hub_responder_ops = {.may_link = may_link,
                                                .on_up = on_up,
                                                .on_down = on_down,
                                                .on_header = on_header};

// ---- sockets -------------------------------------------------------------------------------------------------------

struct seat_door {
	struct seat *seat;
	char service[LIMIT_SERVICE_NAME_BYTES + 1];
	struct door *door;
};

struct seat {
	struct hub *hub;
	struct device *device;
	char name[NAMING_BYTES];
	UT_hash_handle hh;
	size_t count;
	struct seat_door doors[];
};

void hub_seat_accept(void *owner, int fd)
{
	struct seat_door *door = owner;
	hub_channel_take(door->seat->hub, door->seat->device, door->service, fd);
}

static void open_door(struct seat_door *door)
{
	struct hub *hub = door->seat->hub;
	char name[2 * NAMING_BYTES + 8];
	bool is_own = strcmp(door->service, SERVICE_DEFAULT) == 0;
	snprintf(name, sizeof name, "%s%s%s.sock", door->seat->device->name, is_own ? "" : ".",
	         is_own ? "" : door->service);
	int r = door_open(hub->doors, name, door, &door->door);
	if (r == 0)
		return;
	counter_add(COUNTER_DOOR_BLOCKED, 1);
	log_error("hub", "device %s has no socket %s: %s", door->seat->device->name, name,
	          r == DOOR_TAKEN ? "something else has that name in hub.directory; move it away" : outcome_text(r));
}

static struct seat *make_seat(struct hub *hub, struct device *device)
{
	size_t count = hub->policy->service_count + 1;
	struct seat *seat = calloc(1, sizeof *seat + count * sizeof seat->doors[0]);
	if (!seat)
		return NULL;
	seat->hub = hub;
	seat->device = device_ref(device);
	seat->count = count;
	memcpy(seat->name, device->name, sizeof seat->name);
	for (size_t i = 0; i < count; i++) {
		seat->doors[i].seat = seat;
		snprintf(seat->doors[i].service, sizeof seat->doors[i].service, "%s",
		         i == 0 ? SERVICE_DEFAULT : hub->policy->services[i - 1]);
	}
	HASH_ADD_STR(hub->seats, name, seat);
	return seat;
}

static void free_seat(struct seat *seat)
{
	HASH_DEL(seat->hub->seats, seat);
	for (size_t i = 0; i < seat->count; i++)
		door_close(&seat->doors[i].door);
	device_unref(&seat->device);
	free(seat);
}

static void look(struct hub *hub, struct device *device)
{
	struct seat *seat = NULL;
	struct link *link = fleet_link(hub->fleet, device);
	bool stays = link || hub->config->hub.offline == CONFIG_HUB_REFUSE;
	HASH_FIND_STR(hub->seats, device->name, seat);
	if (!stays && seat)
		free_seat(seat);
	if (link && !seat)
		seat = make_seat(hub, device);
	// A device that was forgotten and has come back is another object under the same name.
	if (link && seat && seat->device != device) {
		device_unref(&seat->device);
		seat->device = device_ref(device);
	}
	for (size_t i = 0; link && seat && i < seat->count; i++)
		if (!seat->doors[i].door)
			open_door(&seat->doors[i]);
	link_unref(&link);
}

struct look {
	struct hub *hub;
	struct device *device;
};

static void on_look(void *contents)
{
	struct look *letter = contents;
	if (letter->hub->doors)
		look(letter->hub, letter->device);
	device_unref(&letter->device);
}

void hub_seat_look(struct hub *hub, struct device **device)
{
	struct look letter = {.hub = hub, .device = *device};
	*device = NULL;
	mail_send_surely(hub->worker[0].loop, on_look, &letter, sizeof letter);
}

void hub_seats_look_all(struct hub *hub)
{
	struct seat *seat, *next;
	HASH_ITER(hh, hub->seats, seat, next) {
		struct device *device = device_ref(seat->device);
		look(hub, device);
		device_unref(&device);
	}
}

void hub_seats_close(struct hub *hub)
{
	struct seat *seat, *next;
	HASH_ITER(hh, hub->seats, seat, next)
		free_seat(seat);
}

// ---- ends ----------------------------------------------------------------------------------------------------------

struct cutting {
	struct hub *hub;
	size_t links;
};

static bool is_denied(const void *owner, const struct device *device, const struct link *link)
{
	const struct hub *hub = owner;
	return hub_policy_denies(hub->policy, device->name, link_peer(link)->certificate.fingerprint);
}

static void cut_if_denied(void *owner, const struct fleet_view *view)
{
	struct cutting *cutting = owner;
	struct hub *hub = cutting->hub;
	if (!view->link || !is_denied(hub, view->device, view->link))
		return;
	cutting->links++;
	counter_add(COUNTER_DEVICE_CUT, 1);
	hub_audit_device(hub->audit, "device-denied", view->device->name, link_peer(view->link), "hub.deny_path names it");
	reverse_end_link(hub->reverse, view->link, CONTROL_REASON_REVOKED, "this device is denied");
}

void hub_cut_denied(struct hub *hub)
{
	struct cutting cutting = {.hub = hub};
	size_t channels = hub_channels_cut(hub, is_denied, hub, "this device is denied");
	(void)fleet_visit(hub->fleet, "", SIZE_MAX, cut_if_denied, &cutting);
	if (cutting.links > 0 || channels > 0)
		log_info("hub", "%zu links and %zu connections of denied devices were cut", cutting.links, channels);
}

static bool is_named(const void *owner, const struct device *device, const struct link *link)
{
	(void)link;
	return strcmp(device->name, owner) == 0;
}

static void write_down(void *owner, const struct fleet_view *view)
{
	struct hub *hub = owner;
	if (view->link)
		hub_audit_down(hub->audit, view->device->name, view->link, "the hub stops");
}

void hub_audit_stop(struct hub *hub)
{
	if (hub->fleet && hub->audit)
		(void)fleet_visit(hub->fleet, "", SIZE_MAX, write_down, hub);
}

bool hub_kick(struct hub *hub, const char *name, const char *why)
{
	struct device *device = fleet_find(hub->fleet, name);
	struct link *link = device ? fleet_link(hub->fleet, device) : NULL;
	size_t channels = hub_channels_cut(hub, is_named, name, why);
	bool found = link || channels > 0;
	if (found) {
		counter_add(COUNTER_DEVICE_KICKED, 1);
		if (link)
			hub_audit_device(hub->audit, "device-kicked", name, link_peer(link), why);
		log_info("hub", "device %s: its link and %zu connections are ended: %s", name, channels, why);
	}
	if (link)
		reverse_end_link(hub->reverse, link, CONTROL_REASON_PEER_POLICY, why);
	link_unref(&link);
	device_unref(&device);
	return found;
}
