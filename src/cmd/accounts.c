#include "cmd/accounts.h"

#include "core/log.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

static bool read_number(const char *text, uint32_t *number)
{
	char *end;
	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	*number = (uint32_t)value;
	// The largest one means "none" to the kernel.
	return *text >= '0' && *text <= '9' && !*end && errno == 0 && value < UINT32_MAX;
}

// Syscalls at start: openat, read, mmap, socket, connect (the name service)
static bool find_user(const char *name, uint32_t *id)
{
	const struct passwd *found = read_number(name, id) ? NULL : getpwnam(name);
	if (found)
		*id = found->pw_uid;
	return found || read_number(name, id);
}

static bool find_group(const char *name, uint32_t *id)
{
	const struct group *found = read_number(name, id) ? NULL : getgrnam(name);
	if (found)
		*id = found->gr_gid;
	return found || read_number(name, id);
}

// A list of its own, NULL when a name is unknown (logged) or memory is short.
static uint32_t *resolve(char *const *names, size_t count, bool (*find)(const char *, uint32_t *), const char *key)
{
	uint32_t *ids = calloc(count + 1, sizeof *ids);
	bool all = ids != NULL;
	for (size_t i = 0; ids && i < count; i++) {
		if (find(names[i], &ids[i]))
			continue;
		log_error("accounts", "%s: \"%s\" is not known on this machine", key, names[i]);
		all = false;
	}
	if (!all) {
		free(ids);
		return NULL;
	}
	return ids;
}

uint32_t *accounts_users(char *const *names, size_t count, const char *key)
{
	return resolve(names, count, find_user, key);
}

uint32_t *accounts_groups(char *const *names, size_t count, const char *key)
{
	return resolve(names, count, find_group, key);
}
