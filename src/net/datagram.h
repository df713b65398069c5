// UDP sockets and datagrams in batches: one system call takes or gives many of them, and the kernel's segmentation
// (UDP_GRO, UDP_SEGMENT) makes one message of a run of equal ones where it can. Nothing is allocated per datagram; the
// buffers are the thread's.

#pragma once

#include "core/outcome.h"
#include "net/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

// Messages of one receiving system call.
#define DATAGRAM_BATCH 32

struct datagram_socket { // the null value has fd -1
	int fd;
	uint32_t overflowed; // as the kernel counts what it dropped because nobody read
	size_t segment_max;  // runs of datagrams up to this size go as one message
};

// Bound. DATAGRAM_ALONE: nobody else may have the port (-EADDRINUSE), now or later; it is for a stranger, so it does
// not take one of the last descriptors (-EMFILE, net/socket). DATAGRAM_FIRST: nobody else has it, but others of this
// user may join it. DATAGRAM_JOINS: one of those; the kernel keeps each client with one of the sockets;
// DATAGRAM_NOT_SHARED: the first one, which a service manager opened, belongs to another user. *address is updated
// (port 0). What a service manager has opened for this address is taken instead of a socket of our own.
enum datagram_role { DATAGRAM_ALONE, DATAGRAM_FIRST, DATAGRAM_JOINS };
enum { DATAGRAM_NOT_SHARED = 3 };
MUST_USE int datagram_bind(struct address *address, enum datagram_role role, struct datagram_socket *socket);
// Connected: datagrams of others do not come in. -EMFILE also when only the last descriptors are left.
MUST_USE int datagram_connect(const struct address *to, struct datagram_socket *socket);
void datagram_close(struct datagram_socket *socket);

// Which of our addresses a datagram came to, so that the answer leaves from the same: many clients take no other. Known
// of a socket that is bound to all addresses; AF_UNSPEC: not known, or the only one.
struct datagram_local {
	sa_family_t family;
	union {
		struct in_addr in4;
		struct in6_addr in6; // IPv4 too, mapped, of a socket of IPv6
	};
};

// What one peer sent in one message: datagrams of `each` bytes side by side, the last one perhaps shorter. Lent until
// the thread's next datagram_recv.
struct datagram_run {
	struct address peer;
	struct datagram_local local;
	const uint8_t *bytes;
	size_t length, each; // 0, 0: one empty datagram
};
size_t datagram_run_count(const struct datagram_run *run);

// 0: there are *count runs, perhaps none of use; ask again. DATAGRAM_NONE: nothing waits. DATAGRAM_UNREACHABLE: a
// router or the peer's host said that something sent earlier did not arrive; go on. Datagrams that were cut or are too
// large are counted as dropped and left out; so is what the kernel dropped. Negative: the socket broke, or no memory.
enum { DATAGRAM_NONE = 1, DATAGRAM_UNREACHABLE = 2 };
MUST_USE int datagram_recv(struct datagram_socket *socket, const struct datagram_run **runs, size_t *count);

struct datagram_to {
	const struct address *peer;
	const struct datagram_local *local; // NULL: as the kernel chooses, also when it is no address of ours any more
};

// Sends each element as one datagram, `prefix` (may be NULL) in front of each. `to` NULL: a connected socket. Returns
// how many went; the others are counted as dropped, each for its reason. *unreachable (may be NULL) is set when the
// kernel reported that something sent earlier did not arrive.
size_t datagram_send(struct datagram_socket *socket, const struct datagram_to *to, const struct iovec *prefix,
                     const struct iovec *list, size_t count, bool *unreachable);

// Frees this thread's buffers (thread end).
void datagram_trim(void);
