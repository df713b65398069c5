// Theory of operation. A dial owns a list of addresses and at most one attempt (a connecting socket) for each of them.
// Attempts are begun in order: the first at once, the next when one fails or when 250 ms passed without an answer. The
// first socket that becomes writable without an error wins and the others are closed. One timer serves the stagger, the
// retry of a busy Unix listener, the deadline, and failures that are known before dial_start has returned.
//
// The owner's pointer is the only reference from outside: it is set to NULL before the callback and by dial_cancel, and
// from that moment nothing here calls back. The memory goes at the end of the loop turn.

#include "net/dial.h"

#include "net/socket.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAGGER_MS 250
#define BUSY_RETRY_MS 10

struct attempt {
	struct dial *dial;
	struct address to;
	int fd; // -1: not begun, or over
	struct loop_io *io;
};

struct dial {
	struct loop *loop;
	struct dial **owners_pointer;
	dial_fn on_done;
	void *owner;
	dial_filter_fn allows; // may be NULL

	char *host; // NULL when the caller gave addresses
	uint16_t port;
	struct loop_lookup *lookup;
	struct loop_timer *timer;
	uint64_t deadline_ms;
	uint64_t next_ms; // when to begin the next attempt

	struct attempt attempts[DIAL_ADDRESSES];
	size_t count;   // addresses known
	size_t begun;   // the first so many have been tried
	size_t pending; // sockets still connecting
	bool no_descriptor;

	char problem[DIAL_PROBLEM_BYTES];
	struct loop_task release;
};

static void release(struct loop_task *task)
{
	struct dial *dial = CONTAINER_OF(task, struct dial, release);
	free(dial->host);
	free(dial);
}

static void attempt_end(struct attempt *attempt)
{
	if (attempt->fd < 0)
		return;
	loop_io_close(&attempt->io);
	socket_close(&attempt->fd);
	attempt->dial->pending--;
}

// Lets go of everything but the memory.
static void stop(struct dial *dial)
{
	*dial->owners_pointer = NULL;
	loop_lookup_cancel(&dial->lookup);
	if (dial->timer != NULL)
		loop_timer_close(&dial->timer);
	for (size_t i = 0; i < dial->begun; i++)
		attempt_end(&dial->attempts[i]);
	dial->release.run = release;
	loop_defer(dial->loop, &dial->release);
}

static void note(struct dial *dial, const char *format, ...) PRINTF_LIKE(2, 3);
static void note(struct dial *dial, const char *format, ...)
{
	size_t used = strlen(dial->problem);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(dial->problem + used, sizeof(dial->problem) - used, format, arguments);
	va_end(arguments);
}

static void note_attempt(struct dial *dial, const struct address *to, const char *reason)
{
	char text[ADDRESS_TEXT_BYTES];
	size_t used = strlen(dial->problem);
	address_format(to, text);
	if (used == 0 && dial->host != NULL)
		note(dial, "%s: ", dial->host);
	else if (used != 0)
		note(dial, ", ");
	note(dial, "%s (%s)", reason, text);
}

static void fail(struct dial *dial, bool timed_out)
{
	struct dial_result result = {.fd = -1,
	                             .timed_out = timed_out,
	                             .no_descriptor = dial->no_descriptor,
	                             .problem = dial->problem};
	for (size_t i = 0; i < dial->begun; i++)
		if (dial->attempts[i].fd >= 0)
			note_attempt(dial, &dial->attempts[i].to, "no answer");
	if (dial->count == 0 && dial->problem[0] == '\0')
		note(dial, "%s: %s", dial->host != NULL ? dial->host : "nothing to dial",
		     timed_out ? "the name was not resolved in time" : "no address");
	stop(dial);
	dial->on_done(dial->owner, &result);
}

static void win(struct dial *dial, struct attempt *attempt)
{
	struct dial_result result = {.fd = attempt->fd, .peer = attempt->to, .problem = ""};
	loop_io_close(&attempt->io);
	attempt->fd = -1;
	dial->pending--;
	stop(dial);
	dial->on_done(dial->owner, &result);
}

static void begin_next(struct dial *dial);

static void on_writable(void *owner, int events)
{
	struct attempt *attempt = owner;
	struct dial *dial = attempt->dial;
	(void)events;
	int result = socket_connect_result(attempt->fd);
	if (result == 0) {
		win(dial, attempt);
		return;
	}
	note_attempt(dial, &attempt->to, outcome_text(result));
	attempt_end(attempt);
	begin_next(dial);
}

// 0, SOCKET_BUSY, or negative after the reason was noted.
static int begin(struct dial *dial, struct attempt *attempt)
{
	int result = socket_connect(&attempt->to, &attempt->fd);
	if (result == SOCKET_BUSY)
		return SOCKET_BUSY;
	if (result == 0 || result == SOCKET_PENDING) {
		// A socket that is connected already is writable in the next turn, so both go the same way.
		result = loop_io_open(dial->loop, attempt->fd, on_writable, attempt, &attempt->io);
		if (result == 0) {
			loop_io_want(attempt->io, LOOP_WRITE);
			dial->pending++;
			return 0;
		}
		socket_close(&attempt->fd);
	}
	dial->no_descriptor = dial->no_descriptor || result == -EMFILE || result == -ENFILE;
	note_attempt(dial, &attempt->to, outcome_text(result));
	return result;
}

static void arm(struct dial *dial)
{
	uint64_t now = loop_now_ms(dial->loop);
	uint64_t due = dial->deadline_ms;
	if (dial->lookup == NULL && dial->begun == dial->count && dial->pending == 0)
		due = now; // nothing left to hope for: on_timer tells the owner
	else if (dial->begun < dial->count && dial->next_ms < due)
		due = dial->next_ms;
	loop_timer_arm(dial->timer, due > now ? due - now : 0, 0);
}

// Begins attempts until one is under way or none is left, and arms the timer for whatever comes next.
static void begin_next(struct dial *dial)
{
	uint64_t now = loop_now_ms(dial->loop);
	dial->next_ms = now;
	while (dial->begun < dial->count && dial->next_ms == now) {
		int result = begin(dial, &dial->attempts[dial->begun]);
		if (result == SOCKET_BUSY) {
			dial->next_ms = now + BUSY_RETRY_MS;
			break;
		}
		dial->begun++;
		if (result == 0)
			dial->next_ms = now + STAGGER_MS;
	}
	arm(dial);
}

static void on_timer(void *owner)
{
	struct dial *dial = owner;
	uint64_t now = loop_now_ms(dial->loop);
	if (dial->lookup == NULL && dial->begun == dial->count && dial->pending == 0) {
		fail(dial, false);
		return;
	}
	if (now >= dial->deadline_ms) {
		// A busy Unix listener was asked again and again, but has no socket that says so.
		if (dial->begun < dial->count && dial->pending == 0)
			note_attempt(dial, &dial->attempts[dial->begun].to, "its queue stayed full");
		fail(dial, true);
		return;
	}
	if (dial->begun < dial->count && now >= dial->next_ms)
		begin_next(dial);
	else
		arm(dial);
}

static void add(struct dial *dial, const struct address *to)
{
	if (dial->count == DIAL_ADDRESSES)
		return;
	dial->attempts[dial->count++] = (struct attempt){.dial = dial, .to = *to, .fd = -1};
}

static bool take(struct dial *dial, const struct addrinfo *entry)
{
	struct address to = {.length = entry->ai_addrlen};
	if (entry->ai_addrlen > sizeof(to.storage))
		return false;
	memcpy(&to.storage, entry->ai_addr, entry->ai_addrlen);
	if (to.any.sa_family == AF_INET)
		to.in4.sin_port = htons(dial->port);
	else if (to.any.sa_family == AF_INET6)
		to.in6.sin6_port = htons(dial->port);
	else
		return false;
	if (dial->allows != NULL && !dial->allows(dial->owner, &to.any)) {
		note_attempt(dial, &to, "not allowed");
		return false;
	}
	add(dial, &to);
	return true;
}

static const struct addrinfo *next_of_family(const struct addrinfo *entry, bool first_family, int family)
{
	while (entry != NULL && (entry->ai_family == family) != first_family)
		entry = entry->ai_next;
	return entry;
}

// Spec: RFC 8305 section 4, the first address family count being one: families alternate, each in the resolver's order.
static void add_alternating(struct dial *dial, const struct addrinfo *list)
{
	int family = list->ai_family;
	const struct addrinfo *first = next_of_family(list, true, family);
	const struct addrinfo *second = next_of_family(list, false, family);
	while (first != NULL || second != NULL) {
		if (first != NULL) {
			take(dial, first);
			first = next_of_family(first->ai_next, true, family);
		}
		if (second != NULL) {
			take(dial, second);
			second = next_of_family(second->ai_next, false, family);
		}
	}
}

static void on_answer(void *owner, int error, const struct addrinfo *list)
{
	struct dial *dial = owner;
	if (error != 0)
		note(dial, "%s: %s", dial->host, gai_strerror(error));
	else if (list != NULL)
		add_alternating(dial, list);
	begin_next(dial);
}

static int open_dial(struct loop *loop, uint32_t timeout_ms, dial_fn on_done, void *owner, struct dial **dial)
{
	struct dial *opened = calloc(1, sizeof(*opened));
	if (opened == NULL)
		return -ENOMEM;
	opened->loop = loop;
	opened->owners_pointer = dial;
	opened->on_done = on_done;
	opened->owner = owner;
	opened->deadline_ms = loop_now_ms(loop) + timeout_ms;
	int failed = loop_timer_open(loop, on_timer, opened, &opened->timer);
	if (failed != 0) {
		free(opened);
		return failed;
	}
	*dial = opened;
	return 0;
}

static int start_lookup(struct dial *dial)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	int failed = loop_lookup_start(dial->loop, dial->host, NULL, &hints, on_answer, dial, &dial->lookup);
	if (failed != 0)
		return failed;
	arm(dial);
	return 0;
}

int dial_start(struct loop *loop, const char *host, uint16_t port, uint32_t timeout_ms, dial_fn on_done, void *owner,
               struct dial **dial)
{
	struct address literal;
	if (strncmp(host, "unix:", 5) == 0) {
		if (address_parse(host, &literal) != 0)
			return -ENAMETOOLONG;
		return dial_address_start(loop, &literal, timeout_ms, on_done, owner, dial);
	}
	if (address_from_ip(host, port, &literal) == 0)
		return dial_address_start(loop, &literal, timeout_ms, on_done, owner, dial);

	int failed = open_dial(loop, timeout_ms, on_done, owner, dial);
	if (failed != 0)
		return failed;
	(*dial)->port = port;
	(*dial)->host = strdup(host);
	failed = (*dial)->host != NULL ? start_lookup(*dial) : -ENOMEM;
	if (failed != 0)
		stop(*dial);
	return failed;
}

int dial_addresses_start(struct loop *loop, const struct address *list, size_t count, uint32_t timeout_ms,
                         dial_fn on_done, void *owner, struct dial **dial)
{
	int failed = open_dial(loop, timeout_ms, on_done, owner, dial);
	if (failed != 0)
		return failed;
	for (size_t i = 0; i < count; i++)
		add(*dial, &list[i]);
	begin_next(*dial);
	return 0;
}

int dial_address_start(struct loop *loop, const struct address *to, uint32_t timeout_ms, dial_fn on_done, void *owner,
                       struct dial **dial)
{
	return dial_addresses_start(loop, to, 1, timeout_ms, on_done, owner, dial);
}

void dial_set_filter(struct dial *dial, dial_filter_fn allows)
{
	dial->allows = allows;
}

void dial_cancel(struct dial **dial)
{
	if (*dial != NULL)
		stop(*dial);
}
