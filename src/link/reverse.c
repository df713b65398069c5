// Theory of operation. An entry is a link that stands: where its control connection is (its home), and a shelf for each
// worker with the data connections parked there. A wish is first promised a parked connection: it is posted to the
// worker of that shelf and takes one off when it gets there. Without one it is posted to the link's home, which sends
// OPEN, or lets the wish wait until fewer OPENs are under way. Everything that more than one worker looks at is behind
// one lock, which is never held over a callback. A wish is in one place at a time: on its way (posted), waiting, or
// asked for.

#include "link/reverse.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/secret.h"
#include "link/session.h"
#include "policy/bucket.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

// How often deadlines are looked at, and wishes that wait for the pace of OPENs.
#define CARE_MS 100

struct parked {
	struct reverse_worker *worker;
	struct stream *stream;
	struct parked *newer, *older; // of this worker
	struct parked *above, *below; // on the shelf
};

struct wish {
	struct loop_task task;
	struct reverse *reverse;
	struct link *link;
	struct reverse_wish what;
	uint64_t due_ms;
	unsigned at; // the worker it was posted to
	bool promised;
	uint8_t token[STREAM_TOKEN_BYTES]; // once it is asked for
	struct wish *next;
};

struct shelf {
	struct parked *top;
	unsigned count, promised;
};

struct entry {
	struct link *link;
	struct reverse_worker *home;
	struct session *session;
	struct bucket pace;
	struct wish *asked;
	struct wish *waiting, **waiting_end;
	unsigned asked_count, wishes, parked;
	UT_hash_handle hh;
	struct shelf shelves[];
};

struct reverse_worker {
	struct reverse *reverse;
	struct loop *loop;
	unsigned index;
	struct parked *newest;
	struct loop_timer *care;
	bool caring;
};

struct reverse {
	pthread_mutex_t lock;
	struct entry *entries;
	unsigned wishes;
	unsigned worker_count;
	struct reverse_worker *workers[];
};

// ---- the table -----------------------------------------------------------------------------------------------------

// With the lock held.
static struct entry *entry_of(struct reverse *reverse, struct link *link)
{
	struct entry *entry;
	HASH_FIND_PTR(reverse->entries, &link, entry);
	return entry;
}

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

static void refuse_all(struct wish *list, unsigned index, enum header_status status, const char *reason)
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

// With the lock held: one fewer is asked for, so the next of the line may try.
static void call_next(struct reverse *reverse, struct entry *entry)
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

static void unlist(struct parked *parked)
{
	if (parked->newer)
		parked->newer->older = parked->older;
	else
		parked->worker->newest = parked->older;
	if (parked->older)
		parked->older->newer = parked->newer;
}

// With the lock held.
static void take_off(struct entry *entry, struct parked *parked)
{
	struct shelf *shelf = &entry->shelves[parked->worker->index];
	if (parked->above)
		parked->above->below = parked->below;
	else
		shelf->top = parked->below;
	if (parked->below)
		parked->below->above = parked->above;
	shelf->count--;
	entry->parked--;
}

static struct stream *take_parked(struct entry *entry, unsigned index)
{
	struct parked *parked = entry->shelves[index].top;
	if (!parked)
		return NULL;
	struct stream *stream = parked->stream;
	take_off(entry, parked);
	unlist(parked);
	free(parked);
	return stream;
}

// With the lock held. True: the stream is there, or OPEN is to be sent (`session` is set), or the wish is to be refused
// (`entry` is NULL); false: it is elsewhere by now.
static bool arrive(struct wish *wish, struct entry *entry, struct stream **stream, struct session **session,
                   struct control_open *open)
{
	struct reverse *reverse = wish->reverse;
	if (wish->promised)
		entry->shelves[wish->at].promised--;
	if ((*stream = take_parked(entry, wish->at)) != NULL)
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
	struct entry *entry = entry_of(reverse, wish->link);
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
	struct entry *entry = entry_of(reverse, link);
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

// ---- offers --------------------------------------------------------------------------------------------------------

static void on_lost(void *owner, int events)
{
	(void)events;
	struct parked *parked = owner;
	struct reverse *reverse = parked->worker->reverse;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = entry_of(reverse, stream_link(parked->stream));
	if (entry)
		take_off(entry, parked);
	pthread_mutex_unlock(&reverse->lock);
	unlist(parked);
	stream_close(&parked->stream);
	free(parked);
}

static void on_lost_too(void *owner, const struct header_answer *answer)
{
	(void)answer;
	on_lost(owner, LOOP_READ);
}

static const struct stream_ops parked_ops = {.on_ready = on_lost, .on_refused = on_lost_too};

// With the lock held.
static void shelve(struct entry *entry, struct parked *parked)
{
	struct reverse_worker *worker = parked->worker;
	struct shelf *shelf = &entry->shelves[worker->index];
	parked->older = worker->newest;
	if (worker->newest)
		worker->newest->newer = parked;
	worker->newest = parked;
	parked->below = shelf->top;
	if (shelf->top)
		shelf->top->above = parked;
	shelf->top = parked;
	shelf->count++;
	entry->parked++;
}

static void take_park(struct reverse_worker *worker, struct stream *stream)
{
	struct reverse *reverse = worker->reverse;
	struct parked *parked = calloc(1, sizeof *parked);
	enum counter counter = COUNTER_OFFER_NO_LINK;
	if (parked)
		*parked = (struct parked){.worker = worker, .stream = stream};
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = parked ? entry_of(reverse, stream_link(stream)) : NULL;
	// Hostile: an agent may not make us hold more than this for nothing.
	if (entry && entry->parked >= LIMIT_PARKED_PER_LINK) {
		counter = COUNTER_PARK_TOO_MANY;
		entry = NULL;
	}
	if (entry) {
		stream_keep(stream, &parked_ops, parked);
		shelve(entry, parked);
		call_next(reverse, entry);
	}
	pthread_mutex_unlock(&reverse->lock);
	if (entry)
		return;
	counter_add(counter, 1);
	stream_close(&stream);
	free(parked);
}

static void take_claim(struct reverse_worker *worker, struct stream *stream, const uint8_t token[STREAM_TOKEN_BYTES])
{
	struct reverse *reverse = worker->reverse;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = entry_of(reverse, stream_link(stream));
	struct wish *wish = entry ? take_asked(entry, token) : NULL;
	if (wish) {
		discount(reverse, entry);
		call_next(reverse, entry);
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

void reverse_on_header(void *owner, struct stream *stream, const struct header *header)
{
	if (header->kind == HEADER_PARK)
		take_park(owner, stream);
	else
		take_claim(owner, stream, header->token);
}

void reverse_on_failed(struct reverse_worker *worker, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                       const struct header_answer *answer)
{
	struct reverse *reverse = worker->reverse;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = entry_of(reverse, link);
	struct wish *wish = entry ? take_asked(entry, token) : NULL;
	if (wish) {
		discount(reverse, entry);
		call_next(reverse, entry);
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

static void look_after(struct reverse_worker *worker, struct entry *entry, struct wish **late)
{
	uint64_t now = clock_ms();
	unsigned asked = sift(&entry->asked, late, now), waiting = sift(&entry->waiting, late, now);
	entry->waiting_end = &entry->waiting;
	while (*entry->waiting_end)
		entry->waiting_end = &(*entry->waiting_end)->next;
	entry->asked_count -= asked;
	counter_add(COUNTER_OPEN_LATE, asked);
	for (unsigned i = 0; i < asked + waiting; i++)
		discount(worker->reverse, entry);
	// As many as the pace of this interval allows; the rest comes back to the line.
	for (unsigned i = 0; i < LIMIT_OPENS_PER_S * CARE_MS / 1000; i++)
		call_next(worker->reverse, entry);
}

static void on_care(void *owner)
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
	refuse_all(late, worker->index, HEADER_TIMED_OUT, "the device did not answer in time");
}

// ---- links ---------------------------------------------------------------------------------------------------------

int reverse_link_up(struct reverse_worker *worker, struct link *link, struct session *session)
{
	struct reverse *reverse = worker->reverse;
	struct entry *entry = calloc(1, sizeof *entry + reverse->worker_count * sizeof *entry->shelves);
	if (!entry)
		return -ENOMEM;
	entry->link = link_ref(link);
	entry->home = worker;
	entry->session = session;
	entry->waiting_end = &entry->waiting;
	bucket_init(&entry->pace, LIMIT_OPENS_PER_S, LIMIT_OPENS_PER_LINK);
	pthread_mutex_lock(&reverse->lock);
	HASH_ADD_PTR(reverse->entries, link, entry);
	pthread_mutex_unlock(&reverse->lock);
	return 0;
}

// With the lock held. What is parked stays on its workers' lists until the streams are dropped there.
static struct wish *forget(struct reverse *reverse, struct entry *entry)
{
	HASH_DEL(reverse->entries, entry);
	*entry->waiting_end = entry->asked;
	struct wish *all = entry->waiting;
	for (struct wish *wish = all; wish; wish = wish->next)
		discount(reverse, entry);
	link_unref(&entry->link);
	free(entry);
	return all;
}

void reverse_link_down(struct reverse_worker *worker, struct link *link)
{
	struct reverse *reverse = worker->reverse;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = entry_of(reverse, link);
	struct wish *all = entry ? forget(reverse, entry) : NULL;
	pthread_mutex_unlock(&reverse->lock);
	refuse_all(all, worker->index, HEADER_DRAINING, "the link with the device is down");
}

struct farewell {
	struct loop_task task;
	struct reverse *reverse;
	struct link *link;
	enum control_reason reason;
	char text[LIMIT_REASON_BYTES + 1];
};

static void on_farewell(struct loop_task *task)
{
	struct farewell *farewell = CONTAINER_OF(task, struct farewell, task);
	struct reverse *reverse = farewell->reverse;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = entry_of(reverse, farewell->link);
	struct session *session = entry ? entry->session : NULL; // of this thread
	pthread_mutex_unlock(&reverse->lock);
	if (session)
		session_end(session, farewell->reason, farewell->text);
	link_unref(&farewell->link);
	free(farewell);
}

void reverse_end_link(struct reverse *reverse, struct link *link, enum control_reason reason, const char *text)
{
	struct farewell *farewell = calloc(1, sizeof *farewell);
	if (!farewell)
		return; // a peer that is to go stays a while: whoever wants it gone asks again
	*farewell =
		(struct farewell){.task.run = on_farewell, .reverse = reverse, .link = link_ref(link), .reason = reason};
	snprintf(farewell->text, sizeof farewell->text, "%s", text);
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = entry_of(reverse, link);
	if (entry)
		loop_post(entry->home->loop, &farewell->task);
	pthread_mutex_unlock(&reverse->lock);
	if (entry)
		return;
	link_unref(&farewell->link);
	free(farewell);
}

void reverse_read(struct reverse *reverse, struct link *link, struct reverse_state *state)
{
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = entry_of(reverse, link);
	*state = (struct reverse_state){0};
	if (entry)
		*state = (struct reverse_state){.parked = entry->parked, .waiting = entry->wishes};
	pthread_mutex_unlock(&reverse->lock);
}

// ---- life ----------------------------------------------------------------------------------------------------------

int reverse_new(unsigned worker_count, struct reverse **out)
{
	struct reverse *reverse = calloc(1, sizeof *reverse + worker_count * sizeof *reverse->workers);
	if (!reverse)
		return -ENOMEM;
	pthread_mutex_init(&reverse->lock, NULL);
	reverse->worker_count = worker_count;
	*out = reverse;
	return 0;
}

void reverse_free(struct reverse **slot)
{
	struct reverse *reverse = *slot;
	*slot = NULL;
	if (!reverse)
		return;
	pthread_mutex_destroy(&reverse->lock);
	free(reverse);
}

int reverse_worker_new(struct reverse *reverse, unsigned index, struct loop *loop, struct reverse_worker **out)
{
	struct reverse_worker *worker = calloc(1, sizeof *worker);
	if (!worker)
		return -ENOMEM;
	*worker = (struct reverse_worker){.reverse = reverse, .loop = loop, .index = index};
	int r = loop_timer_open(loop, on_care, worker, &worker->care);
	if (r < 0) {
		free(worker);
		return r;
	}
	pthread_mutex_lock(&reverse->lock);
	reverse->workers[index] = worker;
	pthread_mutex_unlock(&reverse->lock);
	*out = worker;
	return 0;
}

void reverse_worker_free(struct reverse_worker **slot)
{
	struct reverse_worker *worker = *slot;
	*slot = NULL;
	if (!worker)
		return;
	struct reverse *reverse = worker->reverse;
	struct wish *all = NULL;
	pthread_mutex_lock(&reverse->lock);
	reverse->workers[worker->index] = NULL;
	struct entry *entry, *next;
	HASH_ITER(hh, reverse->entries, entry, next) {
		if (entry->home != worker)
			continue;
		struct wish *more = forget(reverse, entry), **end = &more;
		while (*end)
			end = &(*end)->next;
		*end = all;
		all = more;
	}
	pthread_mutex_unlock(&reverse->lock);
	refuse_all(all, worker->index, HEADER_DRAINING, "the hub stops");
	while (worker->newest)
		on_lost(worker->newest, LOOP_READ);
	loop_timer_close(&worker->care);
	free(worker);
}
