// Who of this host may reach which devices and services: rules over the user and groups that the kernel names for a
// connection. Without any rule whoever the socket's mode lets in may. Pure.

#pragma once

#include "core/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define ACCESS_GROUPS 256 // of one user that are looked at

struct access_rule {            // lists are lent
	const char *const *devices; // patterns; none: every device
	size_t device_count;
	const char *const *services; // patterns; none: every service, "" is the default one
	size_t service_count;
	const uid_t *uids;
	size_t uid_count;
	const gid_t *gids;
	size_t gid_count;
};

struct access_peer {
	uid_t uid;
	gid_t gid, groups[ACCESS_GROUPS];
	size_t group_count;
	pid_t pid;
};

// Asks the kernel who has connected to a Unix socket. False: it does not say.
bool access_ask(int fd, struct access_peer *peer);
// Root and the user of this process always may.
bool access_allows(const struct access_rule *rules, size_t count, const struct access_peer *peer, const char *device,
                   const char *service);
