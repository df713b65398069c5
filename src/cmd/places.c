#include "cmd/places.h"

#include "core/outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// "/source-4194304.sock"
#define NAME_BYTES 24

static void add(struct places *places, const char *folder, size_t length, const char *below)
{
	char *to = places->folders[places->count];
	if (length == 0 || length + strlen(below) + NAME_BYTES > PLACES_PATH_BYTES)
		return;
	snprintf(to, PLACES_PATH_BYTES, "%.*s%s", (int)length, folder, below);
	places->count++;
}

void places_list(struct places *places)
{
	const char *service = getenv("RUNTIME_DIRECTORY"), *user = getenv("XDG_RUNTIME_DIR");
	*places = (struct places){0};
	if (service && *service) {
		// There may be several, separated by colons: the first is ours.
		add(places, service, strcspn(service, ":"), "");
		return;
	}
	add(places, "/run/qanat", strlen("/run/qanat"), "");
	if (user)
		add(places, user, strlen(user), "/qanat");
}
