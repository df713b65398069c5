#include "cmd/hub_audit.h"

#include "core/brake.h"
#include "core/clock.h"
#include "flow/service.h"
#include "limits.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TEXT_BYTES 512
#define TIME_BYTES 40

// ---- a line --------------------------------------------------------------------------------------------------------

struct line {
	char text[LIMIT_AUDIT_LINE_BYTES];
	size_t length; // more than fits: the line is dropped, which the bounds of its parts prevent
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
	va_list list;
	if (line->length >= sizeof line->text)
		return;
	va_start(list, format);
	int n = vsnprintf(line->text + line->length, sizeof line->text - line->length, format, list);
	va_end(list);
	line->length = n < 0 ? sizeof line->text : line->length + (size_t)n;
}

// Hostile: subjects of certificates and reasons of peers are what they please.
static void add_text(struct line *line, const char *key, const char *from)
{
	char to[TEXT_BYTES];
	size_t at = 0;
	for (; *from && at + 7 < TEXT_BYTES; from++) {
		unsigned char c = (unsigned char)*from;
		if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
			at += (size_t)snprintf(to + at, TEXT_BYTES - at, "\\u%04x", c);
		else
			to[at++] = (char)c;
	}
	to[at] = '\0';
	add(line, ",\"%s\":\"%s\"", key, to);
}

static void format_time(int64_t ms, char to[TIME_BYTES])
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm = {0};
	gmtime_r(&seconds, &tm);
	size_t length = strftime(to, TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(to + length, TIME_BYTES - length, ".%03dZ", (int)(ms % 1000));
}

static void begin(struct line *line, const char *event)
{
	char now[TIME_BYTES];
	format_time(clock_wall_ms(), now);
	line->length = 0;
	add(line, "{\"time\":\"%s\",\"event\":\"%s\"", now, event);
}

static void end(struct line *line, struct audit *audit)
{
	add(line, "}");
	if (line->length < sizeof line->text)
		audit_write(audit, line->text);
}

// ---- sessions ------------------------------------------------------------------------------------------------------

void hub_audit_session(struct audit *audit, const char *event, const struct hub_audit_session *session, const char *how)
{
	struct line line;
	char begun[TIME_BYTES];
	if (!audit)
		return;
	begin(&line, event);
	if (session->from)
		add_text(&line, "from", session->from);
	else
		add(&line, ",\"uid\":%u,\"gid\":%u,\"pid\":%d", (unsigned)session->uid, (unsigned)session->gid,
		    (int)session->pid);
	format_time(session->begun_ms, begun);
	add_text(&line, "device", session->device);
	add_text(&line, "service", strcmp(session->service, SERVICE_DEFAULT) == 0 ? "default" : session->service);
	add_text(&line, "address", session->address);
	add(&line, ",\"begun\":\"%s\"", begun);
	if (how) {
		add(&line, ",\"bytes_sent\":%" PRIu64 ",\"bytes_received\":%" PRIu64, session->sent, session->received);
		add_text(&line, "ended", how);
	}
	end(&line, audit);
}

void hub_audit_session_refused(struct audit *audit, const struct hub_audit_session *session, const char *how)
{
	static _Thread_local struct brake brake = {.per_second = LIMIT_REFUSAL_LINES_PER_S};
	uint64_t now = clock_ms(), held = audit ? brake_sum(&brake, now) : 0;
	if (held > 0) {
		struct line line;
		begin(&line, "refused-more");
		add(&line, ",\"count\":%" PRIu64, held);
		end(&line, audit);
	}
	if (audit && brake_passes(&brake, now))
		hub_audit_session(audit, "refused", session, how);
}

// ---- devices -------------------------------------------------------------------------------------------------------

static void add_device(struct line *line, const char *name, const struct link_peer *peer)
{
	add_text(line, "device", name);
	add_text(line, "address", peer->address);
	add_text(line, "subject", peer->certificate.subject);
	add_text(line, "fingerprint", peer->certificate.fingerprint);
}

void hub_audit_device(struct audit *audit, const char *event, const char *name, const struct link_peer *peer,
                      const char *why)
{
	struct line line;
	if (!audit)
		return;
	begin(&line, event);
	add_device(&line, name, peer);
	if (why)
		add_text(&line, "reason", why);
	end(&line, audit);
}

void hub_audit_refused(struct audit *audit, const char *name, const struct link_peer *peer, const char *why)
{
	static _Thread_local struct brake brake = {.per_second = LIMIT_REFUSAL_LINES_PER_S};
	if (audit && brake_passes(&brake, clock_ms()))
		hub_audit_device(audit, "device-refused", name, peer, why);
}

void hub_audit_down(struct audit *audit, const char *name, struct link *link, const char *why)
{
	struct line line;
	struct link_state state;
	if (!audit)
		return;
	link_read(link, &state);
	begin(&line, "device-down");
	add_device(&line, name, link_peer(link));
	add(&line, ",\"seconds\":%" PRIu64 ",\"bytes_sent\":%" PRIu64 ",\"bytes_received\":%" PRIu64,
	    (clock_ms() - state.up_since_ms) / 1000, state.bytes_outward, state.bytes_inward);
	add_text(&line, "reason", why ? why : state.error);
	end(&line, audit);
}
