#include "flow/probes.h"

#include "core/clock.h"
#include "core/log.h"
#include "net/dial.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct probe { // of one target
	struct probes *probes;
	size_t index;
	uint64_t due_ms;
	struct dial *dial;
};

struct probes {
	struct loop *loop;
	struct loop_timer *timer;
	struct targets *targets;
	struct probes_settings settings;
	struct probe *probe;
	size_t count;
	uint32_t random;
};

// A timer for all: checks are seconds apart.
#define TICK_MS 50

// xorshift32: spreads the checks, protects nothing.
static uint32_t draw(struct probes *probes)
{
	probes->random ^= probes->random << 13;
	probes->random ^= probes->random >> 17;
	probes->random ^= probes->random << 5;
	return probes->random;
}

static void plan(struct probe *probe, uint64_t interval_ms)
{
	uint64_t quarter = interval_ms / 4;
	uint64_t jitter = quarter > 0 ? draw(probe->probes) % (2 * quarter + 1) : 0;
	probe->due_ms = loop_now_ms(probe->probes->loop) + interval_ms - quarter + jitter;
}

static void tell(struct probe *probe, bool is_good, const char *problem)
{
	struct targets_sight sight;
	if (!targets_checked(probe->probes->targets, probe->index, is_good))
		return;
	targets_look(probe->probes->targets, probe->index, &sight);
	if (is_good)
		log_info("probes", "target %s is up", sight.name);
	else
		log_warn("probes", "target %s is down: %s", sight.name, problem);
}

static void on_dialled(void *owner, const struct dial_result *result)
{
	struct probe *probe = owner;
	if (result->fd >= 0)
		close(result->fd);
	// That we have no descriptor left says nothing about the target.
	if (!result->no_descriptor)
		tell(probe, result->fd >= 0, result->problem);
	plan(probe, probe->probes->settings.interval_ms);
}

static void check(struct probe *probe)
{
	struct probes *probes = probe->probes;
	struct targets_sight sight;
	targets_look(probes->targets, probe->index, &sight);
	plan(probe, probes->settings.interval_ms);
	if (sight.is_alone && sight.health != TARGETS_DOWN)
		return;
	// No descriptor, no memory: the next time is the second chance.
	(void)!dial_start(probes->loop, sight.host, sight.port, probes->settings.timeout_ms, on_dialled, probe,
	                  &probe->dial);
}

static void on_tick(void *owner)
{
	struct probes *probes = owner;
	uint64_t now_ms = loop_now_ms(probes->loop);
	for (size_t i = 0; i < probes->count; i++)
		if (!probes->probe[i].dial && probes->probe[i].due_ms <= now_ms)
			check(&probes->probe[i]);
}

static void forget(struct probes *probes)
{
	loop_timer_disarm(probes->timer);
	for (size_t i = 0; i < probes->count; i++)
		dial_cancel(&probes->probe[i].dial);
	free(probes->probe);
	probes->probe = NULL;
	probes->count = 0;
	targets_unref(&probes->targets);
}

int probes_new(struct loop *loop, struct probes **out)
{
	struct probes *probes = calloc(1, sizeof *probes);
	if (!probes)
		return -ENOMEM;
	probes->loop = loop;
	probes->random = (uint32_t)clock_ns() | 1;
	int r = loop_timer_open(loop, on_tick, probes, &probes->timer);
	if (r < 0)
		free(probes);
	else
		*out = probes;
	return r;
}

int probes_set(struct probes *probes, struct targets *targets, const struct probes_settings *settings)
{
	forget(probes);
	probes->settings = *settings;
	if (settings->is_off)
		return 0;
	size_t count = targets_count(targets);
	probes->probe = calloc(count + 1, sizeof *probes->probe);
	if (!probes->probe)
		return -ENOMEM;
	probes->targets = targets_ref(targets);
	probes->count = count;
	for (size_t i = 0; i < count; i++) {
		probes->probe[i] = (struct probe){.probes = probes, .index = i};
		// Spread from the start over one interval, but soon: nothing is known yet.
		plan(&probes->probe[i], settings->interval_ms / 4);
	}
	loop_timer_arm(probes->timer, TICK_MS, TICK_MS);
	return 0;
}

void probes_free(struct probes **slot)
{
	struct probes *probes = *slot;
	*slot = NULL;
	if (!probes)
		return;
	forget(probes);
	loop_timer_close(&probes->timer);
	free(probes);
}
