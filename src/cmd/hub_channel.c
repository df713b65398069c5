// A connection to a device, from its socket here to the end of its flow, and the lines of the audit log about it.

#include "cmd/hub_audit.h"
#include "cmd/hub_internal.h"
#include "core/brake.h"
#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "flow/service.h"
#include "net/socket.h"
#include "node/mail.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

// A parked connection may have broken a moment ago; after so many there is something else.
#define TRIES 3
// How often it is looked whether the users of those that wait are still there, and how many are let go at once.
#define CARE_MS 200
#define GONE_PER_TURN 64
// What a flow says that came to its end.
#define FLOW_FINISHED "finished"

struct channel {
	struct hub *hub;
	struct channel *newer, *older; // with the lock of hub->joined
	bool waits;                    // likewise
	const char *cut;               // likewise: why it was ended; NULL: it was not
	uint64_t id;
	struct device *device;
	struct link *link;
	int fd;
	struct address from; // who came by TCP, with a length; else by the socket:
	uid_t uid;
	gid_t gid;
	pid_t pid;
	unsigned tries;
	int64_t begun_ms; // since 1970
	char service[LIMIT_SERVICE_NAME_BYTES + 1];
	struct account account;
};

// ---- the audit log -------------------------------------------------------------------------------------------------

static const char *name_service(const char *service)
{
	return strcmp(service, SERVICE_DEFAULT) == 0 ? "default" : service;
}

// `how` is NULL at the beginning, `event` when it was refused.
static void write_line(const struct channel *channel, const char *event, const char *how)
{
	char from[ADDRESS_TEXT_BYTES];
	if (channel->from.length > 0)
		address_format(&channel->from, from);
	struct hub_audit_session session = {
		.from = channel->from.length > 0 ? from : NULL,
		.uid = channel->uid,
		.gid = channel->gid,
		.pid = channel->pid,
		.device = channel->device->name,
		.service = channel->service,
		.address = channel->link ? link_peer(channel->link)->address : "",
		.begun_ms = channel->begun_ms,
		.sent = channel->account.sent,
		.received = channel->account.received,
	};
	if (event)
		hub_audit_session(channel->hub->audit, event, &session, how);
	else
		hub_audit_session_refused(channel->hub->audit, &session, how);
}

// ---- ends ----------------------------------------------------------------------------------------------------------

static void list(struct channel *channel)
{
	struct hub_channels *joined = &channel->hub->joined;
	pthread_mutex_lock(&joined->lock);
	channel->id = ++joined->ids;
	channel->older = joined->newest;
	if (joined->newest)
		joined->newest->newer = channel;
	joined->newest = channel;
	pthread_mutex_unlock(&joined->lock);
}

static void unlist(struct channel *channel)
{
	struct hub_channels *joined = &channel->hub->joined;
	pthread_mutex_lock(&joined->lock);
	if (channel->newer)
		channel->newer->older = channel->older;
	else
		joined->newest = channel->older;
	if (channel->older)
		channel->older->newer = channel->newer;
	joined->waiting -= channel->waits;
	pthread_mutex_unlock(&joined->lock);
}

static void set_waits(struct channel *channel, bool waits)
{
	struct hub_channels *joined = &channel->hub->joined;
	pthread_mutex_lock(&joined->lock);
	joined->waiting += (unsigned)waits - (unsigned)channel->waits;
	channel->waits = waits;
	pthread_mutex_unlock(&joined->lock);
}

static bool set_link(struct channel *channel)
{
	struct link *link = fleet_link(channel->hub->fleet, channel->device);
	pthread_mutex_lock(&channel->hub->joined.lock);
	channel->link = link;
	pthread_mutex_unlock(&channel->hub->joined.lock);
	return link != NULL;
}

static void channel_free(struct channel *channel)
{
	unlist(channel);
	atomic_fetch_sub(&channel->device->channels, 1);
	atomic_fetch_sub(&channel->hub->channels, 1);
	socket_close(&channel->fd);
	link_unref(&channel->link);
	device_unref(&channel->device);
	free(channel);
}

static void log_refusal(const struct channel *channel, const char *why)
{
	char who[ADDRESS_TEXT_BYTES];
	if (channel->from.length > 0)
		address_format(&channel->from, who);
	else
		snprintf(who, sizeof who, "user %u (process %d)", (unsigned)channel->uid, (int)channel->pid);
	log_warn("hub", "device %s: a connection of %s was refused: %s", channel->device->name, who, why);
}

// Before it began: the user's socket is closed at once, which says no; the log and the audit log say why.
static void refuse(struct channel *channel, enum counter counter, const char *why)
{
	static _Thread_local struct brake brake = {.per_second = LIMIT_REFUSAL_LINES_PER_S};
	counter_add(counter, 1);
	atomic_fetch_add(&channel->device->channels_refused, 1);
	if (brake_passes(&brake, clock_ms()))
		log_refusal(channel, why);
	write_line(channel, NULL, why);
	channel_free(channel);
}

static void on_flow_end(struct account *account)
{
	struct channel *channel = CONTAINER_OF(account, struct channel, account);
	char how[ACCOUNT_REASON_BYTES + LINK_ERROR_BYTES + 4];
	pthread_mutex_lock(&channel->hub->joined.lock);
	const char *cut = channel->cut;
	pthread_mutex_unlock(&channel->hub->joined.lock);
	struct link_state state;
	link_read(channel->link, &state);
	if (!cut && state.is_cut)
		cut = state.error;
	// What happened here need not be why: the device may have ended its side first.
	bool has_reason = cut && strcmp(account->ended, FLOW_FINISHED) != 0;
	snprintf(how, sizeof how, "%s%s%s", account->ended[0] ? account->ended : "the hub stopped", has_reason ? ": " : "",
	         has_reason ? cut : "");
	write_line(channel, "end", how);
	channel_free(channel);
}

// ---- beginnings ----------------------------------------------------------------------------------------------------

static int wish(struct channel *channel, unsigned here);

static void on_refused(void *owner, unsigned index, const struct header_answer *answer)
{
	struct channel *channel = owner;
	char why[LIMIT_REASON_BYTES + 64];
	(void)index;
	set_waits(channel, false);
	snprintf(why, sizeof why, "%s%s%s", header_status_name(answer->status), *answer->reason ? ": " : "",
	         answer->reason);
	refuse(channel, COUNTER_CHANNEL_REFUSED, why);
}

static int join(struct channel *channel, unsigned index, struct stream **stream)
{
	struct header header = {.kind = HEADER_TCP};
	bool by_tcp = channel->from.length > 0; // then its address says who it is
	struct address peer = {.length = sizeof(sa_family_t), .any.sa_family = AF_UNIX};
	struct flow_arrival arrival = {.fd = &channel->fd,
	                               .peer = by_tcp ? &channel->from : &peer,
	                               .header = &header,
	                               .reply = REPLY_NONE,
	                               .account = &channel->account};
	snprintf(header.service, sizeof header.service, "%s", channel->service);
	if (!by_tcp)
		snprintf(header.origin, sizeof header.origin, "uid:%u,pid:%d", (unsigned)channel->uid, (int)channel->pid);
	// First: the flow may be over, and the channel gone, when it returns.
	write_line(channel, "begin", NULL);
	return flows_take_joined(channel->hub->worker[index].flows, &arrival, stream);
}

static void on_stream(void *owner, unsigned index, struct stream *stream)
{
	struct channel *channel = owner;
	struct hub *hub = channel->hub;
	set_waits(channel, false);
	if (!hub->worker[index].flows) {
		stream_close(&stream);
		refuse(channel, COUNTER_CHANNEL_FAILED, "the hub stops");
		return;
	}
	int r = join(channel, index, &stream);
	if (r == 0) {
		counter_add(COUNTER_CHANNEL_OPENED, 1);
		return;
	}
	if (r != FLOW_UNSENT || ++channel->tries >= TRIES) {
		refuse(channel, COUNTER_CHANNEL_FAILED, r < 0 ? outcome_text(r) : "its data connections break");
		return;
	}
	r = wish(channel, index);
	if (r != 0)
		refuse(channel, r == REVERSE_NO_LINK ? COUNTER_CHANNEL_OFFLINE : COUNTER_CHANNEL_LIMIT, "its link went down");
}

// ---- while they wait -----------------------------------------------------------------------------------------------

// Its other end is closed, and has left nothing that the device might still be told. One that has only finished sending
// waits for what the device says.
static bool is_gone(const struct channel *channel)
{
	struct pollfd watched = {.fd = channel->fd};
	uint8_t byte;
	// Syscalls: poll, recvfrom
	return poll(&watched, 1, 0) == 1 && (watched.revents & (POLLHUP | POLLERR)) &&
	       recv(channel->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

struct gone {
	struct channel *channel; // to be touched only once its wish is withdrawn
	struct link *link;       // a reference
	uint64_t id;
};

// Their wishes are theirs no more when reverse_withdraw says so, and then nobody else knows the channel.
static size_t find_gone(struct hub *hub, struct gone gone[GONE_PER_TURN])
{
	size_t count = 0;
	pthread_mutex_lock(&hub->joined.lock);
	for (struct channel *at = hub->joined.newest; at && count < GONE_PER_TURN; at = at->older)
		if (at->waits && at->link && is_gone(at))
			gone[count++] = (struct gone){.channel = at, .link = link_ref(at->link), .id = at->id};
	if (hub->joined.waiting == 0) {
		loop_timer_disarm(hub->joined.care);
		hub->joined.caring = false;
	}
	pthread_mutex_unlock(&hub->joined.lock);
	return count;
}

static void on_care(void *owner)
{
	struct hub *hub = owner;
	struct gone gone[GONE_PER_TURN];
	size_t count = find_gone(hub, gone);
	for (size_t i = 0; i < count; i++) {
		if (reverse_withdraw(hub->reverse, gone[i].link, gone[i].id))
			refuse(gone[i].channel, COUNTER_CHANNEL_GONE, "its user has gone");
		link_unref(&gone[i].link);
	}
}

int hub_channels_init(struct hub *hub)
{
	return loop_timer_open(workers_loop(hub->node.workers, 0), on_care, hub, &hub->joined.care);
}

void hub_channels_fini(struct hub *hub)
{
	loop_timer_close(&hub->joined.care);
}

// Worker 0, where channels begin.
static void watch(struct hub *hub)
{
	pthread_mutex_lock(&hub->joined.lock);
	bool is_due = hub->joined.waiting > 0 && !hub->joined.caring;
	hub->joined.caring = hub->joined.caring || is_due;
	pthread_mutex_unlock(&hub->joined.lock);
	if (is_due)
		loop_timer_arm(hub->joined.care, CARE_MS, CARE_MS);
}

static const struct reverse_ops reverse_ops = {.on_stream = on_stream, .on_refused = on_refused};

static int wish(struct channel *channel, unsigned here)
{
	struct hub *hub = channel->hub;
	struct reverse_wish wanted = {.deadline_ms = atomic_load(&hub->open_timeout_ms),
	                              .id = channel->id,
	                              .ops = &reverse_ops,
	                              .owner = channel};
	snprintf(wanted.service, sizeof wanted.service, "%s", channel->service);
	// First: it may be granted on another worker before reverse_open returns.
	set_waits(channel, true);
	int r = reverse_open(hub->worker[here].reverse, channel->link, &wanted);
	if (r != 0)
		set_waits(channel, false);
	return r;
}

// `peer` is NULL for who came by TCP: the list of that port has judged.
static void judge(struct channel *channel, const struct access_peer *peer)
{
	struct hub *hub = channel->hub;
	uint32_t most = atomic_load(&hub->channels_max);
	if (peer && !access_allows(hub->policy->access, hub->policy->access_count, peer, channel->device->name,
	                           name_service(channel->service))) {
		refuse(channel, COUNTER_CHANNEL_NOT_ALLOWED, "no rule of hub.access lets this user in");
		return;
	}
	if (atomic_load(&hub->node.draining)) {
		refuse(channel, COUNTER_CHANNEL_OFFLINE, "the hub stops");
		return;
	}
	if (most > 0 && atomic_load(&channel->device->channels) > most) {
		refuse(channel, COUNTER_CHANNEL_LIMIT, "the device has hub.max_channels_per_device connections");
		return;
	}
	if (!set_link(channel)) {
		refuse(channel, COUNTER_CHANNEL_OFFLINE, "the device is away");
		return;
	}
	int r = wish(channel, 0);
	watch(hub);
	if (r == REVERSE_NO_LINK)
		refuse(channel, COUNTER_CHANNEL_OFFLINE, "the device is going away");
	else if (r != 0)
		refuse(channel, COUNTER_CHANNEL_LIMIT, "too many connections to it wait already");
}

static void begin(struct channel *channel, struct hub *hub, struct device *device, const char *service, int fd)
{
	channel->hub = hub;
	channel->device = device_ref(device);
	channel->fd = fd;
	channel->begun_ms = clock_wall_ms();
	channel->account = (struct account){.rate = &device->rate,
	                                    .outward = &device->outward,
	                                    .inward = &device->inward,
	                                    .on_end = on_flow_end};
	snprintf(channel->service, sizeof channel->service, "%s", service);
	atomic_fetch_add(&hub->channels, 1);
	atomic_fetch_add(&device->channels, 1);
	atomic_fetch_add(&device->channels_total, 1);
	list(channel);
}

void hub_channel_take(struct hub *hub, struct device *device, const char *service, int fd)
{
	struct access_peer peer = {.uid = (uid_t)-1};
	struct channel *channel = calloc(1, sizeof *channel);
	if (!channel || !access_ask(fd, &peer)) {
		free(channel);
		socket_close(&fd);
		counter_add(COUNTER_CHANNEL_FAILED, 1);
		return;
	}
	*channel = (struct channel){.uid = peer.uid, .gid = peer.gid, .pid = peer.pid};
	begin(channel, hub, device, service, fd);
	judge(channel, &peer);
}

void hub_channel_take_tcp(struct hub *hub, struct device *device, const char *service, int fd,
                          const struct address *peer)
{
	struct channel *channel = calloc(1, sizeof *channel);
	if (!channel) {
		socket_close(&fd);
		counter_add(COUNTER_CHANNEL_FAILED, 1);
		return;
	}
	channel->from = *peer;
	begin(channel, hub, device, service, fd);
	judge(channel, NULL);
}

// ---- ends that somebody else wants ---------------------------------------------------------------------------------

static void on_cut(void *contents)
{
	struct link **link = contents;
	stream_cut_all(*link);
	link_unref(link);
}

static int by_address(const void *a, const void *b)
{
	const struct link *const *x = a, *const *y = b;
	return *x < *y ? -1 : *x > *y;
}

// With the lock held: those that are meant are told why, and their links, a reference for each, are put down.
static size_t mark(struct hub *hub, hub_meant_fn is_meant, const void *owner, const char *why, struct link **links)
{
	size_t count = 0;
	for (struct channel *at = hub->joined.newest; at; at = at->older) {
		if (!at->link || !is_meant(owner, at->device, at->link))
			continue;
		at->cut = why;
		links[count++] = link_ref(at->link);
	}
	return count;
}

size_t hub_channels_cut(struct hub *hub, hub_meant_fn is_meant, const void *owner, const char *why)
{
	pthread_mutex_lock(&hub->joined.lock);
	size_t count = 0, room = 1;
	for (struct channel *at = hub->joined.newest; at; at = at->older)
		room++;
	struct link **links = calloc(room, sizeof(struct link *));
	if (links)
		count = mark(hub, is_meant, owner, why, links);
	pthread_mutex_unlock(&hub->joined.lock);
	if (!links)
		log_error("hub", "no memory: connections that should end go on; ask again");
	else
		qsort(links, count, sizeof(struct link *), by_address);
	for (size_t i = 0; i < count; i++) {
		bool is_first = i == 0 || links[i] != links[i - 1];
		for (unsigned worker = 0; is_first && worker < hub->worker_count; worker++) {
			struct link *reference = link_ref(links[i]);
			mail_send_surely(hub->worker[worker].loop, on_cut, &reference, sizeof reference);
		}
	}
	for (size_t i = 0; i < count; i++)
		link_unref(&links[i]);
	free(links);
	return count;
}
