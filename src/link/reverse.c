// Theory of operation. An entry is a link that stands: where its control connection is (its home), and a shelf for each
// worker with the data connections parked there. A wish is first promised a parked connection: it is posted to the
// worker of that shelf and takes one off when it gets there. Without one it is posted to the link's home, which sends
// OPEN, or lets the wish wait until fewer OPENs are under way. Everything that more than one worker looks at is behind
// one lock, which is never held over a callback. A wish is in one place at a time: on its way (posted), waiting, or
// asked for.

#include "link/reverse_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- the table -----------------------------------------------------------------------------------------------------

struct entry *reverse_entry(struct reverse *reverse, struct link *link)
{
	struct entry *entry;
	HASH_FIND_PTR(reverse->entries, &link, entry);
	return entry;
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
	struct wish *all = reverse_wishes_take(reverse, entry);
	link_unref(&entry->link);
	free(entry);
	return all;
}

void reverse_link_down(struct reverse_worker *worker, struct link *link)
{
	struct reverse *reverse = worker->reverse;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = reverse_entry(reverse, link);
	struct wish *all = entry ? forget(reverse, entry) : NULL;
	pthread_mutex_unlock(&reverse->lock);
	reverse_wishes_refuse(all, worker->index, HEADER_DRAINING, "the link with the device is down");
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
	struct entry *entry = reverse_entry(reverse, farewell->link);
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
	struct entry *entry = reverse_entry(reverse, link);
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
	struct entry *entry = reverse_entry(reverse, link);
	*state = (struct reverse_state){0};
	if (entry)
		*state = (struct reverse_state){.parked = entry->parked, .waiting = entry->wishes};
	pthread_mutex_unlock(&reverse->lock);
}

void reverse_on_header(void *owner, struct stream *stream, const struct header *header)
{
	if (header->kind == HEADER_PARK)
		reverse_offers_park(owner, stream);
	else
		reverse_wishes_claim(owner, stream, header->token);
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
	int r = loop_timer_open(loop, reverse_wishes_care, worker, &worker->care);
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
	reverse_wishes_refuse(all, worker->index, HEADER_DRAINING, "the hub stops");
	reverse_offers_close(worker);
	loop_timer_close(&worker->care);
	free(worker);
}
