// Peers, and the table that says which addresses are whose.

#include "flow/lanes_internal.h"

#include "policy/prefixes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct lanes_table {
	_Atomic uint32_t references;
	struct prefixes *prefixes; // values are slots
	uint32_t slots;
	struct lanes_peer *peers[]; // by slot; NULL: none
};

// ---- a peer

int lanes_peer_new(struct lanes *lanes, uint32_t slot, struct lanes_peer **peer)
{
	static _Atomic uint32_t serials;
	unsigned workers = lanes->settings.workers;
	struct lanes_peer *made = calloc(1, sizeof *made + workers * sizeof *made->share);
	if (!made)
		return -ENOMEM;
	made->references = 1;
	made->lanes = lanes;
	made->slot = slot;
	made->serial = atomic_fetch_add(&serials, 1);
	for (unsigned i = 0; i < LIMIT_LANES; i++)
		made->home[i] = LANES_NOWHERE;
	for (unsigned i = 0; i < workers; i++)
		made->share[i] = (struct lanes_share){.worker = lanes->workers[i], .peer = made};
	*peer = made;
	return 0;
}

struct lanes_peer *lanes_peer_ref(struct lanes_peer *peer)
{
	atomic_fetch_add_explicit(&peer->references, 1, memory_order_relaxed);
	return peer;
}

void lanes_peer_unref(struct lanes_peer **slot)
{
	struct lanes_peer *peer = *slot;
	*slot = NULL;
	if (peer && atomic_fetch_sub_explicit(&peer->references, 1, memory_order_acq_rel) == 1)
		free(peer);
}

struct lanes_peer *lanes_only(struct lanes *lanes)
{
	return lanes->only;
}

// ---- the table

static int fill(struct lanes_table *table, const struct lanes_place *places, size_t count)
{
	struct prefix *list = calloc(count + 1, sizeof *list);
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct lanes_peer *peer = places[i].peer;
		assert(peer->slot < table->slots);
		list[i] = (struct prefix){.network = places[i].network, .value = peer->slot};
		if (!table->peers[peer->slot])
			table->peers[peer->slot] = lanes_peer_ref(peer);
	}
	int result = prefixes_new(list, count, &table->prefixes);
	free(list);
	return result;
}

int lanes_table_new(const struct lanes_place *places, size_t count, uint32_t slots, struct lanes_table **table)
{
	struct lanes_table *made = calloc(1, sizeof *made + slots * sizeof *made->peers);
	if (!made)
		return -ENOMEM;
	made->references = 1;
	made->slots = slots;
	int result = fill(made, places, count);
	if (result < 0)
		lanes_table_unref(&made);
	else
		*table = made;
	return result;
}

struct lanes_table *lanes_table_ref(struct lanes_table *table)
{
	atomic_fetch_add_explicit(&table->references, 1, memory_order_relaxed);
	return table;
}

void lanes_table_unref(struct lanes_table **slot)
{
	struct lanes_table *table = *slot;
	*slot = NULL;
	if (!table || atomic_fetch_sub_explicit(&table->references, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; i < table->slots; i++)
		lanes_peer_unref(&table->peers[i]);
	prefixes_free(&table->prefixes);
	free(table);
}

void lanes_set_table(struct lanes *lanes, unsigned index, struct lanes_table *table)
{
	struct lanes_worker *worker = lanes->workers[index];
	// What is held may be for somebody who is not there any more.
	if (worker->is_held && !worker->only) {
		worker->is_held = false;
		counter_add(COUNTER_PACKET_CONGESTED, 1);
	}
	lanes_table_unref(&worker->table);
	worker->table = table ? lanes_table_ref(table) : NULL;
}

// ---- questions

struct lanes_share *lanes_share_at(struct lanes_worker *worker, uint32_t slot, uint32_t serial)
{
	if (worker->only)
		return worker->only;
	struct lanes_peer *peer = worker->table && slot < worker->table->slots ? worker->table->peers[slot] : NULL;
	return peer && peer->serial == serial ? &peer->share[worker->index] : NULL;
}

static struct lanes_share *owner_of(struct lanes_worker *worker, unsigned version, const uint8_t *address)
{
	const struct lanes_table *table = worker->table;
	if (!table)
		return NULL;
	uint32_t slot = version == 4 ? prefixes_find4(table->prefixes, address) : prefixes_find6(table->prefixes, address);
	return slot != PREFIXES_NONE ? &table->peers[slot]->share[worker->index] : NULL;
}

static struct lanes_share *source_of(struct lanes_worker *worker, const uint8_t *bytes, const struct packet *packet)
{
	return owner_of(worker, packet->version, bytes + (packet->version == 4 ? 12 : 8));
}

static struct lanes_share *dest_of(struct lanes_worker *worker, const uint8_t *bytes, const struct packet *packet)
{
	return owner_of(worker, packet->version, bytes + (packet->version == 4 ? 16 : 24));
}

static bool joins(const struct lanes_worker *worker)
{
	return atomic_load_explicit(&worker->lanes->joins, memory_order_relaxed);
}

struct lanes_share *lanes_share_for(struct lanes_worker *worker, const uint8_t *bytes, const struct packet *packet)
{
	struct lanes_share *share = dest_of(worker, bytes, packet), *from;
	if (!share) {
		counter_add(COUNTER_PACKET_NO_SESSION, 1);
		return NULL;
	}
	// Hostile: not from one to another by way of the kernel either (a translated destination, a source route).
	if (joins(worker) || !(from = source_of(worker, bytes, packet)))
		return share;
	lanes_count_drop(from->peer, LANES_DROP_CROSSED, COUNTER_PACKET_CROSSED);
	return NULL;
}

void lanes_count_drop(struct lanes_peer *peer, enum lanes_drop why, enum counter counter)
{
	atomic_fetch_add_explicit(&peer->dropped[why], 1, memory_order_relaxed);
	counter_add(counter, 1);
}

uint64_t lanes_peer_dropped(const struct lanes_peer *peer, enum lanes_drop why)
{
	return atomic_load_explicit(&peer->dropped[why], memory_order_relaxed);
}

// What hosts say to their own link by themselves (RFC 4291 2.5.6, 2.5.2): there is no such link here.
static bool is_link_local(const uint8_t *bytes, const struct packet *packet)
{
	static const uint8_t unspecified[16];
	const uint8_t *source = bytes + 8;
	return packet->version == 6 &&
	       ((source[0] == 0xfe && (source[1] & 0xc0) == 0x80) || memcmp(source, unspecified, sizeof unspecified) == 0);
}

// Destinations that no host on the other side of a tunnel has: this network, loopback, multicast, broadcast and what is
// reserved (RFC 6890, RFC 4291 2.4), and IPv4 written as IPv6.
static bool is_nowhere(const uint8_t *bytes, const struct packet *packet)
{
	static const uint8_t zeros[16];
	if (packet->version == 4)
		return bytes[16] == 0 || bytes[16] == 127 || bytes[16] >= 224;
	const uint8_t *to = bytes + 24;
	bool is_unspecified_or_loopback = memcmp(to, zeros, 15) == 0 && to[15] <= 1;
	bool is_mapped = memcmp(to, zeros, 10) == 0 && to[10] == 0xff && to[11] == 0xff;
	return to[0] == 0xff || is_unspecified_or_loopback || is_mapped;
}

// A peer that this worker's table does not name yet, or any more, has no addresses at all.
static void count_foreign(const struct lane *lane)
{
	if (lanes_share_at(lane->worker, lane->peer->slot, lane->peer->serial) != lane->share)
		counter_add(COUNTER_PACKET_NO_SESSION, 1);
	else
		lanes_count_drop(lane->peer, LANES_DROP_SPOOFED, COUNTER_PACKET_SPOOFED);
}

bool lanes_may_enter(const struct lane *lane, const uint8_t *bytes, const struct packet *packet,
                     struct lanes_share **to)
{
	struct lanes_worker *worker = lane->worker;
	*to = NULL;
	if (is_link_local(bytes, packet)) {
		counter_add(COUNTER_PACKET_LINK_LOCAL, 1);
		return false;
	}
	// Hostile: a client may take any source address into its packets.
	if (source_of(worker, bytes, packet) != lane->share) {
		count_foreign(lane);
		return false;
	}
	// Hostile: nor speak to what listens on the server's loopback or to its groups.
	if (is_nowhere(bytes, packet)) {
		counter_add(COUNTER_PACKET_MARTIAN, 1);
		return false;
	}
	*to = dest_of(worker, bytes, packet);
	if (!*to || joins(worker))
		return true;
	lanes_count_drop(lane->peer, LANES_DROP_CROSSED, COUNTER_PACKET_CROSSED);
	return false;
}
