#include "link/gate.h"

#include "core/brake.h"
#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "limits.h"
#include "net/address.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct gate {
	pthread_mutex_t lock;
	struct admission *admission;
	struct cidr *sources;
	size_t count;
	struct brake refusals; // lines about them
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
	gate->refusals.per_second = LIMIT_REFUSAL_LINES_PER_S;
	r = gate_set_sources(gate, sources, count);
	if (r < 0)
		gate_free(&gate);
	else
		*out = gate;
	return r;
}

struct cidr *gate_copy_sources(const struct cidr *sources, size_t count)
{
	struct cidr *copy = calloc(count + 1, sizeof *copy);
	for (size_t i = 0; copy && i < count; i++)
		copy[i] = sources[i];
	return copy;
}

void gate_take_sources(struct gate *gate, struct cidr **copy, size_t count)
{
	pthread_mutex_lock(&gate->lock);
	struct cidr *old = gate->sources;
	gate->sources = *copy;
	gate->count = count;
	pthread_mutex_unlock(&gate->lock);
	*copy = NULL;
	free(old);
}

int gate_set_sources(struct gate *gate, const struct cidr *sources, size_t count)
{
	struct cidr *copy = gate_copy_sources(sources, count);
	if (!copy)
		return -ENOMEM;
	gate_take_sources(gate, &copy, count);
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

static void say_refused(const struct sockaddr *source, uint64_t held)
{
	struct address address = {.length = sizeof address.storage};
	char text[ADDRESS_TEXT_BYTES];
	memcpy(&address.storage, source,
	       source->sa_family == AF_INET    ? sizeof address.in4
	       : source->sa_family == AF_INET6 ? sizeof address.in6
	                                       : sizeof source->sa_family);
	address_format(&address, text);
	if (held > 0)
		log_warn("gate", "%llu more connections of such addresses were refused", (unsigned long long)held);
	log_warn("gate", "%s refused: it is not in dest.connection_filter.allowed_source_ips", text);
}

bool gate_allows_source(struct gate *gate, const struct sockaddr *address)
{
	pthread_mutex_lock(&gate->lock);
	uint64_t now = clock_ms();
	bool allowed = cidr_list_allows(gate->sources, gate->count, address);
	uint64_t held = allowed ? 0 : brake_sum(&gate->refusals, now);
	bool is_said = !allowed && brake_passes(&gate->refusals, now);
	pthread_mutex_unlock(&gate->lock);
	if (allowed)
		return true;
	if (is_said)
		say_refused(address, held);
	counter_add(COUNTER_ADMISSION_SOURCE, 1);
	return false;
}

int gate_enter(struct gate *gate, const struct sockaddr *address, enum gate_line line, uint64_t now_ms)
{
	pthread_mutex_lock(&gate->lock);
	bool is_in = false;
	// Hostile: the address is charged before anything waits, and not at all when nothing does.
	int answer = line == GATE_LINE_FULL ? ADMISSION_TOO_MANY : admission_charge(gate->admission, address, now_ms);
	if (answer == ADMISSION_OK && line == GATE_LINE_EMPTY)
		is_in = admission_take(gate->admission, address, now_ms) == ADMISSION_OK;
	pthread_mutex_unlock(&gate->lock);
	if (is_in)
		return GATE_IN;
	counter_add(answer == ADMISSION_OK         ? COUNTER_ADMISSION_WAITED
	            : answer == ADMISSION_TOO_FAST ? COUNTER_ADMISSION_RATE
	                                           : COUNTER_ADMISSION_IN_FLIGHT,
	            1);
	return answer == ADMISSION_OK ? GATE_LATER : GATE_REFUSED;
}

int gate_let_in(struct gate *gate, const struct sockaddr *address, uint64_t now_ms)
{
	pthread_mutex_lock(&gate->lock);
	int answer = admission_take(gate->admission, address, now_ms);
	pthread_mutex_unlock(&gate->lock);
	return answer == ADMISSION_OK ? GATE_IN : answer == ADMISSION_SHARE ? GATE_SHARE : GATE_LATER;
}

void gate_leave(struct gate *gate, const struct sockaddr *address)
{
	pthread_mutex_lock(&gate->lock);
	admission_leave(gate->admission, address);
	pthread_mutex_unlock(&gate->lock);
}
