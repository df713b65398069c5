#include "cmd/tunnel_socket.h"

#include "cmd/places.h"
#include "core/log.h"

#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- users and groups ----------------------------------------------------------------------------------------------

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
		log_error("tunnel", "%s: \"%s\" is not known on this machine", key, names[i]);
		all = false;
	}
	if (!all) {
		free(ids);
		return NULL;
	}
	return ids;
}

// ---- where ---------------------------------------------------------------------------------------------------------

struct opening {
	struct control_socket_settings settings;
	const struct control_socket_ops *ops;
	void *owner;
	struct control_socket **socket;
};

static int try(const struct opening *opening, const char *path)
{
	struct address address;
	char text[PLACES_PATH_BYTES + 8];
	snprintf(text, sizeof text, "unix:%.*s", (int)PLACES_PATH_BYTES, path);
	if (address_parse(text, &address) != 0)
		return -ENAMETOOLONG;
	int r = control_socket_open(&opening->settings, &address, opening->ops, opening->owner, opening->socket);
	if (r == 0)
		log_info("tunnel", "control socket: %s", path);
	return r;
}

static int open_named(const struct opening *opening, const char *path)
{
	int r = try(opening, path);
	if (r == 0)
		return 0;
	log_error("tunnel", "cannot open %s (control.socket): %s%s", path, outcome_text(r),
	          r == -EADDRINUSE ? "; another process answers there" : "");
	return 1;
}

static int open_in(const struct opening *opening, const char *folder, const char *command)
{
	char path[PLACES_PATH_BYTES + 32];
	// Only the place of our own is made; the folder above it belongs to the system or the user.
	if (mkdir(folder, 0755) != 0 && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof path, "%s/%s.sock", folder, command);
	int r = try(opening, path);
	// A second node of this kind.
	if (r == -EADDRINUSE) {
		snprintf(path, sizeof path, "%s/%s-%d.sock", folder, command, (int)getpid());
		r = try(opening, path);
	}
	return r;
}

static int open_anywhere(const struct opening *opening, const char *command)
{
	struct places places;
	int r = -ENAMETOOLONG;
	places_list(&places);
	for (size_t i = 0; i < places.count; i++)
		if ((r = open_in(opening, places.folders[i], command)) == 0)
			return 0;
	log_info("tunnel", "no control socket: %s: %s; control.socket names another place",
	         places.count ? places.folders[places.count - 1] : "the default place", outcome_text(r));
	return 0;
}

int tunnel_socket_open(const struct config *config, const char *command, struct loop *loop,
                       const struct control_socket_ops *ops, void *owner, struct control_socket **socket)
{
	// jansson reads /dev/urandom for its first object: now, not when a stranger asks.
	json_object_seed(0);
	if (config->control.socket && strcmp(config->control.socket, "off") == 0)
		return 0;
	uint32_t *uids = resolve(config->control.allowed_users, config->control.allowed_user_count, find_user,
	                         "control.allowed_users");
	uint32_t *gids = resolve(config->control.allowed_groups, config->control.allowed_group_count, find_group,
	                         "control.allowed_groups");
	struct opening opening = {.settings = {.loop = loop,
	                                       .uids = uids,
	                                       .uid_count = config->control.allowed_user_count,
	                                       .gids = gids,
	                                       .gid_count = config->control.allowed_group_count},
	                          .ops = ops,
	                          .owner = owner,
	                          .socket = socket};
	int status = 2;
	if (uids && gids)
		status = config->control.socket ? open_named(&opening, config->control.socket)
		                                : open_anywhere(&opening, command);
	free(uids);
	free(gids);
	return status;
}

// ---- reports -------------------------------------------------------------------------------------------------------

static struct reload_names names_of(const struct config_names *list)
{
	return (struct reload_names){.names = list->names, .count = list->count};
}

void tunnel_socket_report(bool ok, const struct config_reload *outcome, reload_answer_fn answer, void *to)
{
	struct reload_report report = {.ok = ok,
	                               .problems = names_of(&outcome->problems),
	                               .changed = names_of(&outcome->changed),
	                               .needs_restart = names_of(&outcome->needs_restart)};
	answer(to, &report);
}
