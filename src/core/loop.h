// The event loop: the only door to libuv. A loop belongs to the thread that runs it; only loop_post and loop_stop may
// be called from other threads.
//
// Ownership: every object is opened into an out pointer and closed through a pointer to the owner's pointer, which is
// left NULL. Closing is immediate for the owner: no callback arrives afterwards, also not later in the same turn, and a
// file descriptor may be closed right after loop_io_close. Memory that a callback of this turn may still be standing in
// is freed with loop_defer.

#pragma once

#include "core/outcome.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;
struct loop_lookup;
struct loop_watch;

MUST_USE int loop_new(struct loop **loop);
// Everything must have been closed, and nobody may post any more. Tasks that still wait are run first. Never waits: a
// lookup that was cancelled but still runs keeps what it needs until the process ends.
void loop_free(struct loop **loop);
// Runs until loop_stop. 0, or negative.
MUST_USE int loop_run(struct loop *loop);
// From any thread: loop_run returns after the current turn. Tasks posted meanwhile wait for the next run, or loop_free.
void loop_stop(struct loop *loop);
// Monotonic milliseconds (of clock_ms), taken at the start of the turn; of now when the loop does not run here.
uint64_t loop_now_ms(struct loop *loop);
// The loop that is running on this thread, NULL outside of one.
struct loop *loop_current(void);

// A task is embedded in its owner's object. It may not be queued twice at a time.
struct loop_task {
	struct loop_task *next;
	void (*run)(struct loop_task *task);
};
// Runs the task at the end of this turn, on this loop's thread. Tasks queued by deferred tasks run in the next turn,
// which then does not wait.
void loop_defer(struct loop *loop, struct loop_task *task);
// The same from any thread; wakes the loop. Order of posts from one thread is kept.
void loop_post(struct loop *loop, struct loop_task *task);

// Readiness of a descriptor, level-triggered. On POLLERR `events` has LOOP_READ|LOOP_WRITE set whatever is wanted, so
// the owner tries and gets the error from the system call itself; an owner that neither does so nor closes is told
// again and again. With nothing wanted nothing is told. One loop_io for a descriptor at a time. LOOP_ENDED: the other
// side of a stream has ended its direction, for who wants no bytes yet and is told of an error as above nevertheless.
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_ENDED = 4 };
typedef void (*loop_io_fn)(void *owner, int events);
MUST_USE int loop_io_open(struct loop *loop, int fd, loop_io_fn on_ready, void *owner, struct loop_io **io);
// Wanted events, 0 to stay registered but silent. Costs nothing when unchanged.
void loop_io_want(struct loop_io *io, int events);
void loop_io_close(struct loop_io **io);

typedef void (*loop_timer_fn)(void *owner);
MUST_USE int loop_timer_open(struct loop *loop, loop_timer_fn on_due, void *owner, struct loop_timer **timer);
// Due once after delay_ms, then every repeat_ms when that is not 0. Arming again replaces.
void loop_timer_arm(struct loop_timer *timer, uint64_t delay_ms, uint64_t repeat_ms);
void loop_timer_disarm(struct loop_timer *timer);
void loop_timer_close(struct loop_timer **timer);

typedef void (*loop_signal_fn)(void *owner, int signal_number);
MUST_USE int loop_signal_open(struct loop *loop, int signal_number, loop_signal_fn on_signal, void *owner,
                              struct loop_signal **signal);
void loop_signal_close(struct loop_signal **signal);

// Asynchronous getaddrinfo. `error` is 0 or an EAI_ code (gai_strerror); the list is lent for the duration of the call.
typedef void (*loop_lookup_fn)(void *owner, int error, const struct addrinfo *list);
MUST_USE int loop_lookup_start(struct loop *loop, const char *host, const char *service, const struct addrinfo *hints,
                               loop_lookup_fn on_answer, void *owner, struct loop_lookup **lookup);
// Harmless on NULL; no callback afterwards. After the callback the owner's pointer has been set to NULL already.
void loop_lookup_cancel(struct loop_lookup **lookup);

// Changes in folders: names that come, go or are replaced, files that were written and closed. Not in folders below
// them. Many changes may be one call, and a change may be several; at most one call in a turn. It may be closed within
// its call.
typedef void (*loop_watch_fn)(void *owner);
MUST_USE int loop_watch_open(struct loop *loop, loop_watch_fn on_change, void *owner, struct loop_watch **watch);
// Negative: no such folder, or no more watches.
MUST_USE int loop_watch_add(struct loop_watch *watch, const char *folder);
void loop_watch_close(struct loop_watch **watch); // harmless on NULL
