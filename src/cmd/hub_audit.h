// The lines that a hub writes to its audit log: of sessions, and of devices as they come and go. docs/fleet.md has the
// table. All are harmless without a log.

#pragma once

#include "link/link.h"
#include "ops/audit.h"

#include <stdint.h>
#include <sys/types.h>

struct hub_audit_session {
	const char *from; // address of who came by TCP; NULL: by the socket, as:
	uid_t uid;
	gid_t gid;
	pid_t pid;
	const char *device, *service;
	const char *address; // of the device, "" when it is away
	int64_t begun_ms;    // since 1970
	uint64_t sent, received;
};

// event "begin" (`how` is NULL), "end".
void hub_audit_session(struct audit *audit, const char *event, const struct hub_audit_session *session,
                       const char *how);

// "refused": a few in a second on each thread, so that nobody fills the disk, or the room that the lines of others wait
// in; "refused-more" says how many were left out, before the first one afterwards.
void hub_audit_session_refused(struct audit *audit, const struct hub_audit_session *session, const char *how);

// "device-up", "device-replaced", "device-kicked", "device-denied", "device-resting"; `why` may be NULL.
void hub_audit_device(struct audit *audit, const char *event, const char *name, const struct link_peer *peer,
                      const char *why);
// "device-refused": a few in a second on each thread, so that nobody fills the disk.
void hub_audit_refused(struct audit *audit, const char *name, const struct link_peer *peer, const char *why);
// "device-down", with how long its link stood and what that has carried.
void hub_audit_down(struct audit *audit, const char *name, struct link *link, const char *why);
