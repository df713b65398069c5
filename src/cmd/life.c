#include "cmd/life.h"

#include "node/expiry.h"

#include <errno.h>
#include <stdlib.h>

#define DAY_S 86400ULL

struct life {
	struct loop *loop;
	life_reload_fn reload;
	void *owner;
	struct expiry *expiry;
};

int life_open(struct loop *loop, life_reload_fn reload, void *owner, struct life **out)
{
	struct life *life = calloc(1, sizeof *life);

	if (!life)
		return -ENOMEM;
	life->loop = loop;
	life->reload = reload;
	life->owner = owner;
	int r = expiry_open(loop, &life->expiry);
	if (r < 0)
		life_close(&life);
	else
		*out = life;
	return r;
}

void life_close(struct life **slot)
{
	struct life *life = *slot;

	*slot = NULL;
	if (!life)
		return;
	expiry_close(&life->expiry);
	free(life);
}

void life_set(struct life *life, const struct config *config, const struct identity *identity)
{
	const struct expiry_thresholds thresholds = {.notice_s = config->expiry.notice_days * DAY_S,
	                                             .warning_s = config->expiry.warning_days * DAY_S,
	                                             .urgent_s = config->expiry.urgent_days * DAY_S};
	struct lifetime lifetimes[LIFETIME_PER_IDENTITY];

	expiry_set(life->expiry, &thresholds, lifetimes, lifetime_read(identity, 1, lifetimes));
}

void life_show(struct life *life, struct status_node *status)
{
	expiry_show(life->expiry, status);
}
