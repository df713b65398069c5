// The folder in which devices appear, and their sockets in it. Every socket is made in a private sub-folder with its
// mode, owner and group, and then moved to its name, so nobody ever sees it otherwise; nothing that is there already is
// replaced but a socket of ours that nobody answers. Paths are not followed twice: everything goes through a handle of
// the folder. On one loop.

#pragma once

#include "core/loop.h"
#include "core/outcome.h"

#include <sys/types.h>

struct doors;
struct door;

// The owner of the door takes fd.
typedef void (*door_fn)(void *owner, int fd);

struct doors_settings {
	struct loop *loop;
	const char *path; // of the folder
	mode_t mode;
	uid_t uid; // (uid_t)-1: ours
	gid_t gid; // (gid_t)-1: ours
	door_fn on_accept;
};

// DOORS_REFUSED: `problem` says why, for people.
enum { DOORS_REFUSED = 1 };
#define DOORS_PROBLEM_BYTES 256
MUST_USE int doors_new(const struct doors_settings *settings, struct doors **doors, char problem[DOORS_PROBLEM_BYTES]);
// Mode, owner and group of the sockets that are made from now on.
void doors_set(struct doors *doors, mode_t mode, uid_t uid, gid_t gid);
// After every door.
void doors_free(struct doors **doors);

// `name` is a file name. DOOR_TAKEN: something else has it.
enum { DOOR_TAKEN = 1 };
MUST_USE int door_open(struct doors *doors, const char *name, void *owner, struct door **door);
// Removes the name, when it is still this socket.
void door_close(struct door **door);
