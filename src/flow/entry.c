#include "flow/entry.h"

#include "core/counter.h"
#include "core/log.h"
#include "edge/http_connect.h"
#include "edge/socks.h"
#include "flow/associate.h"
#include "flow/flow_internal.h"
#include "net/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct entry {
	struct entries *entries;
	struct entry *newer, *older;
	struct loop_io *io;
	struct loop_task release;
	struct address peer;
	uint64_t until_ms;
	enum {
		ENTRY_FIRST,    // nothing has come yet
		ENTRY_GREETING, // SOCKS
		ENTRY_REQUEST,  // SOCKS
		ENTRY_HTTP,
	} stage;
	int fd;
	bool charged;
	size_t used, length; // of bytes: what has been understood, what has come
	uint8_t bytes[LIMIT_ENTRY_REQUEST_BYTES];
};

struct entries {
	struct loop *loop;
	struct flows *flows;
	struct associates *associates;
	struct route_table *routes;
	struct loop_timer *timer;
	struct entry *newest, *oldest;
	_Atomic uint32_t open;
};

// ---- life ----------------------------------------------------------------------------------------------------------

static void release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct entry, release));
}

// Forgets it. Its socket, when it still has one, is reset: nobody may take a cut negotiation for an answer.
static void end(struct entry *entry)
{
	struct entries *entries = entry->entries;
	*(entry->newer ? &entry->newer->older : &entries->newest) = entry->older;
	*(entry->older ? &entry->older->newer : &entries->oldest) = entry->newer;
	atomic_fetch_sub_explicit(&entries->open, 1, memory_order_relaxed);
	loop_io_close(&entry->io);
	if (entry->fd >= 0)
		socket_reset(&entry->fd);
	if (entry->charged)
		flows_discharge(entries->flows, &entry->peer);
	loop_defer(entries->loop, &entry->release);
}

static void end_counted(struct entry *entry, enum counter counter)
{
	counter_add(counter, 1);
	end(entry);
}

static void arm(struct entries *entries)
{
	if (!entries->oldest) {
		loop_timer_disarm(entries->timer);
		return;
	}
	uint64_t now = loop_now_ms(entries->loop), due = entries->oldest->until_ms;
	loop_timer_arm(entries->timer, due > now ? due - now : 0, 0);
}

// ---- refusing ------------------------------------------------------------------------------------------------------

static void say_and_end(struct entry *entry, const void *bytes, size_t length)
{
	loop_io_close(&entry->io);
	farewell_say(entry->entries->flows->farewells, &entry->fd, bytes, length);
	end(entry);
}

static void tell(struct entry *entry, const char *what, const char *reason)
{
	char peer[ADDRESS_TEXT_BYTES];
	if (!flow_may_log(entry->entries->flows))
		return;
	address_format(&entry->peer, peer);
	log_warn("entry", "%s: %s refused: %s", peer, what, reason);
}

static void refuse_socks(struct entry *entry, enum socks_reply reply, enum counter counter, const char *reason)
{
	uint8_t answer[SOCKS_REPLY_BYTES];
	counter_add(counter, 1);
	tell(entry, "a SOCKS request", reason);
	say_and_end(entry, answer, socks_reply_encode(reply, NULL, answer));
}

static void refuse_http(struct entry *entry, enum http_connect_status status, enum counter counter, const char *reason)
{
	char answer[HTTP_CONNECT_ANSWER_BYTES];
	counter_add(counter, 1);
	tell(entry, "an HTTP request", reason);
	say_and_end(entry, answer, http_connect_encode(status, NULL, answer));
}

static void refuse_garbage(struct entry *entry)
{
	tell(entry, "a connection", "it speaks neither SOCKS 5 nor HTTP");
	end_counted(entry, COUNTER_ENTRY_MALFORMED);
}

static void refuse_route(struct entry *entry, enum reply_kind kind, const struct request *request, int why)
{
	uint8_t answer[REPLY_BYTES];
	char what[REQUEST_HOST_BYTES + 16];
	bool is_outbound = why == ROUTE_NOT_OUTBOUND;
	counter_add(is_outbound ? COUNTER_ENTRY_NOT_OUTBOUND : COUNTER_ENTRY_NOT_EXPOSED, 1);
	snprintf(what, sizeof what, "%s port %u", request->host, request->port);
	tell(entry, what,
	     is_outbound ? "the address is not in source.allowed_outbound.allowed_ips"
	                 : "neither source.exposed_ports nor source.forwards expose it");
	say_and_end(entry, answer, reply_encode(kind, REPLY_NOT_ALLOWED, answer));
}

// ---- the request is there ------------------------------------------------------------------------------------------

static void become_flow(struct entry *entry, enum reply_kind kind, const struct request *request)
{
	struct header header = {.kind = HEADER_TCP};
	int r = route_find(entry->entries->routes, request, &header);
	if (r != 0) {
		refuse_route(entry, kind, request, r);
		return;
	}
	counter_add(kind == REPLY_SOCKS ? COUNTER_ENTRY_SOCKS : COUNTER_ENTRY_HTTP, 1);
	struct flow_arrival arrival = {
		.fd = &entry->fd,
		.peer = &entry->peer,
		.header = &header,
		.reply = kind,
		.first = entry->bytes + entry->used,
		.first_length = entry->length - entry->used,
		.charged = entry->charged,
	};
	entry->charged = false;
	loop_io_close(&entry->io);
	flows_take(entry->entries->flows, &arrival);
	end(entry);
}

// ---- SOCKS ---------------------------------------------------------------------------------------------------------

static void become_associate(struct entry *entry, const struct request *told)
{
	struct associate_request request = {
		.fd = &entry->fd,
		.peer = &entry->peer,
		.client_port = told->port,
		.routes = entry->entries->routes,
		.charged = entry->charged,
	};
	if (!entry->entries->associates) {
		refuse_socks(entry, SOCKS_REPLY_COMMAND, COUNTER_ENTRY_UNSUPPORTED, "UDP is not carried here");
		return;
	}
	loop_io_close(&entry->io);
	int r = associate_begin(entry->entries->associates, &request);
	if (r != 0) {
		enum counter counter = r > 0          ? COUNTER_ENTRY_ASSOCIATES_FULL
		                       : r == -EMFILE ? COUNTER_FLOW_REFUSED_DESCRIPTORS
		                                      : COUNTER_FLOW_REFUSED_LIMIT;
		refuse_socks(entry, SOCKS_REPLY_FAILURE, counter,
		             r > 0 ? "too many clients have asked for UDP ASSOCIATE" : outcome_text(r));
		return;
	}
	counter_add(COUNTER_ENTRY_ASSOCIATE, 1);
	entry->charged = false;
	end(entry);
}

static void read_socks_request(struct entry *entry)
{
	struct request request;
	enum socks_command command;
	size_t used = 0;
	int r = socks_request_decode(entry->bytes + entry->used, entry->length - entry->used, &command, &request, &used);
	if (r == SOCKS_MORE)
		return;
	if (r == SOCKS_BAD) {
		refuse_garbage(entry);
		return;
	}
	if (r != 0) {
		bool is_command = r == SOCKS_BAD_COMMAND;
		refuse_socks(entry, is_command ? SOCKS_REPLY_COMMAND : SOCKS_REPLY_ADDRESS_TYPE, COUNTER_ENTRY_UNSUPPORTED,
		             is_command ? "only CONNECT and UDP ASSOCIATE are carried" : "its address is not one");
		return;
	}
	entry->used += used;
	if (command == SOCKS_CONNECT)
		become_flow(entry, REPLY_SOCKS, &request);
	else
		become_associate(entry, &request);
}

static void read_greeting(struct entry *entry)
{
	uint8_t answer[SOCKS_METHOD_BYTES];
	size_t used = 0;
	int r = socks_greeting_decode(entry->bytes, entry->length, &used);
	if (r == SOCKS_MORE)
		return;
	if (r != 0) {
		counter_add(COUNTER_ENTRY_UNSUPPORTED, 1);
		tell(entry, "a SOCKS greeting", "the client insists on authentication, which there is none of here");
		say_and_end(entry, answer, socks_method_encode(SOCKS_METHOD_NONE, answer));
		return;
	}
	// Two bytes into an empty socket: one that does not take them is broken.
	size_t length = socks_method_encode(SOCKS_METHOD_OPEN, answer);
	if (send(entry->fd, answer, length, MSG_NOSIGNAL) != (ssize_t)length) {
		end_counted(entry, COUNTER_ENTRY_CLOSED);
		return;
	}
	entry->used = used;
	entry->stage = ENTRY_REQUEST;
	read_socks_request(entry);
}

// ---- HTTP ----------------------------------------------------------------------------------------------------------

static void read_http(struct entry *entry)
{
	struct request request;
	switch (http_connect_decode(entry->bytes, entry->length, &request, &entry->used)) {
	case 0:
		become_flow(entry, REPLY_HTTP, &request);
		break;
	case HTTP_CONNECT_MORE:
		break;
	case HTTP_CONNECT_METHOD:
		refuse_http(entry, HTTP_CONNECT_NOT_CONNECT, COUNTER_ENTRY_UNSUPPORTED, "only CONNECT is spoken here");
		break;
	case HTTP_CONNECT_TOO_LONG:
		refuse_http(entry, HTTP_CONNECT_LARGE_HEADER, COUNTER_ENTRY_MALFORMED, "it is too long");
		break;
	default:
		refuse_http(entry, HTTP_CONNECT_MALFORMED, COUNTER_ENTRY_MALFORMED, "it is malformed");
	}
}

// ---- reading -------------------------------------------------------------------------------------------------------

static void read_on(struct entry *entry)
{
	uint8_t first = entry->bytes[0];
	if (entry->stage == ENTRY_FIRST && first == SOCKS_VERSION)
		entry->stage = ENTRY_GREETING;
	if (entry->stage == ENTRY_FIRST && ((first >= 'A' && first <= 'Z') || (first >= 'a' && first <= 'z')))
		entry->stage = ENTRY_HTTP;
	switch (entry->stage) {
	case ENTRY_FIRST:
		refuse_garbage(entry);
		break;
	case ENTRY_GREETING:
		read_greeting(entry);
		break;
	case ENTRY_REQUEST:
		read_socks_request(entry);
		break;
	case ENTRY_HTTP:
		read_http(entry);
		break;
	}
}

static void on_ready(void *owner, int events)
{
	(void)events;
	struct entry *entry = owner;
	// There is room: a decoder that has seen the whole buffer does not ask for more.
	ssize_t n = recv(entry->fd, entry->bytes + entry->length, sizeof entry->bytes - entry->length, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end_counted(entry, COUNTER_ENTRY_CLOSED);
		return;
	}
	entry->length += (size_t)n;
	read_on(entry);
}

static void on_timer(void *owner)
{
	struct entries *entries = owner;
	while (entries->oldest && entries->oldest->until_ms <= loop_now_ms(entries->loop)) {
		struct entry *entry = entries->oldest;
		if (entry->stage == ENTRY_HTTP) {
			refuse_http(entry, HTTP_CONNECT_TIMED_OUT, COUNTER_ENTRY_TIMEOUT, "it did not come in time");
			continue;
		}
		tell(entry, "a connection", "its request did not come in time");
		end_counted(entry, COUNTER_ENTRY_TIMEOUT);
	}
	arm(entries);
}

// ---- all of a worker -----------------------------------------------------------------------------------------------

static struct entry *make(struct entries *entries, int *fd, const struct address *peer)
{
	struct entry *entry = malloc(sizeof *entry);
	if (!entry)
		return NULL;
	entry->entries = entries;
	entry->peer = *peer;
	entry->release.run = release;
	entry->until_ms = loop_now_ms(entries->loop) + LIMIT_ENTRY_MS;
	entry->stage = ENTRY_FIRST;
	entry->charged = false;
	entry->used = entry->length = 0;
	entry->io = NULL;
	entry->fd = *fd;
	*fd = -1;
	entry->newer = NULL;
	entry->older = entries->newest;
	*(entries->newest ? &entries->newest->newer : &entries->oldest) = entry;
	entries->newest = entry;
	atomic_fetch_add_explicit(&entries->open, 1, memory_order_relaxed);
	return entry;
}

static uint32_t negotiating(const struct entries *entries)
{
	return atomic_load_explicit(&entries->open, memory_order_relaxed);
}

void entries_take(struct entries *entries, int *fd, const struct address *peer)
{
	// Hostile: those that say nothing are pushed out by those that come, so a client that speaks at once gets through.
	if (negotiating(entries) >= LIMIT_ENTRIES_PER_WORKER) {
		tell(entries->oldest, "a connection", "too many clients negotiate, and this is the oldest");
		end_counted(entries->oldest, COUNTER_ENTRY_FULL);
	}
	struct entry *entry = entries->routes ? make(entries, fd, peer) : NULL;
	if (!entry) {
		socket_reset(fd);
		return;
	}
	if (!flows_charge(entries->flows, peer, &entry->charged)) {
		tell(entry, "a connection", "this client has source.max_connections_per_client open");
		end_counted(entry, COUNTER_FLOW_REFUSED_CLIENT_LIMIT);
		return;
	}
	if (loop_io_open(entries->loop, entry->fd, on_ready, entry, &entry->io) < 0) {
		end(entry);
		return;
	}
	loop_io_want(entry->io, LOOP_READ);
	arm(entries);
}

int entries_new(struct loop *loop, struct flows *flows, struct udp_flows *udp, struct entries **out)
{
	struct entries *entries = calloc(1, sizeof *entries);
	if (!entries)
		return -ENOMEM;
	entries->loop = loop;
	entries->flows = flows;
	int r = loop_timer_open(loop, on_timer, entries, &entries->timer);
	if (r == 0 && udp)
		r = associates_new(loop, flows, udp, &entries->associates);
	if (r < 0)
		entries_free(&entries);
	else
		*out = entries;
	return r;
}

void entries_set(struct entries *entries, struct route_table *routes)
{
	struct route_table *old = entries->routes;
	entries->routes = routes ? route_table_ref(routes) : NULL;
	route_table_unref(&old);
	if (!routes)
		entries_drain(entries);
	else if (entries->associates)
		associates_set(entries->associates, routes);
}

void entries_drain(struct entries *entries)
{
	while (entries->oldest)
		end(entries->oldest);
	arm(entries);
}

void entries_free(struct entries **slot)
{
	struct entries *entries = *slot;
	*slot = NULL;
	if (!entries)
		return;
	while (entries->oldest)
		end(entries->oldest);
	associates_free(&entries->associates);
	route_table_unref(&entries->routes);
	loop_timer_close(&entries->timer);
	free(entries);
}

uint32_t entries_open(const struct entries *entries)
{
	return negotiating(entries) + (entries->associates ? associates_open(entries->associates) : 0);
}
