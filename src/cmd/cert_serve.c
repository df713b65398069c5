// `qanat cert serve`: a CA that answers requests for renewals by itself, out of a drop folder and over connections.

#include "cmd/cert_internal.h"
#include "cmd/cert_serve_internal.h"
#include "core/brake.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "crypto/repeat.h"
#include "node/notify.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// For file systems of which the kernel says nothing when another machine writes.
#define LOOK_MS 5000
// How soon after a change it looks.
#define SOON_MS 50
// Not 0: that would be due in the same turn.
#define NEXT_MS 1
// How often the index is pruned, and by default of what ended how long ago.
#define PRUNE_MS (24 * 3600 * 1000ULL)
#define DAY_S 86400
#define KEEP_DAYS 90

struct serve {
	struct answer_policy policy;
	unsigned keep_days;
	struct drop *drop; // NULL: not asked for
	size_t answered;   // how many requests, and
	size_t refused;    // how many of them with no
	struct loop *loop;
	struct cert_serve_link *link;
	struct loop_watch *watch;
	bool looks_soon;
	bool is_looking;    // a round over the folder goes on in the next turn
	bool has_changed;   // meanwhile
	struct brake stuck; // lines about what cannot be removed
	struct loop_timer *timer, *prune_timer;
	struct loop_signal *terminate, *interrupt;
};

void cert_serve_log(const char *from, const struct answer_news *news)
{
	char date[32] = "";
	struct tm parts;
	time_t until = (time_t)news->not_after;

	if (gmtime_r(&until, &parts))
		(void)strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S UTC", &parts);
	if (news->is_repeat)
		log_info("cert", "%s: a request that was answered before: %s has the same answer, until %s, serial %s", from,
		         news->subject, date, news->serial);
	else
		log_info("cert", "%s: renewed %s until %s, serial %s", from, news->subject, date, news->serial);
}

// ---- the drop folder -----------------------------------------------------------------------------------------------

struct errand {
	struct drop *drop;
	const char *name;
};

static int deliver(void *owner, const char *pem, size_t length, char problem[ANSWER_PROBLEM_BYTES])
{
	const struct errand *errand = owner;
	return drop_write(errand->drop, errand->name, ".crt", (struct drop_content){pem, length}, problem);
}

static void refuse(struct serve *serve, const char *name, const char *reason)
{
	char text[DROP_PROBLEM_BYTES + 2], problem[DROP_PROBLEM_BYTES];

	serve->refused++;
	log_warn("cert", "%s.csr is refused: %s", name, reason);
	snprintf(text, sizeof text, "%s\n", reason);
	if (drop_write(serve->drop, name, ".refused", (struct drop_content){text, strlen(text)}, problem) != 0)
		log_warn("cert", "%s.csr: the refusal cannot be delivered: %s", name, problem);
}

// The request leaves the folder before it is answered: one that cannot be removed would be answered again and again,
// and one that a crash loses is asked again by its node.
static bool on_name(void *owner, const char *name)
{
	struct serve *serve = owner;
	static struct drop_text text;
	struct answer_question question = {.bytes = text.bytes};
	struct errand errand = {serve->drop, name};
	const struct answer_delivery delivery = {deliver, &errand};
	struct answer_news news;
	char problem[ANSWER_PROBLEM_BYTES] = "", ignored[ANSWER_PROBLEM_BYTES], from[LIMIT_DROP_NAME_BYTES + 8];

	int r = drop_read(serve->drop, name, ".csr", &text, problem);
	if (r == DROP_ABSENT)
		return false;
	serve->answered++;
	// Hostile: what cannot be removed stays for ever. It takes nobody's turn, and nothing is written for it: that would
	// only have us look again.
	int removed = drop_remove(serve->drop, name, ".csr", r == 0 ? problem : ignored);
	if (removed != 0) {
		if (removed == DROP_REFUSED && brake_passes(&serve->stuck, clock_ms()))
			log_warn("cert", "%s.csr is not answered: %s", name, r == 0 ? problem : ignored);
		return false;
	}
	question.length = text.length;
	if (r == 0)
		r = answer_renewal(&serve->policy, &question, &delivery, &news, problem);
	if (r != 0) {
		refuse(serve, name, r < 0 ? outcome_text(r) : problem);
		return true;
	}
	(void)!drop_remove(serve->drop, name, ".refused", ignored);
	snprintf(from, sizeof from, "%s.csr", name);
	cert_serve_log(from, &news);
	return true;
}

// DROP_MORE: the folder has more.
static int some_of_folder(struct serve *serve)
{
	int r = drop_visit(serve->drop, ".csr", LIMIT_RENEWALS_PER_TURN, on_name, serve);
	if (r < 0)
		log_error("cert", "the drop folder cannot be read: %s", outcome_text(r));
	return r;
}

static int whole_folder(struct serve *serve)
{
	int r = DROP_MORE;
	while (r == DROP_MORE && serve->answered < LIMIT_RENEWALS_PER_RUN)
		r = some_of_folder(serve);
	return r;
}

// ---- the index -----------------------------------------------------------------------------------------------------

// Also what every answer needs, asked for before the first one.
static int prune(const struct serve *serve, char problem[AUTHORITY_PROBLEM_BYTES])
{
	struct authority authority = {0};
	int64_t now = (int64_t)time(NULL);
	size_t pruned = 0;
	int r = authority_open(&serve->policy.ca, INDEX_TO_WRITE, &authority, problem);

	if (r != 0)
		return r;
	(void)repeat_prune(index_path(authority.index), now);
	r = index_prune(authority.index, now - (int64_t)serve->keep_days * DAY_S, &pruned, problem);
	if (pruned > 0)
		log_info("cert", "%zu certificates that ended more than %u days ago are out of the index", pruned,
		         serve->keep_days);
	authority_close(&authority);
	return r;
}

static void on_prune(void *owner)
{
	const struct serve *serve = owner;
	char problem[AUTHORITY_PROBLEM_BYTES] = "";
	int r = prune(serve, problem);

	if (r != 0)
		log_warn("cert", "%s", r < 0 ? outcome_text(r) : problem);
}

// ---- until a signal ------------------------------------------------------------------------------------------------

// Hostile: whoever writes there without end costs a look now and then.
static void look_soon(struct serve *serve)
{
	if (serve->looks_soon)
		return;
	serve->looks_soon = true;
	loop_timer_arm(serve->timer, SOON_MS, LOOK_MS);
}

// Some at a time: whoever fills the folder does not keep those waiting who ask over connections.
static void on_due(void *owner)
{
	struct serve *serve = owner;
	serve->looks_soon = false;
	if (!serve->is_looking)
		serve->has_changed = false;
	serve->is_looking = some_of_folder(serve) == DROP_MORE;
	if (serve->is_looking)
		loop_timer_arm(serve->timer, NEXT_MS, LOOK_MS);
	else if (serve->has_changed)
		look_soon(serve);
}

static void on_change(void *owner)
{
	struct serve *serve = owner;
	serve->has_changed = true;
	if (!serve->is_looking)
		look_soon(serve);
}

static void on_signal(void *owner, int number)
{
	struct serve *serve = owner;
	(void)number;
	log_info("cert", "stopping");
	loop_stop(serve->loop);
}

static int open_watch(struct serve *serve, const char *path)
{
	int r = loop_timer_open(serve->loop, on_due, serve, &serve->timer);
	if (r < 0)
		return r;
	loop_timer_arm(serve->timer, 0, LOOK_MS);
	r = loop_watch_open(serve->loop, on_change, serve, &serve->watch);
	if (r == 0)
		r = loop_watch_add(serve->watch, path);
	if (r < 0)
		log_warn("cert", "the kernel does not tell of changes in %s: it is looked at every %d s", path, LOOK_MS / 1000);
	log_info("cert", "answering requests in %s", path);
	return 0;
}

static int serve_on(struct serve *serve, const struct cert_options *options)
{
	int r = loop_new(&serve->loop);
	if (r == 0)
		r = loop_signal_open(serve->loop, SIGTERM, on_signal, serve, &serve->terminate);
	if (r == 0)
		r = loop_signal_open(serve->loop, SIGINT, on_signal, serve, &serve->interrupt);
	if (r == 0)
		r = loop_timer_open(serve->loop, on_prune, serve, &serve->prune_timer);
	if (r == 0)
		loop_timer_arm(serve->prune_timer, PRUNE_MS, PRUNE_MS);
	if (r == 0 && serve->drop)
		r = open_watch(serve, options->drop);
	if (r == 0 && options->listen)
		r = cert_serve_link_open(serve->loop, options->listen, options->proxy_protocol, &serve->policy, &serve->link);
	if (r == 0) {
		notify_start();
		notify_ready();
		r = loop_run(serve->loop);
	}
	if (serve->loop) {
		cert_serve_link_close(&serve->link);
		loop_watch_close(&serve->watch);
		if (serve->timer)
			loop_timer_close(&serve->timer);
		if (serve->prune_timer)
			loop_timer_close(&serve->prune_timer);
		if (serve->terminate)
			loop_signal_close(&serve->terminate);
		if (serve->interrupt)
			loop_signal_close(&serve->interrupt);
		loop_free(&serve->loop);
	}
	return r;
}

// ---- the command line ----------------------------------------------------------------------------------------------

static int parse_keys(const struct cert_verb *verb, const char *text, unsigned *keys)
{
	char words[128];
	enum issue_key key;

	*keys = ~0u;
	if (!text)
		return 0;
	*keys = 0;
	if (snprintf(words, sizeof words, "%s", text) >= (int)sizeof words)
		return cert_usage_error(verb->name, "--keys is too long", "");
	for (char *rest = words, *word; (word = strsep(&rest, ","));) {
		if (issue_key_parse(word, &key) != 0)
			return cert_usage_error(verb->name, "--keys lists p256, ed25519, ml-dsa-65 and ml-dsa-87, not ", word);
		*keys |= 1u << key;
	}
	return 0;
}

static int run(const struct cert_verb *verb, const struct cert_options *options, struct serve *serve)
{
	char problem[DROP_PROBLEM_BYTES] = "";
	int r = prune(serve, problem);

	if (r != 0)
		return cert_failed(verb, r, problem);
	if (options->drop && (r = drop_open(options->drop, &serve->drop, problem)) != 0)
		return cert_failed(verb, r, problem);
	if (options->once)
		return whole_folder(serve) < 0 || serve->refused > 0 ? CERT_FAILED : 0;
	r = serve_on(serve, options);
	return r == 0 ? 0 : cert_failed(verb, r, "");
}

static int check_ways(const struct cert_verb *verb, const struct cert_options *options)
{
	if (!options->drop && !options->listen)
		return cert_usage_error(verb->name, "missing ", "--drop or --listen");
	if (options->once && options->listen)
		return cert_usage_error(verb->name, "--once is for --drop alone", "");
	if (options->proxy_protocol && !options->listen)
		return cert_usage_error(verb->name, "--proxy-protocol is for --listen alone", "");
	return 0;
}

int cert_serve(const struct cert_verb *verb, const struct cert_options *options)
{
	struct serve serve = {.policy = {.ca = cert_flags_ca(options)}, .stuck = {.per_second = 1}, .keep_days = KEEP_DAYS};
	unsigned days = 0;
	int status = parse_keys(verb, options->keys, &serve.policy.keys);

	if (status == 0)
		status = cert_flags_validity(verb, options, &days, &serve.policy.validity_s);
	if (status == 0)
		status = cert_flags_number(verb, "--keep-days", options->keep_days, ISSUE_MAX_DAYS, &serve.keep_days);
	if (status == 0)
		status = check_ways(verb, options);
	if (status != 0)
		return status;
	if (serve.policy.validity_s == 0)
		serve.policy.validity_s = days * 86400ULL;
	status = run(verb, options, &serve);
	drop_close(&serve.drop);
	return status;
}
