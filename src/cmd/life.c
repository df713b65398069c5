#include "cmd/life.h"

#include "core/log.h"
#include "limits.h"
#include "node/expiry.h"
#include "node/watch.h"

#include <errno.h>
#include <stdlib.h>

#define DAY_S 86400ULL

struct life {
	struct loop *loop;
	life_reload_fn reload;
	void *owner;
	struct expiry *expiry;
	struct watch *watch;
};

static void on_files_changed(void *owner)
{
	struct life *life = owner;
	life->reload(life->owner);
}

int life_open(struct loop *loop, life_reload_fn reload, void *owner, struct life **out)
{
	struct life *life = calloc(1, sizeof *life);

	if (!life)
		return -ENOMEM;
	life->loop = loop;
	life->reload = reload;
	life->owner = owner;
	int r = expiry_open(loop, &life->expiry);
	if (r == 0)
		r = watch_open(loop, on_files_changed, life, &life->watch);
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
	watch_close(&life->watch);
	free(life);
}

static void set_watch(struct life *life, const struct config *config)
{
	const char *paths[LIMIT_WATCHED_FILES + 1];
	size_t count = 0;

	if (config->path)
		paths[count++] = config->path;
	paths[count++] = config->auth.ca_cert_path;
	paths[count++] = config->auth.cert_path;
	paths[count++] = config->auth.key_path;
	for (size_t i = 0; i < config->auth.crl_count && count < COUNT_OF(paths); i++)
		paths[count++] = config->auth.crl_paths[i];
	int r = watch_set(life->watch, paths, config->node.watch_files ? count : 0);
	if (r < 0)
		log_error("life", "changes of files are not seen: %s", outcome_text(r));
}

void life_mark(struct life *life)
{
	watch_mark(life->watch);
}

void life_set(struct life *life, const struct config *config, const struct identity *identity)
{
	const struct expiry_thresholds thresholds = {.notice_s = config->expiry.notice_days * DAY_S,
	                                             .warning_s = config->expiry.warning_days * DAY_S,
	                                             .urgent_s = config->expiry.urgent_days * DAY_S};
	struct lifetime lifetimes[LIFETIME_PER_IDENTITY];

	expiry_set(life->expiry, &thresholds, lifetimes, lifetime_read(identity, 1, lifetimes));
	set_watch(life, config);
}

void life_show(struct life *life, struct status_node *status)
{
	expiry_show(life->expiry, status);
}
