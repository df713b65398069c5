// The clients of a server that assigns addresses. Each has a name, found in its certificate by rule; addresses of its
// own, written down for that name or leased from a pool; and a peer of the lanes. Which addresses are whose is told to
// every worker as one table, made anew whenever a client comes or goes.
//
// Everything here is under the vpn's lock, which protects the configuration as well. What makes callbacks (the end of a
// link) happens outside of it.

#include "cmd/vpn_clients.h"

#include "core/clock.h"
#include "core/log.h"
#include "node/mail.h"
#include "node/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAY(...) (void)snprintf(text, LIMIT_REASON_BYTES + 1, __VA_ARGS__)

struct vpn_client *vpn_clients_find(const struct vpn_clients *clients, const char *name)
{
	for (uint32_t i = 0; i < LIMIT_VPN_CLIENTS; i++)
		if (clients->slots[i] && strcmp(clients->slots[i]->name, name) == 0)
			return clients->slots[i];
	return NULL;
}

static struct vpn_client *find_link(const struct vpn_clients *clients, const struct link *link)
{
	for (uint32_t i = 0; i < LIMIT_VPN_CLIENTS; i++)
		if (clients->slots[i] && clients->slots[i]->link == link)
			return clients->slots[i];
	return NULL;
}

// ---- telling the workers

struct table_news {
	struct vpn_worker *worker;
	struct lanes_table *table; // a reference
	uint64_t age;
};

static void on_table(void *contents)
{
	struct table_news *news = contents;
	struct vpn_worker *worker = news->worker;
	// Two workers may have made tables at once, and the earlier one may arrive later.
	if (news->age > worker->table_age) {
		worker->table_age = news->age;
		lanes_set_table(worker->vpn->lanes, worker->index, news->table);
	}
	lanes_table_unref(&news->table);
}

static void tell_table(struct vpn *vpn)
{
	struct vpn_clients *clients = vpn->clients;
	struct lanes_table *table = NULL;
	if (vpn_clients_table(vpn, &table) < 0) {
		log_error("vpn", "no memory for the table of clients: it stays as it was");
		return;
	}
	clients->table_age++;
	for (unsigned i = 0; i < vpn->worker_count; i++) {
		struct table_news news = {&vpn->worker[i], lanes_table_ref(table), clients->table_age};
		mail_send_surely(vpn->worker[i].loop, on_table, &news, sizeof news);
	}
	lanes_table_unref(&table);
}

struct end_news {
	struct vpn_worker *worker;
	struct link *link; // a reference
	enum control_reason reason;
	char text[128];
};

static void on_end_link(void *contents)
{
	struct end_news *news = contents;
	if (news->worker->responder)
		responder_end_link(news->worker->responder, news->link, news->reason, news->text);
	link_unref(&news->link);
}

// Not under the lock. The reference is taken.
static void end_link(struct vpn *vpn, struct link *link, enum control_reason reason, const char *text)
{
	for (unsigned i = 0; i < vpn->worker_count; i++) {
		struct end_news news = {.worker = &vpn->worker[i], .link = link_ref(link), .reason = reason};
		snprintf(news.text, sizeof news.text, "%s", text);
		mail_send_surely(vpn->worker[i].loop, on_end_link, &news, sizeof news);
	}
	link_unref(&link);
}

// ---- may it come

static bool is_same_certificate_holder(const struct link_peer *a, const struct link_peer *b)
{
	return strcmp(a->certificate.subject, b->certificate.subject) == 0 &&
	       strcmp(a->certificate.issuer, b->certificate.issuer) == 0;
}

// Two programs with one certificate would throw each other out for ever.
static bool comes_too_often(const struct vpn_client *client, uint64_t now)
{
	return client && client->ups >= LIMIT_DEVICE_UPS && now - client->ups_since_ms < LIMIT_DEVICE_UPS_MS;
}

static enum control_reason judge(struct vpn *vpn, const struct link_peer *peer, const char *name,
                                 char text[LIMIT_REASON_BYTES + 1])
{
	const struct vpn_clients *clients = vpn->clients;
	const struct vpn_client *client = vpn_clients_find(clients, name);
	if (!vpn_clients_knows(vpn, name)) {
		SAY("\"%s\" is no client of this server (vpn.clients)", name);
		return CONTROL_REASON_PEER_POLICY;
	}
	if (!client && clients->count >= vpn->config->vpn.max_clients) {
		SAY("the server serves as many clients as it may (vpn.max_clients)");
		return CONTROL_REASON_LIMIT;
	}
	if (client && link_is_up(client->link) && !is_same_certificate_holder(link_peer(client->link), peer)) {
		SAY("the name \"%s\" is taken by a client with another certificate, which is connected", name);
		return CONTROL_REASON_PEER_POLICY;
	}
	if (comes_too_often(client, clock_ms())) {
		SAY("\"%s\" has connected too often: it may again within a minute (do two clients have this name?)", name);
		return CONTROL_REASON_LIMIT;
	}
	return CONTROL_REASON_NONE;
}

static bool is_same_host(const struct grant_network *a, const struct grant_network *b)
{
	return a->version != 0 && a->version == b->version && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

// After a reload the one that had an address may still be there.
static bool is_another_ones(const struct vpn_clients *clients, const struct vpn_assignment *assignment)
{
	for (uint32_t i = 0; i < LIMIT_VPN_CLIENTS; i++) {
		const struct vpn_client *client = clients->slots[i];
		if (client && strcmp(client->name, assignment->name) != 0 &&
		    (is_same_host(&client->given.ipv4, &assignment->given.ipv4) ||
		     is_same_host(&client->given.ipv6, &assignment->given.ipv6)))
			return true;
	}
	return false;
}

static enum control_reason judge_and_assign(struct vpn *vpn, const struct link_peer *peer, struct vpn_assignment *out,
                                            char text[LIMIT_REASON_BYTES + 1])
{
	enum control_reason reason = vpn_clients_name(vpn->config, peer, out->name, text);
	if (reason == CONTROL_REASON_NONE)
		reason = judge(vpn, peer, out->name, text);
	if (reason == CONTROL_REASON_NONE)
		reason = vpn_clients_assign(vpn, out, text);
	if (reason == CONTROL_REASON_NONE && is_another_ones(vpn->clients, out)) {
		SAY("another client still has an address of \"%s\"", out->name);
		reason = CONTROL_REASON_LIMIT;
	}
	return reason;
}

enum control_reason vpn_clients_grant(struct vpn *vpn, const struct link_peer *peer, struct grant *given,
                                      char text[LIMIT_REASON_BYTES + 1])
{
	struct vpn_assignment assignment;
	pthread_mutex_lock(&vpn->lock);
	enum control_reason reason = judge_and_assign(vpn, peer, &assignment, text);
	pthread_mutex_unlock(&vpn->lock);
	if (reason == CONTROL_REASON_NONE)
		*given = assignment.given;
	return reason;
}

// ---- coming and going

static struct vpn_client *new_client(struct vpn *vpn, const char *name)
{
	struct vpn_clients *clients = vpn->clients;
	uint32_t slot = 0;
	while (slot < LIMIT_VPN_CLIENTS && clients->slots[slot])
		slot++;
	struct vpn_client *client = slot < LIMIT_VPN_CLIENTS ? calloc(1, sizeof *client) : NULL;
	if (!client)
		return NULL;
	if (lanes_peer_new(vpn->lanes, slot, &client->peer) < 0) {
		free(client);
		return NULL;
	}
	snprintf(client->name, sizeof client->name, "%s", name);
	clients->slots[slot] = client;
	clients->count++;
	return client;
}

static void drop_client(struct vpn *vpn, struct vpn_client *client)
{
	struct vpn_clients *clients = vpn->clients;
	for (uint32_t i = 0; i < LIMIT_VPN_CLIENTS; i++)
		if (clients->slots[i] == client)
			clients->slots[i] = NULL;
	clients->count--;
	if (client->lease)
		leases_release(clients->leases, client->lease, clock_ms());
	lanes_peer_unref(&client->peer);
	link_unref(&client->link);
	free(client);
}

static void keep(struct vpn *vpn, struct vpn_client *client, const struct vpn_assignment *assignment)
{
	if (client->lease && client->lease != assignment->lease)
		leases_release(vpn->clients->leases, client->lease, clock_ms());
	client->lease = assignment->lease;
	client->given = assignment->given;
	if (client->lease)
		leases_hold(vpn->clients->leases, client->lease);
	lanes_peer_set_limit(client->peer, vpn_clients_limit(vpn->config, client->name));
}

static void count_up(struct vpn_client *client)
{
	uint64_t now = clock_ms();
	if (now - client->ups_since_ms >= LIMIT_DEVICE_UPS_MS) {
		client->ups_since_ms = now;
		client->ups = 0;
	}
	client->ups++;
	client->up_ms = now;
}

// With the lock held. `replaced`: the link before, a reference.
static bool take_link(struct vpn *vpn, struct link *link, struct link **replaced, char text[LIMIT_REASON_BYTES + 1])
{
	struct vpn_assignment assignment;
	// Asked again: a reload, or another client, may have come between its HELLO and its keys.
	if (judge_and_assign(vpn, link_peer(link), &assignment, text) != CONTROL_REASON_NONE)
		return false;
	SAY("the addresses of \"%s\" have just changed, or there is no memory for it", assignment.name);
	if (!grant_is_same(&assignment.given, link_peer(link)->grant))
		return false;
	struct vpn_client *client = vpn_clients_find(vpn->clients, assignment.name);
	if (!client)
		client = new_client(vpn, assignment.name);
	if (!client)
		return false;
	*replaced = client->link;
	client->link = link_ref(link);
	count_up(client);
	keep(vpn, client, &assignment);
	vpn->last_up_ms = client->up_ms;
	tell_table(vpn);
	return true;
}

static void say_up(const struct link *link, bool is_new, uint32_t count)
{
	const struct link_peer *peer = link_peer(link);
	char ipv4[GRANT_TEXT_BYTES], ipv6[GRANT_TEXT_BYTES];
	grant_format(&peer->grant->ipv4, ipv4);
	grant_format(&peer->grant->ipv6, ipv6);
	log_info("vpn", "client %s (%s) is %s on link %s: addresses %s, %s", peer->certificate.subject, peer->address,
	         is_new ? "here" : "here again", link_name(link), ipv4, ipv6);
	notify_status("serving %u clients", count);
}

bool vpn_clients_up(struct vpn *vpn, struct link *link)
{
	char text[LIMIT_REASON_BYTES + 1] = "";
	struct link *replaced = NULL;
	pthread_mutex_lock(&vpn->lock);
	bool is_taken = take_link(vpn, link, &replaced, text);
	uint32_t count = vpn->clients->count;
	pthread_mutex_unlock(&vpn->lock);
	if (!is_taken)
		log_warn("vpn", "link %s refused: %s", link_name(link), text);
	else
		say_up(link, replaced == NULL, count);
	if (replaced)
		end_link(vpn, replaced, CONTROL_REASON_SHUTDOWN, "a new link of this client has taken over");
	return is_taken;
}

void vpn_clients_down(struct vpn *vpn, struct link *link)
{
	char name[NAMING_BYTES] = "";
	pthread_mutex_lock(&vpn->lock);
	struct vpn_client *client = find_link(vpn->clients, link);
	if (client) {
		snprintf(name, sizeof name, "%s", client->name);
		drop_client(vpn, client);
		vpn->last_up_ms = clock_ms();
		tell_table(vpn);
	}
	uint32_t count = vpn->clients->count;
	pthread_mutex_unlock(&vpn->lock);
	if (!name[0])
		return;
	log_info("vpn", "client %s is away", name);
	notify_status("serving %u clients", count);
}

struct lanes_peer *vpn_clients_peer(struct vpn *vpn, const struct link *link)
{
	pthread_mutex_lock(&vpn->lock);
	struct vpn_client *client = find_link(vpn->clients, link);
	struct lanes_peer *peer = client ? lanes_peer_ref(client->peer) : NULL;
	pthread_mutex_unlock(&vpn->lock);
	return peer;
}

bool vpn_clients_kick(struct vpn *vpn, const char *name)
{
	pthread_mutex_lock(&vpn->lock);
	struct vpn_client *client = vpn_clients_find(vpn->clients, name);
	struct link *link = client ? link_ref(client->link) : NULL;
	pthread_mutex_unlock(&vpn->lock);
	if (!link)
		return false;
	end_link(vpn, link, CONTROL_REASON_PEER_POLICY, "ended by the server's operator");
	return true;
}

// ---- a new configuration

// With the lock held. Whether this client may stay as it is.
static bool is_as_before(struct vpn *vpn, struct vpn_client *client)
{
	struct vpn_assignment assignment;
	char text[LIMIT_REASON_BYTES + 1];
	const struct link_peer *peer = link_peer(client->link);
	if (vpn_clients_name(vpn->config, peer, assignment.name, text) != CONTROL_REASON_NONE ||
	    !vpn_clients_knows(vpn, assignment.name) || strcmp(assignment.name, client->name) != 0 ||
	    vpn_clients_assign(vpn, &assignment, text) != CONTROL_REASON_NONE)
		return false;
	return grant_is_same(&assignment.given, &client->given);
}

void vpn_clients_set(struct vpn *vpn)
{
	struct link *over[LIMIT_VPN_CLIENTS];
	uint32_t count = 0;
	pthread_mutex_lock(&vpn->lock);
	vpn_clients_reserve(vpn);
	lanes_set_joins(vpn->lanes, vpn->config->vpn.client_to_client);
	for (uint32_t i = 0; i < LIMIT_VPN_CLIENTS; i++) {
		struct vpn_client *client = vpn->clients->slots[i];
		if (!client)
			continue;
		if (!is_as_before(vpn, client))
			over[count++] = link_ref(client->link);
		lanes_peer_set_limit(client->peer, vpn_clients_limit(vpn->config, client->name));
	}
	tell_table(vpn);
	pthread_mutex_unlock(&vpn->lock);
	for (uint32_t i = 0; i < count; i++)
		end_link(vpn, over[i], CONTROL_REASON_TERMS, "the addresses of this client have changed");
	(void)!vpn_clients_routes(vpn); // logged
}

// ---- life

int vpn_clients_open(struct vpn *vpn)
{
	struct vpn_clients *clients = calloc(1, sizeof *clients);
	if (!clients)
		return -ENOMEM;
	vpn->clients = clients;
	int result = vpn_clients_pool(vpn);
	if (result < 0) {
		vpn_clients_close(vpn);
		return result;
	}
	vpn_clients_reserve(vpn);
	return 0;
}

void vpn_clients_close(struct vpn *vpn)
{
	if (!vpn->clients)
		return;
	for (uint32_t i = 0; i < LIMIT_VPN_CLIENTS; i++)
		if (vpn->clients->slots[i])
			drop_client(vpn, vpn->clients->slots[i]);
	leases_free(&vpn->clients->leases);
	free(vpn->clients->routes);
	free(vpn->clients);
	vpn->clients = NULL;
}
