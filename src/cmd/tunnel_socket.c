#include "cmd/tunnel_socket.h"

#include "cmd/accounts.h"
#include "cmd/places.h"
#include "core/log.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
	uint32_t *uids = accounts_users(config->control.allowed_users, config->control.allowed_user_count,
	                                "control.allowed_users");
	uint32_t *gids = accounts_groups(config->control.allowed_groups, config->control.allowed_group_count,
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
