#include "fleet/access.h"

#include "policy/pattern.h"

#include <sys/socket.h>
#include <unistd.h>

bool access_ask(int fd, struct access_peer *peer)
{
	struct ucred who;
	socklen_t length = sizeof who, groups_length = sizeof peer->groups;
	// Syscalls: getsockopt
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) != 0)
		return false;
	*peer = (struct access_peer){.uid = who.uid, .gid = who.gid, .pid = who.pid};
	// A user with more groups than fit must be allowed by name.
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer->groups, &groups_length) == 0)
		peer->group_count = groups_length / sizeof peer->groups[0];
	return true;
}

static bool has_match(const char *const *patterns, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (pattern_matches(patterns[i], name))
			return true;
	return count == 0;
}

static bool is_in_group(const struct access_peer *peer, gid_t gid)
{
	for (size_t i = 0; i < peer->group_count; i++)
		if (peer->groups[i] == gid)
			return true;
	return peer->gid == gid;
}

static bool names(const struct access_rule *rule, const struct access_peer *peer)
{
	for (size_t i = 0; i < rule->uid_count; i++)
		if (rule->uids[i] == peer->uid)
			return true;
	for (size_t i = 0; i < rule->gid_count; i++)
		if (is_in_group(peer, rule->gids[i]))
			return true;
	return false;
}

bool access_allows(const struct access_rule *rules, size_t count, const struct access_peer *peer, const char *device,
                   const char *service)
{
	// Syscalls: geteuid
	if (count == 0 || peer->uid == 0 || peer->uid == geteuid())
		return true;
	for (size_t i = 0; i < count; i++)
		if (names(&rules[i], peer) && has_match(rules[i].devices, rules[i].device_count, device) &&
		    has_match(rules[i].services, rules[i].service_count, service))
			return true;
	return false;
}
