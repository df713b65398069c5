#include "node/renewer_internal.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "crypto/digest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The wall clock may be set at any time, so it is looked at as often at least.
#define RENEWER_LOOK_S 600
#define THOUSAND 1000U

static unsigned random_below(unsigned most)
{
	uint32_t number;
	random_bytes(&number, sizeof number);
	return number % most;
}

// ---- time ----------------------------------------------------------------------------------------------------------

void renewer_enter(struct renewer *renewer, enum renewer_state state, int64_t next)
{
	pthread_mutex_lock(&renewer->lock);
	renewer->state = state;
	renewer->next = next;
	pthread_mutex_unlock(&renewer->lock);
}

static void arm(struct renewer *renewer)
{
	int64_t left = renewer->next - clock_wall_s();
	if (left > RENEWER_LOOK_S)
		left = RENEWER_LOOK_S;
	loop_timer_arm(renewer->timer, left > 0 ? (uint64_t)left * 1000 : 0, 0);
}

// Twice as long after each failure, and up to a quarter more, so that nodes that failed together do not come back
// together.
static void pause_after_failure(struct renewer *renewer, enum renewer_state state)
{
	uint64_t delay = renewer->settings.retry_s;

	for (unsigned i = 0; i < renewer->failures && delay < renewer->settings.retry_max_s; i++)
		delay *= 2;
	if (delay > renewer->settings.retry_max_s)
		delay = renewer->settings.retry_max_s;
	renewer->failures++;
	renewer_enter(renewer, state, clock_wall_s() + (int64_t)(delay + delay * random_below(THOUSAND) / THOUSAND / 4));
	arm(renewer);
}

// ---- an exchange ---------------------------------------------------------------------------------------------------

static void stop_exchange(struct renewer *renewer)
{
	renewer_drop_stop(renewer);
	renewer_link_stop(renewer);
	loop_timer_disarm(renewer->timer);
}

static void keep_error(struct renewer *renewer, const char *why)
{
	pthread_mutex_lock(&renewer->lock);
	snprintf(renewer->last_error, sizeof renewer->last_error, "%s", why);
	pthread_mutex_unlock(&renewer->lock);
}

void renewer_failed(struct renewer *renewer, const char *why)
{
	stop_exchange(renewer);
	counter_add(COUNTER_RENEWAL_FAILED, 1);
	keep_error(renewer, why);
	pause_after_failure(renewer, RENEWER_PAUSED);
	log_warn("renewer", "our certificate was not renewed: %s; the next try is in %" PRId64 " s", why,
	         renewer->next - clock_wall_s());
}

// The owner sets us anew when it can take the files into use; nothing of ours may be touched after that.
static void tell_owner(struct renewer *renewer)
{
	pause_after_failure(renewer, RENEWER_TAKEN);
	if (!renewer->on_renewed(renewer->owner))
		log_error("renewer", "the renewed certificate is on the disk, but the reload was refused (see above); it is "
		                     "tried again");
}

void renewer_done(struct renewer *renewer)
{
	stop_exchange(renewer);
	counter_add(COUNTER_RENEWAL_OK, 1);
	keep_error(renewer, "");
	renewer->failures = 0;
	log_info("renewer", "our certificate was renewed: %s", renewer->settings.files.identity.cert_path);
	tell_owner(renewer);
}

static void on_due(void *owner)
{
	struct renewer *renewer = owner;

	bool is_link = renewer->settings.method == RENEWER_LINK;
	if (renewer->state == RENEWER_ASKING) {
		(is_link ? renewer_link_look : renewer_drop_look)(renewer);
		return;
	}
	if (clock_wall_s() < renewer->next) {
		arm(renewer);
		return;
	}
	if (renewer->state == RENEWER_TAKEN)
		tell_owner(renewer);
	else
		(is_link ? renewer_link_start : renewer_drop_start)(renewer);
}

// ---- settings ------------------------------------------------------------------------------------------------------

static void forget_texts(struct renewer *renewer)
{
	while (renewer->text_count > 0)
		free(renewer->texts[--renewer->text_count]);
	free(renewer->crl_paths);
	renewer->crl_paths = NULL;
}

// NULL stays NULL; NULL as well when there is no memory, with *bad set.
static char *keep(struct renewer *renewer, const char *text, bool *bad)
{
	if (!text)
		return NULL;
	char *copy = renewer->text_count < RENEWER_TEXTS ? strdup(text) : NULL;
	if (copy)
		renewer->texts[renewer->text_count++] = copy;
	else
		*bad = true;
	return copy;
}

static int copy_settings(struct renewer *renewer, const struct renewer_settings *settings)
{
	struct renewer_settings *own = &renewer->settings;
	struct identity_files *files = &own->files.identity;
	size_t count = settings->files.identity.crl_count;
	bool bad = false;

	forget_texts(renewer);
	*own = *settings;
	files->ca_path = keep(renewer, files->ca_path, &bad);
	files->cert_path = keep(renewer, files->cert_path, &bad);
	files->key_path = keep(renewer, files->key_path, &bad);
	own->folder = keep(renewer, own->folder, &bad);
	own->name = keep(renewer, own->name, &bad);
	own->endpoint = keep(renewer, own->endpoint, &bad);
	renewer->crl_paths = calloc(count + 1, sizeof *renewer->crl_paths);
	for (size_t i = 0; i < count && renewer->crl_paths; i++)
		renewer->crl_paths[i] = keep(renewer, settings->files.identity.crl_paths[i], &bad);
	files->crl_paths = (const char *const *)renewer->crl_paths;
	return bad || !renewer->crl_paths ? -ENOMEM : 0;
}

// Never in the first eighth of its life: `before` may be longer than that, and each renewal would start the next one.
static int64_t due_of(const struct renewer *renewer)
{
	const struct renewer_settings *settings = &renewer->settings;
	uint64_t life = settings->until > settings->from ? (uint64_t)(settings->until - settings->from) : 0;
	uint64_t before = span_of(&settings->before, life);

	int64_t due = settings->until - (int64_t)(before + before * renewer->jitter / THOUSAND / 10);
	int64_t soonest = settings->from + (int64_t)(life / 8);
	return due > soonest ? due : soonest;
}

int renewer_set(struct renewer *renewer, const struct renewer_settings *settings)
{
	stop_exchange(renewer);
	int r = copy_settings(renewer, settings);
	if (r < 0)
		renewer->settings.method = RENEWER_OFF;
	pthread_mutex_lock(&renewer->lock);
	renewer->method = renewer->settings.method;
	renewer->due = due_of(renewer);
	pthread_mutex_unlock(&renewer->lock);
	renewer->failures = 0;
	renewer_enter(renewer, RENEWER_IDLE, renewer->due);
	if (renewer->method != RENEWER_OFF)
		arm(renewer);
	return r;
}

int renewer_open(struct loop *loop, renewer_fn on_renewed, void *owner, struct renewer **out)
{
	struct renewer *renewer = calloc(1, sizeof *renewer);

	if (!renewer)
		return -ENOMEM;
	renewer->loop = loop;
	renewer->on_renewed = on_renewed;
	renewer->owner = owner;
	renewer->fd = -1;
	renewer->jitter = random_below(THOUSAND);
	pthread_mutex_init(&renewer->lock, NULL);
	int r = loop_timer_open(loop, on_due, renewer, &renewer->timer);
	if (r < 0)
		renewer_close(&renewer);
	else
		*out = renewer;
	return r;
}

void renewer_close(struct renewer **slot)
{
	struct renewer *renewer = *slot;

	*slot = NULL;
	if (!renewer)
		return;
	renewer_drop_stop(renewer);
	renewer_link_stop(renewer);
	loop_timer_close(&renewer->timer);
	forget_texts(renewer);
	pthread_mutex_destroy(&renewer->lock);
	free(renewer);
}

// ---- what people see -----------------------------------------------------------------------------------------------

static const char *state_name(enum renewer_state state)
{
	switch (state) {
	case RENEWER_IDLE:
		return "waiting until it is due";
	case RENEWER_ASKING:
		return "asked the CA";
	case RENEWER_PAUSED:
		return "failed, trying again";
	case RENEWER_TAKEN:
		return "renewed, not in use yet";
	}
	return "";
}

void renewer_show(struct renewer *renewer, struct status_renewal *renewal)
{
	static const char *const methods[] = {NULL, "drop", "link"};

	pthread_mutex_lock(&renewer->lock);
	*renewal = (struct status_renewal){.method = methods[renewer->method],
	                                   .state = state_name(renewer->state),
	                                   .due = renewer->due,
	                                   .next = renewer->next};
	memcpy(renewal->last_error, renewer->last_error, sizeof renewer->last_error);
	pthread_mutex_unlock(&renewer->lock);
}
