#include "node/expiry.h"

#include "core/clock.h"
#include "core/log.h"
#include "limits.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPIRY_DAY_S 86400
#define EXPIRY_HOUR_S 3600
// The wall clock may be set at any time, so it is looked at as often at least.
#define EXPIRY_LOOK_MS (10 * 60 * 1000ULL)

_Static_assert(LIMIT_LIFETIMES == STATUS_CERTIFICATES, "all of them are shown");

struct watched {
	struct lifetime lifetime;
	enum expiry_stage said; // the stage of the last line
	int64_t said_at;
};

struct expiry {
	struct loop *loop;
	struct loop_timer *timer;
	pthread_mutex_t lock; // what the HTTP thread reads as well
	struct expiry_thresholds thresholds;
	struct watched list[LIMIT_LIFETIMES];
	size_t count;
};

// ---- judgement -----------------------------------------------------------------------------------------------------

const char *expiry_stage_name(enum expiry_stage stage)
{
	switch (stage) {
	case EXPIRY_FINE:
		return "valid";
	case EXPIRY_NOTICE:
		return "expires soon";
	case EXPIRY_WARNING:
		return "expires very soon";
	case EXPIRY_URGENT:
		return "about to expire";
	case EXPIRY_OVER:
		return "expired";
	}
	return "";
}

// When each stage begins.
static void moments(const struct expiry_thresholds *thresholds, const struct lifetime *lifetime,
                    int64_t out[EXPIRY_OVER + 1])
{
	double life = (double)(lifetime->until - lifetime->from), notice = (double)thresholds->notice_s;
	double scale = life > 0 && life / 4 < notice ? life / 4 / notice : 1;

	out[EXPIRY_FINE] = INT64_MIN;
	out[EXPIRY_NOTICE] = lifetime->until - (int64_t)(notice * scale);
	out[EXPIRY_WARNING] = lifetime->until - (int64_t)((double)thresholds->warning_s * scale);
	out[EXPIRY_URGENT] = lifetime->until - (int64_t)((double)thresholds->urgent_s * scale);
	out[EXPIRY_OVER] = lifetime->until;
}

enum expiry_stage expiry_judge(const struct expiry_thresholds *thresholds, const struct lifetime *lifetime, int64_t now)
{
	int64_t from[EXPIRY_OVER + 1];
	unsigned stage = EXPIRY_OVER;

	moments(thresholds, lifetime, from);
	while (stage > EXPIRY_FINE && now < from[stage])
		stage--;
	return (enum expiry_stage)stage;
}

int64_t expiry_next(const struct expiry_thresholds *thresholds, const struct lifetime *lifetime, int64_t now)
{
	int64_t from[EXPIRY_OVER + 1];

	moments(thresholds, lifetime, from);
	for (unsigned stage = EXPIRY_NOTICE; stage <= EXPIRY_OVER; stage++)
		if (from[stage] > now)
			return from[stage];
	return 0;
}

// ---- words ---------------------------------------------------------------------------------------------------------

static const struct {
	const char *what, *advice;
} words[] = {
	[LIFETIME_OWN] = {"our certificate", "have it renewed (`qanat cert renew`, or [renewal]) and reload"},
	[LIFETIME_CHAIN] = {"an intermediate certificate of ours", "have our certificate issued again under a newer one"},
	[LIFETIME_CA] = {"the CA certificate", "every certificate under it ends with it: give every node a new CA's "
                                           "certificate beside it in good time"},
	[LIFETIME_LIST] = {"the revocation list of", "put the next one in its place and reload: after its end every peer "
                                                 "is refused"},
};
_Static_assert(COUNT_OF(words) == LIFETIME_ROLE_COUNT, "words for each");

static void left_text(int64_t seconds, char text[48])
{
	if (seconds <= 0)
		snprintf(text, 48, "over");
	else if (seconds >= 2 * EXPIRY_DAY_S)
		snprintf(text, 48, "in %" PRId64 " days", seconds / EXPIRY_DAY_S);
	else if (seconds >= 2 * EXPIRY_HOUR_S)
		snprintf(text, 48, "in %" PRId64 " hours", seconds / EXPIRY_HOUR_S);
	else
		snprintf(text, 48, "in %" PRId64 " seconds", seconds);
}

static void sentence(const struct lifetime *lifetime, int64_t now, char *text, size_t size)
{
	char date[32] = "", left[48];
	struct tm parts;
	time_t until = (time_t)lifetime->until;

	if (gmtime_r(&until, &parts))
		(void)strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S UTC", &parts);
	left_text(lifetime->until - now, left);
	if (lifetime->until > now)
		snprintf(text, size, "%s %.100s ends %s (%s)", words[lifetime->role].what, lifetime->subject, left, date);
	else
		snprintf(text, size, "%s %.100s has ended (%s)", words[lifetime->role].what, lifetime->subject, date);
}

// ---- the watch -----------------------------------------------------------------------------------------------------

static void say(struct watched *watched, enum expiry_stage stage, int64_t now)
{
	char text[256];

	sentence(&watched->lifetime, now, text, sizeof text);
	log_write(stage == EXPIRY_OVER ? LOG_ERROR : LOG_WARN, "expiry", "%s: %s", text,
	          words[watched->lifetime.role].advice);
	watched->said = stage;
	watched->said_at = now;
}

// Only worker 0 changes the list, so it reads without the lock.
static void look(struct expiry *expiry)
{
	int64_t now = clock_wall_s();
	uint64_t delay_ms = EXPIRY_LOOK_MS;

	for (size_t i = 0; i < expiry->count; i++) {
		struct watched *watched = &expiry->list[i];
		enum expiry_stage stage = expiry_judge(&expiry->thresholds, &watched->lifetime, now);
		bool is_daily = stage > EXPIRY_FINE && now - watched->said_at >= EXPIRY_DAY_S;
		if (stage > watched->said || is_daily)
			say(watched, stage, now);
		else if (stage < watched->said)
			watched->said = stage; // the clock was set back
		int64_t next = expiry_next(&expiry->thresholds, &watched->lifetime, now);
		if (next > now && (uint64_t)(next - now) * 1000 < delay_ms)
			delay_ms = (uint64_t)(next - now) * 1000;
	}
	loop_timer_arm(expiry->timer, delay_ms, 0);
}

static void on_due(void *owner)
{
	look(owner);
}

int expiry_open(struct loop *loop, struct expiry **out)
{
	struct expiry *expiry = calloc(1, sizeof *expiry);

	if (!expiry)
		return -ENOMEM;
	expiry->loop = loop;
	pthread_mutex_init(&expiry->lock, NULL);
	int r = loop_timer_open(loop, on_due, expiry, &expiry->timer);
	if (r < 0)
		expiry_close(&expiry);
	else
		*out = expiry;
	return r;
}

void expiry_close(struct expiry **slot)
{
	struct expiry *expiry = *slot;

	*slot = NULL;
	if (!expiry)
		return;
	loop_timer_close(&expiry->timer);
	pthread_mutex_destroy(&expiry->lock);
	free(expiry);
}

static bool is_same(const struct lifetime *a, const struct lifetime *b)
{
	return a->role == b->role && a->until == b->until && strcmp(a->subject, b->subject) == 0;
}

void expiry_set(struct expiry *expiry, const struct expiry_thresholds *thresholds, const struct lifetime *lifetimes,
                size_t count)
{
	struct watched fresh[LIMIT_LIFETIMES] = {0};

	if (count > LIMIT_LIFETIMES)
		count = LIMIT_LIFETIMES;
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < expiry->count; j++)
			if (is_same(&expiry->list[j].lifetime, &lifetimes[i]))
				fresh[i] = expiry->list[j];
		fresh[i].lifetime = lifetimes[i];
	}
	pthread_mutex_lock(&expiry->lock);
	expiry->thresholds = *thresholds;
	memcpy(expiry->list, fresh, sizeof fresh);
	expiry->count = count;
	pthread_mutex_unlock(&expiry->lock);
	look(expiry);
}

void expiry_show(struct expiry *expiry, struct status_node *status)
{
	int64_t now = clock_wall_s();
	enum expiry_stage worst = EXPIRY_WARNING;
	char text[256] = "";

	pthread_mutex_lock(&expiry->lock);
	status->certificate_count = expiry->count;
	for (size_t i = 0; i < expiry->count; i++) {
		const struct lifetime *lifetime = &expiry->list[i].lifetime;
		enum expiry_stage stage = expiry_judge(&expiry->thresholds, lifetime, now);
		struct status_certificate *to = &status->certificates[i];
		*to = (struct status_certificate){.role = lifetime_role_name(lifetime->role),
		                                  .number = lifetime->number,
		                                  .not_before = lifetime->from,
		                                  .not_after = lifetime->until,
		                                  .state = expiry_stage_name(stage)};
		memcpy(to->subject, lifetime->subject, sizeof to->subject);
		if (stage <= worst)
			continue;
		worst = stage;
		sentence(lifetime, now, text, sizeof text);
	}
	pthread_mutex_unlock(&expiry->lock);
	if (!text[0] || strcmp(status->health, "Healthy") != 0)
		return;
	status->health = "Degraded";
	memcpy(status->message, text, sizeof status->message);
}
