// Offers: data connections that a link's initiator has parked, on a shelf for each worker.

#include "link/reverse_internal.h"

#include "core/counter.h"

#include <assert.h>
#include <stdlib.h>

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

struct stream *reverse_offers_take(struct entry *entry, unsigned index)
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

// ---- offers --------------------------------------------------------------------------------------------------------

static void on_lost(void *owner, int events)
{
	(void)events;
	struct parked *parked = owner;
	struct reverse *reverse = parked->worker->reverse;
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = reverse_entry(reverse, stream_link(parked->stream));
	if (entry)
		take_off(entry, parked);
	pthread_mutex_unlock(&reverse->lock);
	struct reverse_worker *worker = parked->worker;
	unlist(parked);
	stream_close(&parked->stream);
	assert(worker->newest != parked);
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

void reverse_offers_park(struct reverse_worker *worker, struct stream *stream)
{
	struct reverse *reverse = worker->reverse;
	struct parked *parked = calloc(1, sizeof *parked);
	enum counter counter = COUNTER_OFFER_NO_LINK;
	if (parked)
		*parked = (struct parked){.worker = worker, .stream = stream};
	pthread_mutex_lock(&reverse->lock);
	struct entry *entry = parked ? reverse_entry(reverse, stream_link(stream)) : NULL;
	// Hostile: an agent may not make us hold more than this for nothing.
	if (entry && entry->parked >= LIMIT_PARKED_PER_LINK) {
		counter = COUNTER_PARK_TOO_MANY;
		entry = NULL;
	}
	if (entry) {
		stream_keep(stream, &parked_ops, parked);
		shelve(entry, parked);
		reverse_wishes_next(reverse, entry);
	}
	pthread_mutex_unlock(&reverse->lock);
	if (entry)
		return;
	counter_add(counter, 1);
	stream_close(&stream);
	free(parked);
}

void reverse_offers_close(struct reverse_worker *worker)
{
	while (worker->newest)
		on_lost(worker->newest, LOOP_READ); // which takes it out of the list. NOLINT(clang-analyzer-unix.Malloc)
}
