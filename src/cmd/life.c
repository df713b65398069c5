#include "cmd/life.h"

#include "core/log.h"
#include "limits.h"
#include "node/expiry.h"
#include "node/renewer.h"
#include "node/watch.h"
#include "policy/span.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int life_check(const struct config *config, const struct life_files *files, char problem[LIFE_PROBLEM_BYTES])
{
	int r = 0;

	for (size_t i = 0; i < files->count && r == 0 && config->renewal.method != CONFIG_RENEWAL_OFF; i++) {
		const struct renewal_files renewal = renewal_files_of(config, &files->list[i]);
		r = renewal_check(&renewal, problem);
	}
	return r;
}

static int recover(const struct renewal_files *renewal, char problem[LIFE_PROBLEM_BYTES])
{
	bool moved = false;

	int r = renewal_recover(renewal, &moved, problem);
	if (moved)
		log_info("life", "a renewal that was interrupted is complete now: %s", renewal->identity.cert_path);
	return r;
}

int life_prepare(const struct config *config, const struct life_files *files)
{
	char problem[LIFE_PROBLEM_BYTES] = "";
	int r = 0;

	for (size_t i = 0; i < files->count && r == 0 && config->renewal.method != CONFIG_RENEWAL_OFF; i++) {
		const struct renewal_files renewal = renewal_files_of(config, &files->list[i]);
		r = recover(&renewal, problem);
	}
	if (r == 0)
		r = life_check(config, files, problem);
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
	struct renewer *renewers[LIFE_CERTIFICATES];
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
	for (size_t i = 0; i < LIFE_CERTIFICATES && r == 0; i++)
		r = renewer_open(loop, on_renewed, life, &life->renewers[i]);
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
	for (size_t i = 0; i < LIFE_CERTIFICATES; i++)
		if (life->renewers[i])
			renewer_close(&life->renewers[i]);
	free(life);
}

struct paths {
	const char *list[LIMIT_WATCHED_FILES];
	size_t count;
};

static void add_path(struct paths *paths, const char *path)
{
	for (size_t i = 0; i < paths->count; i++)
		if (path && strcmp(paths->list[i], path) == 0)
			return;
	if (path && paths->count < COUNT_OF(paths->list))
		paths->list[paths->count++] = path;
}

static void set_watch(struct life *life, const struct config *config, const struct life_files *files)
{
	struct paths paths = {0};

	add_path(&paths, config->path);
	for (size_t i = 0; i < files->count; i++) {
		const struct identity_files *own = &files->list[i];
		add_path(&paths, own->ca_path);
		add_path(&paths, own->cert_path);
		add_path(&paths, own->key_path);
		add_path(&paths, own->ocsp_path);
		for (size_t k = 0; k < own->crl_count; k++)
			add_path(&paths, own->crl_paths[k]);
	}
	// Whom a proxy believes, when it has no certificate of its own or that is another CA's.
	add_path(&paths, config->proxy.ca_cert_path);
	for (size_t i = 0; i < config->proxy.crl_count; i++)
		add_path(&paths, config->proxy.crl_paths[i]);
	add_path(&paths, config->hub.deny_path);
	int r = watch_set(life->watch, paths.list, config->node.watch_files ? paths.count : 0);
	if (r < 0)
		log_error("life", "changes of files are not seen: %s", outcome_text(r));
}

void life_mark(struct life *life)
{
	watch_mark(life->watch);
}

// The names that several certificates of one node have in a drop folder: NAME, NAME-2, NAME-3.
static const char *name_of(const struct config *config, size_t index, char text[LIMIT_DROP_NAME_BYTES + 1])
{
	const char *name = config->renewal.name ? config->renewal.name : config->node.name;

	if (index == 0 || !name)
		return name;
	snprintf(text, LIMIT_DROP_NAME_BYTES + 1, "%.*s-%zu", LIMIT_DROP_NAME_BYTES - 3, name, index + 1);
	return text;
}

static void set_renewer(struct life *life, const struct config *config, const struct identity_files *files,
                        size_t index, const struct lifetime *own)
{
	static const enum renewer_method methods[] = {
		[CONFIG_RENEWAL_OFF] = RENEWER_OFF, [CONFIG_RENEWAL_DROP] = RENEWER_DROP, [CONFIG_RENEWAL_LINK] = RENEWER_LINK};
	char name[LIMIT_DROP_NAME_BYTES + 1];
	struct renewer_settings settings = {
		.method = methods[config->renewal.method],
		.files = renewal_files_of(config, files),
		.folder = config->renewal.drop_folder,
		.name = name_of(config, index, name),
		.endpoint = config->renewal.endpoint,
		.retry_s = config->renewal.retry_seconds,
		.retry_max_s = config->renewal.retry_max_seconds,
		.from = own->from,
		.until = own->until,
	};
	int r = span_parse_any(config->renewal.before, &settings.before);

	if (r == 0)
		r = renewer_set(life->renewers[index], &settings);
	if (r != 0)
		log_error("life", "our certificate will not be renewed: out of memory");
}

static void stop_renewer(struct renewer *renewer)
{
	(void)!renewer_set(renewer, &(struct renewer_settings){.method = RENEWER_OFF});
}

void life_set(struct life *life, const struct config *config, const struct life_files *files,
              const struct life_identities *identities)
{
	const struct expiry_thresholds thresholds = {.notice_s = config->expiry.notice_days * DAY_S,
	                                             .warning_s = config->expiry.warning_days * DAY_S,
	                                             .urgent_s = config->expiry.urgent_days * DAY_S};
	struct lifetime lifetimes[LIFE_CERTIFICATES * LIFETIME_PER_IDENTITY + LIFETIME_PER_STORE];
	size_t count = 0;

	for (size_t i = 0; i < LIFE_CERTIFICATES; i++) {
		if (i >= identities->count) {
			stop_renewer(life->renewers[i]);
			continue;
		}
		struct lifetime *own = &lifetimes[count]; // the first of what is read
		count += lifetime_read(identities->list[i], (unsigned)i + 1, own);
		if (i < files->count)
			set_renewer(life, config, &files->list[i], i, own);
	}
	if (identities->believed)
		count += lifetime_read_store(identities->believed, 1, &lifetimes[count]);
	expiry_set(life->expiry, &thresholds, lifetimes, count);
	set_watch(life, config, files);
}

// Of several the one that has failed, or is due first.
static void show_renewal(struct life *life, struct status_renewal *shown)
{
	for (size_t i = 0; i < LIFE_CERTIFICATES; i++) {
		struct status_renewal one;
		renewer_show(life->renewers[i], &one);
		if (!one.method)
			continue;
		bool is_worse = one.last_error[0] && !shown->last_error[0];
		bool is_sooner = !one.last_error[0] == !shown->last_error[0] && one.next < shown->next;
		if (!shown->method || is_worse || is_sooner)
			*shown = one;
	}
}

void life_show(struct life *life, struct status_node *status)
{
	expiry_show(life->expiry, status);
	show_renewal(life, &status->renewal);
}
