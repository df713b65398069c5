#include "link/gate.h"

#include "core/counter.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct gate {
	pthread_mutex_t lock;
	struct admission *admission;
	struct cidr *sources;
	size_t count;
};

int gate_new(const struct admission_limits *limits, const struct cidr *sources, size_t count, struct gate **out)
{
	struct gate *gate = calloc(1, sizeof *gate);
	if (!gate)
		return -ENOMEM;
	int r = admission_new(limits, &gate->admission);
	if (r < 0) {
		free(gate);
		return r;
	}
	pthread_mutex_init(&gate->lock, NULL);
	r = gate_set_sources(gate, sources, count);
	if (r < 0)
		gate_free(&gate);
	else
		*out = gate;
	return r;
}

int gate_set_sources(struct gate *gate, const struct cidr *sources, size_t count)
{
	struct cidr *copy = calloc(count + 1, sizeof *copy);
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		copy[i] = sources[i];
	pthread_mutex_lock(&gate->lock);
	struct cidr *old = gate->sources;
	gate->sources = copy;
	gate->count = count;
	pthread_mutex_unlock(&gate->lock);
	free(old);
	return 0;
}

void gate_free(struct gate **slot)
{
	struct gate *gate = *slot;
	*slot = NULL;
	if (!gate)
		return;
	admission_free(&gate->admission);
	pthread_mutex_destroy(&gate->lock);
	free(gate->sources);
	free(gate);
}

bool gate_allows_source(struct gate *gate, const struct sockaddr *address)
{
	pthread_mutex_lock(&gate->lock);
	bool allowed = cidr_list_allows(gate->sources, gate->count, address);
	pthread_mutex_unlock(&gate->lock);
	if (allowed)
		return true;
	counter_add(COUNTER_ADMISSION_SOURCE, 1);
	return false;
}

bool gate_enter(struct gate *gate, const struct sockaddr *address, uint64_t now_ms)
{
	pthread_mutex_lock(&gate->lock);
	int answer = admission_enter(gate->admission, address, now_ms);
	pthread_mutex_unlock(&gate->lock);
	if (answer == ADMISSION_OK)
		return true;
	counter_add(answer == ADMISSION_TOO_MANY ? COUNTER_ADMISSION_IN_FLIGHT : COUNTER_ADMISSION_RATE, 1);
	return false;
}

void gate_leave(struct gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	admission_leave(gate->admission);
	pthread_mutex_unlock(&gate->lock);
}
