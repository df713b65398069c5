// A connection to a device, from its socket here to the end of its flow, and the lines of the audit log about it.

#include "cmd/hub_internal.h"
#include "core/brake.h"
#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "flow/service.h"
#include "net/socket.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// A parked connection may have broken a moment ago; after so many there is something else.
#define TRIES 3

struct channel {
	struct hub *hub;
	struct device *device;
	struct link *link;
	int fd;
	uid_t uid;
	gid_t gid;
	pid_t pid;
	unsigned tries;
	int64_t begun_ms; // since 1970
	char service[LIMIT_SERVICE_NAME_BYTES + 1];
	struct account account;
};

// ---- the audit log -------------------------------------------------------------------------------------------------

#define TEXT_BYTES 512
#define TIME_BYTES 40

static void escape(const char *from, char to[TEXT_BYTES])
{
	size_t at = 0;
	for (; *from && at + 7 < TEXT_BYTES; from++) {
		unsigned char c = (unsigned char)*from;
		if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
			at += (size_t)snprintf(to + at, TEXT_BYTES - at, "\\u%04x", c);
		else
			to[at++] = (char)c;
	}
	to[at] = '\0';
}

static void format_time(int64_t ms, char to[TIME_BYTES])
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm = {0};
	gmtime_r(&seconds, &tm);
	size_t length = strftime(to, TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(to + length, TIME_BYTES - length, ".%03dZ", (int)(ms % 1000));
}

static const char *name_service(const char *service)
{
	return strcmp(service, SERVICE_DEFAULT) == 0 ? "default" : service;
}

// `how` is NULL at the beginning.
static void write_line(const struct channel *channel, const char *event, const char *how)
{
	char line[LIMIT_AUDIT_LINE_BYTES], now[TIME_BYTES], begun[TIME_BYTES], reason[TEXT_BYTES];
	if (!channel->hub->audit)
		return;
	format_time(clock_wall_ms(), now);
	format_time(channel->begun_ms, begun);
	escape(how ? how : "", reason);
	int n = snprintf(line, sizeof line,
	                 "{\"time\":\"%s\",\"event\":\"%s\",\"uid\":%u,\"gid\":%u,\"pid\":%d,\"device\":\"%s\","
	                 "\"service\":\"%s\",\"address\":\"%s\",\"begun\":\"%s\"",
	                 now, event, (unsigned)channel->uid, (unsigned)channel->gid, (int)channel->pid,
	                 channel->device->name, name_service(channel->service),
	                 channel->link ? link_peer(channel->link)->address : "", begun);
	if (how && n > 0 && (size_t)n < sizeof line)
		n += snprintf(line + n, sizeof line - (size_t)n,
		              ",\"bytes_sent\":%" PRIu64 ",\"bytes_received\":%" PRIu64 ",\"ended\":\"%s\"",
		              channel->account.sent, channel->account.received, reason);
	if (n < 0 || (size_t)n + 2 > sizeof line) // does not happen: every part has its bound
		return;
	snprintf(line + n, sizeof line - (size_t)n, "}");
	audit_write(channel->hub->audit, line);
}

// ---- ends ----------------------------------------------------------------------------------------------------------

static void channel_free(struct channel *channel)
{
	atomic_fetch_sub(&channel->device->channels, 1);
	atomic_fetch_sub(&channel->hub->channels, 1);
	socket_close(&channel->fd);
	link_unref(&channel->link);
	device_unref(&channel->device);
	free(channel);
}

// Before it began: the user's socket is closed at once, which says no; the log and the audit log say why.
static void refuse(struct channel *channel, enum counter counter, const char *why)
{
	static _Thread_local struct brake brake = {.per_second = LIMIT_REFUSAL_LINES_PER_S};
	counter_add(counter, 1);
	atomic_fetch_add(&channel->device->channels_refused, 1);
	if (brake_passes(&brake, clock_ms()))
		log_warn("hub", "device %s: a connection of user %u (process %d) was refused: %s", channel->device->name,
		         (unsigned)channel->uid, (int)channel->pid, why);
	write_line(channel, "refused", why);
	channel_free(channel);
}

static void on_flow_end(struct account *account)
{
	struct channel *channel = CONTAINER_OF(account, struct channel, account);
	write_line(channel, "end", account->ended[0] ? account->ended : "the hub stopped");
	channel_free(channel);
}

// ---- beginnings ----------------------------------------------------------------------------------------------------

static int wish(struct channel *channel, unsigned here);

static void on_refused(void *owner, unsigned index, const struct header_answer *answer)
{
	struct channel *channel = owner;
	char why[LIMIT_REASON_BYTES + 64];
	(void)index;
	snprintf(why, sizeof why, "%s%s%s", header_status_name(answer->status), *answer->reason ? ": " : "",
	         answer->reason);
	refuse(channel, COUNTER_CHANNEL_REFUSED, why);
}

static int join(struct channel *channel, unsigned index, struct stream **stream)
{
	struct header header = {.kind = HEADER_TCP};
	struct address peer = {.length = sizeof(sa_family_t), .any.sa_family = AF_UNIX};
	struct flow_arrival arrival = {
		.fd = &channel->fd, .peer = &peer, .header = &header, .reply = REPLY_NONE, .account = &channel->account};
	snprintf(header.service, sizeof header.service, "%s", channel->service);
	snprintf(header.origin, sizeof header.origin, "uid:%u,pid:%d", (unsigned)channel->uid, (int)channel->pid);
	// First: the flow may be over, and the channel gone, when it returns.
	write_line(channel, "begin", NULL);
	return flows_take_joined(channel->hub->worker[index].flows, &arrival, stream);
}

static void on_stream(void *owner, unsigned index, struct stream *stream)
{
	struct channel *channel = owner;
	struct hub *hub = channel->hub;
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

static const struct reverse_ops reverse_ops = {.on_stream = on_stream, .on_refused = on_refused};

static int wish(struct channel *channel, unsigned here)
{
	struct hub *hub = channel->hub;
	struct reverse_wish wanted = {.deadline_ms = atomic_load(&hub->open_timeout_ms),
	                              .ops = &reverse_ops,
	                              .owner = channel};
	snprintf(wanted.service, sizeof wanted.service, "%s", channel->service);
	return reverse_open(hub->worker[here].reverse, channel->link, &wanted);
}

static void judge(struct channel *channel, const struct access_peer *peer)
{
	struct hub *hub = channel->hub;
	uint32_t most = atomic_load(&hub->channels_max);
	if (!access_allows(hub->policy->access, hub->policy->access_count, peer, channel->device->name,
	                   name_service(channel->service))) {
		refuse(channel, COUNTER_CHANNEL_NOT_ALLOWED, "no rule of hub.access lets this user in");
		return;
	}
	if (atomic_load(&hub->draining)) {
		refuse(channel, COUNTER_CHANNEL_OFFLINE, "the hub stops");
		return;
	}
	if (most > 0 && atomic_load(&channel->device->channels) > most) {
		refuse(channel, COUNTER_CHANNEL_LIMIT, "the device has hub.max_channels_per_device connections");
		return;
	}
	channel->link = fleet_link(hub->fleet, channel->device);
	if (!channel->link) {
		refuse(channel, COUNTER_CHANNEL_OFFLINE, "the device is away");
		return;
	}
	int r = wish(channel, 0);
	if (r == REVERSE_NO_LINK)
		refuse(channel, COUNTER_CHANNEL_OFFLINE, "the device is going away");
	else if (r != 0)
		refuse(channel, COUNTER_CHANNEL_LIMIT, "too many connections to it wait already");
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
	*channel = (struct channel){
		.hub = hub,
		.device = device_ref(device),
		.fd = fd,
		.uid = peer.uid,
		.gid = peer.gid,
		.pid = peer.pid,
		.begun_ms = clock_wall_ms(),
		.account = {.rate = &device->rate,
	                .outward = &device->outward,
	                .inward = &device->inward,
	                .on_end = on_flow_end},
	};
	snprintf(channel->service, sizeof channel->service, "%s", service);
	atomic_fetch_add(&hub->channels, 1);
	atomic_fetch_add(&device->channels, 1);
	atomic_fetch_add(&device->channels_total, 1);
	judge(channel, &peer);
}
