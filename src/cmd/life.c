#include "cmd/life.h"

#include "core/log.h"
#include "limits.h"
#include "node/expiry.h"
#include "node/renewer.h"
#include "node/watch.h"
#include "policy/span.h"

#include <errno.h>
#include <stdlib.h>

#define DAY_S 86400ULL
// A certificate and its key are written one after the other.
#define QUIET_MS 1000

static struct renewal_files renewal_files_of(const struct config *config, const struct identity_files *files)
{
	static const enum issue_key kinds[] = {[CONFIG_RENEWAL_P256] = ISSUE_KEY_P256,
	                                       [CONFIG_RENEWAL_ED25519] = ISSUE_KEY_ED25519,
	                                       [CONFIG_RENEWAL_ML_DSA_65] = ISSUE_KEY_ML_DSA_65,
	                                       [CONFIG_RENEWAL_ML_DSA_87] = ISSUE_KEY_ML_DSA_87};
	enum config_renewal_key key = config->renewal.key;

	return (struct renewal_files){.identity = *files,
	                              .new_key = key != CONFIG_RENEWAL_SAME,
	                              .other_algorithm = key >= CONFIG_RENEWAL_P256,
	                              .key = kinds[key]};
}

int life_check(const struct config *config, const struct identity_files *files, char problem[LIFE_PROBLEM_BYTES])
{
	const struct renewal_files renewal = renewal_files_of(config, files);

	return config->renewal.method == CONFIG_RENEWAL_OFF ? 0 : renewal_check(&renewal, problem);
}

int life_prepare(const struct config *config, const struct identity_files *files)
{
	const struct renewal_files renewal = renewal_files_of(config, files);
	char problem[LIFE_PROBLEM_BYTES] = "";
	bool moved = false;

	if (config->renewal.method == CONFIG_RENEWAL_OFF)
		return 0;
	int r = renewal_recover(&renewal, &moved, problem);
	if (moved)
		log_info("life", "a renewal that was interrupted is complete now: %s", files->cert_path);
	if (r == 0)
		r = renewal_check(&renewal, problem);
	if (r == 0)
		return 0;
	log_error("life", "%s", r < 0 ? outcome_text(r) : problem);
	return 1;
}

struct life {
	struct loop *loop;
	life_reload_fn reload;
	void *owner;
	struct expiry *expiry;
	struct watch *watch;
	struct renewer *renewer;
};

static void on_files_changed(void *owner)
{
	struct life *life = owner;
	(void)life->reload(life->owner);
}

static bool on_renewed(void *owner)
{
	struct life *life = owner;
	return life->reload(life->owner);
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
		r = watch_open(loop, QUIET_MS, on_files_changed, life, &life->watch);
	if (r == 0)
		r = renewer_open(loop, on_renewed, life, &life->renewer);
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
	renewer_close(&life->renewer);
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

static void set_renewer(struct life *life, const struct config *config, const struct identity_files *files,
                        const struct lifetime *own)
{
	static const enum renewer_method methods[] = {
		[CONFIG_RENEWAL_OFF] = RENEWER_OFF, [CONFIG_RENEWAL_DROP] = RENEWER_DROP, [CONFIG_RENEWAL_LINK] = RENEWER_LINK};
	struct renewer_settings settings = {
		.method = methods[config->renewal.method],
		.files = renewal_files_of(config, files),
		.folder = config->renewal.drop_folder,
		.name = config->renewal.name ? config->renewal.name : config->node.name,
		.endpoint = config->renewal.endpoint,
		.retry_s = config->renewal.retry_seconds,
		.retry_max_s = config->renewal.retry_max_seconds,
		.from = own->from,
		.until = own->until,
	};
	int r = span_parse_any(config->renewal.before, &settings.before);

	if (r == 0)
		r = renewer_set(life->renewer, &settings);
	if (r != 0)
		log_error("life", "our certificate will not be renewed: out of memory");
}

void life_set(struct life *life, const struct config *config, const struct identity_files *files,
              const struct identity *identity)
{
	const struct expiry_thresholds thresholds = {.notice_s = config->expiry.notice_days * DAY_S,
	                                             .warning_s = config->expiry.warning_days * DAY_S,
	                                             .urgent_s = config->expiry.urgent_days * DAY_S};
	struct lifetime lifetimes[LIFETIME_PER_IDENTITY];

	size_t count = lifetime_read(identity, 1, lifetimes);

	expiry_set(life->expiry, &thresholds, lifetimes, count);
	set_renewer(life, config, files, &lifetimes[0]); // our own is the first
	set_watch(life, config);
}

void life_show(struct life *life, struct status_node *status)
{
	expiry_show(life->expiry, status);
	renewer_show(life->renewer, status);
}
