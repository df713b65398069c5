#include "flow/sidecar.h"

#include "core/log.h"
#include "flow/sidecar_internal.h"
#include "net/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How often deadlines are looked at; a deadline is kept so exactly.
#define SWEEP_MS 250

static _Atomic uint64_t last_id;

// ---- life ----------------------------------------------------------------------------------------------------------

static void release(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct sidecar, release));
}

static struct sidecar *make(struct sidecars *all, int *fd, const struct address *peer)
{
	struct sidecar *sidecar = calloc(1, sizeof *sidecar);
	if (!sidecar)
		return NULL;
	sidecar->all = all;
	sidecar->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
	sidecar->fd = *fd;
	*fd = -1;
	sidecar->joint.fd = -1;
	sidecar->peer = *peer;
	sidecar->age = all->age;
	sidecar->release.run = release;
	sidecar->begun_ms = loop_now_ms(all->settings.loop);
	sidecar->due_ms = sidecar->begun_ms + all->settings.handshake_ms;
	atomic_fetch_add_explicit(&all->open, 1, memory_order_relaxed);
	sidecar_enlist(sidecar, &all->strangers);
	return sidecar;
}

void sidecar_tune(const struct sidecar *sidecar, int fd)
{
	const struct sidecars *all = sidecar->all;
	socket_tune(fd,
	            &(struct socket_options){.congestion = all->congestion, .keepalive_ms = all->settings.keepalive_ms});
}

// Hostile: who has yet to prove something holds one of a bounded number of places; when they are taken the one that has
// had its place for longest goes.
static void evict_another(const struct sidecar *sidecar)
{
	struct sidecars *all = sidecar->all;
	if (all->strangers.oldest != sidecar)
		sidecar_close(all->strangers.oldest, SIDECAR_CROWDED_OUT, NULL);
}

// A place among all connections; those that have said nothing yet do not keep others from one.
static bool enter(struct sidecar *sidecar)
{
	struct sidecar_shares *shares = sidecar->all->settings.shares;
	sidecar->entered = sidecar_share_enter(shares);
	if (!sidecar->entered) {
		evict_another(sidecar);
		sidecar->entered = sidecar_share_enter(shares);
	}
	if (!sidecar->entered)
		sidecar_close(sidecar, SIDECAR_LIMIT, NULL);
	return sidecar->entered;
}

static bool find_place(struct sidecar *sidecar)
{
	struct sidecars *all = sidecar->all;
	sidecar->begun = sidecar_share_begin(all->settings.shares);
	if (sidecar->begun)
		return true;
	evict_another(sidecar);
	sidecar->begun = sidecar_share_begin(all->settings.shares);
	if (!sidecar->begun)
		sidecar_close(sidecar, SIDECAR_CROWDED_OUT, NULL);
	return sidecar->begun;
}

void sidecars_take(struct sidecars *all, int *fd, const struct address *peer)
{
	struct sidecar *sidecar = make(all, fd, peer);
	if (!sidecar) {
		counter_add(COUNTER_SIDECAR_NO_MEMORY, 1);
		socket_reset(fd);
		return;
	}
	if (!sidecar_charge(sidecar) || !enter(sidecar) || !find_place(sidecar))
		return;
	bool is_client = all->settings.is_client;
	struct loop_io **io = is_client ? &sidecar->plain_io : &sidecar->tls_io;
	if (loop_io_open(all->settings.loop, sidecar->fd, is_client ? sidecar_on_plain : sidecar_on_tls, sidecar, io) < 0) {
		sidecar_close(sidecar, SIDECAR_NO_MEMORY, NULL);
		return;
	}
	sidecar_tune(sidecar, sidecar->fd);
	loop_io_want(*io, LOOP_READ);
	if (is_client)
		sidecar_begin(sidecar);
}

// ---- time ----------------------------------------------------------------------------------------------------------

static void end_late(struct sidecar_chain *chain, uint64_t now)
{
	for (struct sidecar *sidecar = chain->oldest, *newer; sidecar; sidecar = newer) {
		newer = sidecar->newer;
		// A target's dial has its own time.
		if (sidecar->phase == SIDECAR_REACHING || now < sidecar->due_ms)
			continue;
		tally_outcome(sidecar->all->total, TALLY_TIMEOUT);
		sidecar_blame(sidecar, TALLY_TIMEOUT);
		sidecar_close(sidecar, SIDECAR_TIMED_OUT, sidecar->phase == SIDECAR_FIRST ? "nothing was said" : "half-way");
	}
}

static bool is_over(uint64_t limit_ms, uint64_t since_ms, uint64_t now)
{
	return limit_ms > 0 && now - since_ms >= limit_ms;
}

static void look_at(struct sidecar *sidecar, uint64_t now)
{
	const struct sidecars_settings *settings = &sidecar->all->settings;
	struct joint *joint = &sidecar->joint;
	if (joint->moved)
		sidecar->moved_at_ms = now;
	joint->moved = false;
	if (is_over(settings->lifetime_ms, sidecar->begun_ms, now))
		sidecar_close(sidecar, SIDECAR_TOO_OLD, NULL);
	else if (is_over(settings->idle_ms, sidecar->moved_at_ms, now))
		sidecar_close(sidecar, SIDECAR_IDLE, NULL);
	else if ((joint->in_end || joint->out_end) && is_over(settings->half_close_ms, sidecar->moved_at_ms, now))
		sidecar_close(sidecar, SIDECAR_HALF_CLOSED, NULL);
	else if (!sidecar->touched && !sidecar->trimmed) {
		tls_conn_trim(sidecar->tls);
		sidecar->trimmed = true;
	}
	sidecar->touched = false;
}

static void say_held(struct brake *brake, uint64_t now, const char *what)
{
	uint64_t held = brake_sum(brake, now);
	if (held > 0)
		log_info("sidecar", "%llu more %s (the metrics count them all)", (unsigned long long)held, what);
}

static void on_sweep(void *owner)
{
	struct sidecars *all = owner;
	uint64_t now = loop_now_ms(all->settings.loop);
	end_late(&all->strangers, now);
	end_late(&all->reaching, now);
	for (struct sidecar *sidecar = all->joined.oldest, *newer; sidecar; sidecar = newer) {
		newer = sidecar->newer;
		look_at(sidecar, now);
	}
	say_held(&all->lines, now, "connections have ended");
	say_held(&all->refusals, now, "connections were refused or cut");
	say_held(&all->classical, now, "connections have a classical key agreement");
}

// ---- judging again -------------------------------------------------------------------------------------------------

// The time between two parts of the work.
#define JUDGING_MS 5

static int ask_owner(void *owner, X509 *certificate)
{
	const struct sidecar *sidecar = owner;
	const struct sidecars_settings *settings = &sidecar->all->settings;
	return settings->judge ? settings->judge(settings->judge_owner, certificate) : TLS_FAILURE_NONE;
}

struct tls_options sidecar_options(struct sidecar *sidecar)
{
	const struct sidecars *all = sidecar->all;
	return (struct tls_options){.owner = sidecar,
	                            .judge = ask_owner,
	                            .peer_name = !all->settings.is_client  ? NULL
	                                         : all->settings.peer_name ? all->settings.peer_name
	                                                                   : sidecar->pick.host};
}

void sidecar_judge(struct sidecar *sidecar)
{
	const struct sidecars *all = sidecar->all;
	char text[TLS_EXPLANATION_BYTES] = "";
	struct tls_options options = sidecar_options(sidecar);
	sidecar->age = all->age;
	if (tls_sidecar_judge_again(sidecar->tls, all->settings.profile, &options, text) != TLS_FAILURE_NONE)
		sidecar_close(sidecar, SIDECAR_NOT_ALLOWED, text);
}

// Each costs a chain's signatures, so they share the time with the bytes.
static void on_judging(void *owner)
{
	struct sidecars *all = owner;
	for (unsigned judged = 0, looks = 0; judged < LIMIT_JUDGED_PER_TURN && looks < LIMIT_LOOKS_PER_TURN; looks++) {
		struct sidecar *sidecar = sidecar_walk_step(all);
		if (!sidecar) {
			loop_timer_disarm(all->judging);
			return;
		}
		if (sidecar->age == all->age)
			continue;
		sidecar_judge(sidecar);
		judged++;
	}
}

// ---- all of a worker -----------------------------------------------------------------------------------------------

// What is copied; false without memory.
static bool keep(struct sidecars *all, const struct sidecars_settings *settings)
{
	struct cidr *list = calloc(settings->header_from_count + 1, sizeof *list);
	char *name = settings->peer_name ? strdup(settings->peer_name) : NULL;
	if (!list || (settings->peer_name && !name)) {
		free(list);
		free(name);
		return false;
	}
	for (size_t i = 0; i < settings->header_from_count; i++)
		list[i] = settings->header_from[i];
	free(all->header_from);
	free(all->peer_name);
	all->header_from = list;
	all->peer_name = name;
	snprintf(all->congestion, sizeof all->congestion, "%s", settings->congestion ? settings->congestion : "auto");
	all->settings = *settings;
	all->settings.header_from = all->header_from;
	all->settings.peer_name = name;
	all->settings.congestion = all->congestion;
	tls_profile_ref(settings->profile);
	targets_ref(settings->targets);
	return true;
}

int sidecars_set(struct sidecars *all, const struct sidecars_settings *settings, bool judge_again)
{
	struct tls_profile *profile = all->settings.profile;
	struct targets *targets = all->settings.targets;
	struct sidecars_settings next = *settings;
	next.loop = all->settings.loop;
	next.shares = all->settings.shares;
	next.is_client = all->settings.is_client;
	if (!keep(all, &next))
		return -ENOMEM;
	tls_profile_free(&profile);
	targets_unref(&targets);
	if (judge_again) {
		all->age++;
		sidecar_walk_begin(all);
		loop_timer_arm(all->judging, JUDGING_MS, JUDGING_MS);
	}
	return 0;
}

static int open_all(struct sidecars *all, const struct sidecars_settings *settings)
{
	all->unit = malloc(LIMIT_UNIT_BYTES);
	if (!all->unit || !keep(all, settings))
		return -ENOMEM;
	all->total = sidecar_tally(settings->shares, "");
	int r = farewells_new(settings->loop, &all->farewells);
	if (r == 0)
		r = loop_timer_open(settings->loop, on_sweep, all, &all->sweep);
	if (r == 0)
		r = loop_timer_open(settings->loop, on_judging, all, &all->judging);
	return r;
}

int sidecars_new(const struct sidecars_settings *settings, struct sidecars **out)
{
	struct sidecars *all = calloc(1, sizeof *all);
	if (!all)
		return -ENOMEM;
	all->lines.per_second = LIMIT_CONNECTION_LINES_PER_S;
	all->refusals.per_second = LIMIT_REFUSAL_LINES_PER_S;
	all->classical.per_second = 1;
	int r = open_all(all, settings);
	if (r < 0) {
		sidecars_free(&all);
		return r;
	}
	loop_timer_arm(all->sweep, SWEEP_MS, SWEEP_MS);
	*out = all;
	return 0;
}

void sidecars_drain(struct sidecars *all)
{
	for (struct sidecar *sidecar = all->strangers.oldest, *newer; sidecar; sidecar = newer) {
		newer = sidecar->newer;
		if (sidecar->phase == SIDECAR_FIRST)
			sidecar_close(sidecar, SIDECAR_SILENT, "qanat stops");
	}
}

void sidecars_free(struct sidecars **slot)
{
	struct sidecars *all = *slot;
	*slot = NULL;
	if (!all)
		return;
	struct sidecar_chain *chains[] = {&all->strangers, &all->reaching, &all->joined};
	for (size_t i = 0; i < COUNT_OF(chains); i++)
		while (chains[i]->oldest)
			sidecar_close(chains[i]->oldest, SIDECAR_STOPPED, NULL);
	farewells_free(&all->farewells);
	loop_timer_close(&all->sweep);
	loop_timer_close(&all->judging);
	tls_profile_free(&all->settings.profile);
	targets_unref(&all->settings.targets);
	free(all->header_from);
	free(all->peer_name);
	free(all->unit);
	free(all);
}

uint32_t sidecars_open(const struct sidecars *all)
{
	return atomic_load_explicit(&all->open, memory_order_relaxed);
}
