// Wishes for streams: where they go, OPENs, tokens, deadlines. A wish is in one place at a time: on its way (posted to
// a worker), waiting at its link's home, or asked for.

#include "link/reverse_internal.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How often deadlines are looked at, and wishes that wait for the pace of OPENs.
#define CARE_MS 100

// ---- refusing ------------------------------------------------------------------------------------------------------

static void wish_free(struct wish *wish)
{
	link_unref(&wish->link);
	free(wish);
}

// With the lock held: it no longer counts. It may still be on its way to its owner.
static void discount(struct reverse *reverse, struct entry *entry)
{
	reverse->wishes--;
	if (entry)
		entry->wishes--;
}

static void refuse(struct wish *wish, unsigned index, const struct header_answer *answer)
{
	wish->what.ops->on_refused(wish->what.owner, index, answer);
	wish_free(wish);
}

static void refuse_for(struct wish *wish, unsigned index, enum header_status status, const char *reason)
{
	struct header_answer answer = {.status = status};
	snprintf(answer.reason, sizeof answer.reason, "%s", reason);
	refuse(wish, index, &answer);
}

void reverse_wishes_refuse(struct wish *list, unsigned index, enum header_status status, const char *reason)
{
	for (struct wish *next; list; list = next) {
		next = list->next;
		refuse_for(list, index, status, reason);
	}
}

// ---- where a wish goes ---------------------------------------------------------------------------------------------

static void on_wish(struct loop_task *task);

// With the lock held.
static void post(struct reverse *reverse, struct wish *wish, unsigned index)
{
	wish->at = index;
	wish->task.run = on_wish;
	loop_post(reverse->workers[index]->loop, &wish->task);
}

static bool has_free(const struct reverse *reverse, const struct entry *entry, unsigned index)
{
	return reverse->workers[index] && entry->shelves[index].count > entry->shelves[index].promised;
}

// With the lock held: to a worker that has a parked connection, this one first, or to the link's home.
static void send_off(struct reverse *reverse, struct entry *entry, struct wish *wish, unsigned here)
{
	wish->promised = false;
	for (unsigned i = 0; i < reverse->worker_count; i++) {
		unsigned index = (here + i) % reverse->worker_count;
		if (!has_free(reverse, entry, index))
			continue;
		entry->shelves[index].promised++;
		wish->promised = true;
		post(reverse, wish, index);
		return;
	}
	post(reverse, wish, entry->home->index);
}

static void wait_in_line(struct entry *entry, struct wish *wish)
{
	wish->next = NULL;
	*entry->waiting_end = wish;
	entry->waiting_end = &wish->next;
	if (!entry->home->caring)
		loop_timer_arm(entry->home->care, CARE_MS, CARE_MS);
	entry->home->caring = true;
}

// With the lock held: the first of the line.
static struct wish *leave_line(struct entry *entry)
{
	struct wish *wish = entry->waiting;
	if (!wish)
		return NULL;
	entry->waiting = wish->next;
	if (!entry->waiting)
		entry->waiting_end = &entry->waiting;
	wish->next = NULL;
	return wish;
}

// ---- asking --------------------------------------------------------------------------------------------------------

static bool may_ask(struct entry *entry)
{
	return entry->asked_count < LIMIT_OPENS_PER_LINK && bucket_take(&entry->pace, clock_ns() / 1000);
}

// With the lock held, at home: it is one of those that are asked for; `open` is to be sent.
static void begin_asking(struct entry *entry, struct wish *wish, struct control_open *open)
{
	uint64_t now = clock_ms();
	random_bytes(wish->token, sizeof wish->token);
	*open = (struct control_open){.deadline_ms = wish->due_ms > now ? (uint32_t)(wish->due_ms - now) : 1};
	memcpy(open->token, wish->token, sizeof open->token);
	snprintf(open->service, sizeof open->service, "%s", wish->what.service);
	wish->next = entry->asked;
	entry->asked = wish;
	entry->asked_count++;
	counter_add(COUNTER_OPEN_SENT, 1);
	if (!entry->home->caring)
		loop_timer_arm(entry->home->care, CARE_MS, CARE_MS);
	entry->home->caring = true;
}

// With the lock held. Every token that is asked for is looked at, and each compared in constant time, so how long this
// takes says nothing about them. Tokens of other links are not even looked at.
static struct wish *take_asked(struct entry *entry, const uint8_t token[STREAM_TOKEN_BYTES])
{
	struct wish **found = NULL;
	for (struct wish **at = &entry->asked; *at; at = &(*at)->next)
		if (secret_is_equal((*at)->token, token, STREAM_TOKEN_BYTES))
			found = at;
	if (!found)
		return NULL;
	struct wish *wish = *found;
	*found = wish->next;
	entry->asked_count--;
	return wish;
}

void reverse_wishes_next(struct reverse *reverse, struct entry *entry)
{
	struct wish *next = entry->asked_count < LIMIT_OPENS_PER_LINK ? leave_line(entry) : NULL;
	if (next)
		send_off(reverse, entry, next, entry->home->index);
}

// ---- a wish has come to a worker -----------------------------------------------------------------------------------

static void grant(struct wish *wish, unsigned index, struct stream *stream)
{
	wish->what.ops->on_stream(wish->what.owner, index, stream);
	wish_free(wish);
}

// With the lock held. True: the stream is there, or OPEN is to be sent (`session` is set), or the wish is to be refused
// (`entry` is NULL); false: it is elsewhere by now.
static bool arrive(struct wish *wish, struct entry *entry, struct stream **stream, struct session **session,
                   struct control_open *open)
{
	struct reverse *reverse = wish->reverse;
	if (wish->promised)
		entry->shelves[wish->at].promised--;
	if ((*stream = reverse_offers_take(entry, wish->at)) != NULL)
		return true;
	if (entry->home->index != wish->at) {
		send_off(reverse, entry, wish, wish->at);
		return false;
	}
	if (!may_ask(entry)) {
		wait_in_line(entry, wish);
		return false;
	}
	begin_asking(entry, wish, open);
	*session = entry->session;
	return true;
}

static void on_wish(struct loop_task *task)
{
	struct wish *wish = CONTAINER_OF(task, struct wish, task);
	struct reverse *reverse = wish->reverse;
	unsigned index = wish->at;
	struct stream *stream = NULL;
	struct session *session = NULL;
	struct control_open open;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = reverse_entry(reverse, wish->link);
	bool is_here = entry && reverse->workers[index];
	bool is_late = clock_ms() >= wish->due_ms;
	bool goes_on = is_here && !is_late && arrive(wish, entry, &stream, &session, &open);
	if (entry && !(is_here && !is_late) && wish->promised)
		entry->shelves[index].promised--;
	if (!is_here || is_late || stream)
		discount(reverse, entry);
	pthread_mutex_unlock(&reverse->lock);
	if (stream)
		grant(wish, index, stream);
	else if (!is_here)
		refuse_for(wish, index, HEADER_DRAINING, "the link with the device is down");
	else if (is_late)
		refuse_for(wish, index, HEADER_TIMED_OUT, "the device did not answer in time");
	else if (goes_on)
		session_open(session, &open);
}

int reverse_open(struct reverse_worker *here, struct link *link, const struct reverse_wish *what)
{
	struct reverse *reverse = here->reverse;
	struct wish *wish = calloc(1, sizeof *wish);
	if (!wish)
		return -ENOMEM;
	*wish = (struct wish){.reverse = reverse, .what = *what, .due_ms = clock_ms() + what->deadline_ms};
	int r = 0;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = reverse_entry(reverse, link);
	// Hostile: charged before anything waits.
	if (!entry)
		r = REVERSE_NO_LINK;
	else if (entry->wishes >= LIMIT_WISHES_PER_LINK || reverse->wishes >= LIMIT_WISHES)
		r = REVERSE_BUSY;
	if (r == 0) {
		wish->link = link_ref(link);
		entry->wishes++;
		reverse->wishes++;
		send_off(reverse, entry, wish, here->index);
	}
	pthread_mutex_unlock(&reverse->lock);
	if (r != 0)
		free(wish);
	return r;
}

void reverse_wishes_claim(struct reverse_worker *worker, struct stream *stream, const uint8_t token[STREAM_TOKEN_BYTES])
{
	struct reverse *reverse = worker->reverse;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = reverse_entry(reverse, stream_link(stream));
	struct wish *wish = entry ? take_asked(entry, token) : NULL;
	if (wish) {
		discount(reverse, entry);
		reverse_wishes_next(reverse, entry);
	}
	pthread_mutex_unlock(&reverse->lock);
	// Hostile: never issued, issued to another link, claimed before, or too late: all the same to whoever tries.
	counter_add(wish ? COUNTER_OPEN_CLAIMED : COUNTER_CLAIM_UNKNOWN, 1);
	if (!wish) {
		stream_close(&stream);
		return;
	}
	stream_keep(stream, NULL, NULL);
	grant(wish, worker->index, stream);
}

void reverse_on_failed(struct reverse_worker *worker, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                       const struct header_answer *answer)
{
	struct reverse *reverse = worker->reverse;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = reverse_entry(reverse, link);
	struct wish *wish = entry ? take_asked(entry, token) : NULL;
	if (wish) {
		discount(reverse, entry);
		reverse_wishes_next(reverse, entry);
	}
	pthread_mutex_unlock(&reverse->lock);
	if (!wish)
		return; // it was late, or claimed after all
	counter_add(COUNTER_OPEN_REFUSED, 1);
	refuse(wish, worker->index, answer);
}

// ---- deadlines -----------------------------------------------------------------------------------------------------

// With the lock held: moves what is late from *from to *late.
static unsigned sift(struct wish **from, struct wish **late, uint64_t now_ms)
{
	unsigned count = 0;
	while (*from) {
		struct wish *wish = *from;
		if (wish->due_ms > now_ms) {
			from = &wish->next;
			continue;
		}
		*from = wish->next;
		wish->next = *late;
		*late = wish;
		count++;
	}
	return count;
}

static void find_end(struct entry *entry)
{
	entry->waiting_end = &entry->waiting;
	while (*entry->waiting_end)
		entry->waiting_end = &(*entry->waiting_end)->next;
}

static void look_after(struct reverse_worker *worker, struct entry *entry, struct wish **late)
{
	uint64_t now = clock_ms();
	unsigned asked = sift(&entry->asked, late, now), waiting = sift(&entry->waiting, late, now);
	find_end(entry);
	entry->asked_count -= asked;
	counter_add(COUNTER_OPEN_LATE, asked);
	for (unsigned i = 0; i < asked + waiting; i++)
		discount(worker->reverse, entry);
	// As many as the pace of this interval allows; the rest comes back to the line.
	for (unsigned i = 0; i < LIMIT_OPENS_PER_S * CARE_MS / 1000; i++)
		reverse_wishes_next(worker->reverse, entry);
}

void reverse_wishes_care(void *owner)
{
	struct reverse_worker *worker = owner;
	struct reverse *reverse = worker->reverse;
	struct wish *late = NULL;
	bool any = false;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry, *next;
	HASH_ITER(hh, reverse->entries, entry, next) {
		if (entry->home != worker || entry->wishes == 0)
			continue;
		look_after(worker, entry, &late);
		any = any || entry->wishes > 0;
	}
	worker->caring = any;
	pthread_mutex_unlock(&reverse->lock);
	if (!any)
		loop_timer_disarm(worker->care);
	reverse_wishes_refuse(late, worker->index, HEADER_TIMED_OUT, "the device did not answer in time");
}

// ---- withdrawing ---------------------------------------------------------------------------------------------------

static struct wish *pick(struct wish **from, uint64_t id)
{
	while (*from && (*from)->what.id != id)
		from = &(*from)->next;
	struct wish *wish = *from;
	if (wish)
		*from = wish->next;
	return wish;
}

bool reverse_withdraw(struct reverse *reverse, struct link *link, uint64_t id)
{
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = reverse_entry(reverse, link);
	struct wish *asked = entry ? pick(&entry->asked, id) : NULL;
	struct wish *wish = entry && !asked ? pick(&entry->waiting, id) : asked;
	if (asked)
		entry->asked_count--;
	if (wish) {
		find_end(entry);
		discount(reverse, entry);
		reverse_wishes_next(reverse, entry);
	}
	pthread_mutex_unlock(&reverse->lock);
	if (!wish)
		return false;
	counter_add(COUNTER_OPEN_WITHDRAWN, asked != NULL);
	wish_free(wish);
	return true;
}

// ---- the end of a link ---------------------------------------------------------------------------------------------

struct wish *reverse_wishes_take(struct reverse *reverse, struct entry *entry)
{
	*entry->waiting_end = entry->asked;
	struct wish *all = entry->waiting;
	entry->waiting = entry->asked = NULL;
	entry->waiting_end = &entry->waiting;
	for (struct wish *wish = all; wish; wish = wish->next)
		discount(reverse, entry);
	return all;
}
