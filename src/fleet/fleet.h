// The devices of a hub: which are there, on which link, and what they have done. One table for all workers, locked
// inside; what a device counts is read and written without the lock.
//
// A device has one link at a time. A new link of the same credential (the same public key) takes its name over at once,
// and the old link is ended in order, so that what runs over it may finish. Another credential is refused while the
// name is taken. A device that brings up too many links is told to rest.

#pragma once

#include "core/outcome.h"
#include "crypto/pin.h"
#include "fleet/naming.h"
#include "link/link.h"
#include "policy/rate.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct fleet;

struct device { // shared; counted references
	char name[NAMING_BYTES];
	_Atomic uint32_t channels; // open now
	_Atomic uint64_t channels_total, channels_refused, outward, inward;
	struct rate rate;
	_Atomic uint32_t references;
};

struct fleet_settings {
	uint32_t devices_max;
	bool any_key;              // a name is taken over by whoever proves it, not by the same key only
	uint64_t bytes_per_second; // of each device, 0: no limit
};

MUST_USE int fleet_new(const struct fleet_settings *settings, struct fleet **fleet);
void fleet_set(struct fleet *fleet, const struct fleet_settings *settings);
void fleet_free(struct fleet **fleet);

// Whether a link with that name and key may come up now. Asked when a peer has said who it is, and by fleet_up again;
// changes nothing.
enum { FLEET_TAKEN = 1, FLEET_FLAPS = 2, FLEET_FULL = 3 };
MUST_USE int fleet_judge(struct fleet *fleet, const char *name, const uint8_t pin[PIN_BYTES], uint64_t now_ms);

struct fleet_up {
	struct device *device; // a reference
	struct link *replaced; // the link it had until now, a reference; NULL: none
	bool is_new;           // it was away, or never here
	bool rests;            // one too many in a short time: the next one will have to wait
};
MUST_USE int fleet_up(struct fleet *fleet, const char *name, const uint8_t pin[PIN_BYTES], struct link *link,
                      struct fleet_up *up);
// The device that is away now, a reference; NULL: it has another link already.
struct device *fleet_down(struct fleet *fleet, struct link *link, uint64_t now_ms);

struct device *device_ref(struct device *device);
void device_unref(struct device **device);
// References, NULL when there is none.
struct device *fleet_find(struct fleet *fleet, const char *name);
struct link *fleet_link(struct fleet *fleet, const struct device *device);
unsigned fleet_online(struct fleet *fleet);

struct fleet_view { // lent
	struct device *device;
	struct link *link;                 // NULL: away
	uint64_t last_up_ms, last_down_ms; // 0: never
	uint32_t ups, flaps;
	bool rests;
};
typedef void (*fleet_visit_fn)(void *owner, const struct fleet_view *view);
// In the order of their names, behind `after` ("" for all), at most `most`. Returns how many there are further on. What
// is shown was so at one moment; the table is locked only to take it down, which needs no search: `visit` may be slow.
size_t fleet_visit(struct fleet *fleet, const char *after, size_t most, fleet_visit_fn visit, void *owner);
