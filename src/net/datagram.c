// Receiving: a thread has one set of slots, one for each message of recvmmsg, each as large as a message can be; only
// the pages that are used cost memory. Sending: neighbours of equal size become one message with UDP_SEGMENT. A kernel
// or a route that cannot do that says so when it is tried (EINVAL: larger than the route takes, EIO: the device cannot
// sum), and from then on this socket sends such sizes one by one.
//
// Syscalls: socket, bind, connect, setsockopt, getsockname, recvmmsg, sendmmsg, close.

#include "net/datagram.h"

#include "core/counter.h"
#include "core/log.h"
#include "limits.h"
#include "net/inherited.h"
#include "net/socket.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

// The kernel's UDP_MAX_SEGMENTS of old, and what a segmented message may hold below the largest IP packet.
#define SEGMENTS_MAX 64
#define SEGMENTED_BYTES 65000
// Odd multiples of a cache line apart, so that the beginnings of all slots do not compete for the same lines.
#define SLOT_BYTES (65536 + 33 * 64)
// Reports of lost datagrams that one datagram_send takes in its stride.
#define REPORTS_MAX 8

union control {
	struct cmsghdr header;
	uint8_t bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct buffers {
	struct mmsghdr message[DATAGRAM_BATCH];
	union control control[DATAGRAM_BATCH];
	struct iovec slot[DATAGRAM_BATCH];
	struct datagram_run run[DATAGRAM_BATCH];
	struct iovec out[DATAGRAM_BATCH * SEGMENTS_MAX];
	size_t datagrams[DATAGRAM_BATCH]; // in each message that is sent
	uint8_t bytes[DATAGRAM_BATCH][SLOT_BYTES];
};

static _Thread_local struct buffers *own;

static struct buffers *buffers(void)
{
	// Not cleared: the slots are touched when they are used.
	if (!own)
		own = malloc(sizeof *own);
	return own;
}

void datagram_trim(void)
{
	free(own);
	own = NULL;
}

// ---- sockets -------------------------------------------------------------------------------------------------------

static void set_option(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof value) != 0)
		log_debug("datagram", "the kernel refuses %s=%d: %s", name, value, outcome_text(-errno));
}

static void tune(int fd, int buffer_bytes, struct datagram_socket *out)
{
	set_option(fd, SOL_SOCKET, SO_RCVBUF, buffer_bytes, "SO_RCVBUF");
	set_option(fd, SOL_SOCKET, SO_SNDBUF, buffer_bytes, "SO_SNDBUF");
	set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, 1, "SO_RXQ_OVFL");
	set_option(fd, SOL_UDP, UDP_GRO, 1, "UDP_GRO");
	*out = (struct datagram_socket){.fd = fd, .segment_max = LIMIT_DATAGRAM_BYTES};
}

static int make(const struct address *address, int buffer_bytes, struct datagram_socket *out)
{
	int fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	tune(fd, buffer_bytes, out);
	return 0;
}

// For a stranger's use: not one of the last descriptors.
static int make_spare(const struct address *address, int buffer_bytes, struct datagram_socket *out)
{
	int r = make(address, buffer_bytes, out);
	if (r < 0 || !socket_is_reserved(out->fd))
		return r;
	datagram_close(out);
	return -EMFILE;
}

static void tell_local(const struct address *bound, int fd)
{
	if (bound->any.sa_family == AF_INET && bound->in4.sin_addr.s_addr == htonl(INADDR_ANY))
		set_option(fd, IPPROTO_IP, IP_PKTINFO, 1, "IP_PKTINFO");
	if (bound->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&bound->in6.sin6_addr))
		set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO");
}

static int bind_one(struct address *address, enum datagram_role role, int fd)
{
	struct address bound = {.length = sizeof bound.storage};
	int on = 1;
	if (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr))
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0, "IPV6_V6ONLY");
	tell_local(address, fd);
	// Without the option the first one finds out whether the port is taken, also by one who would share it.
	if (role == DATAGRAM_JOINS && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
		return -errno;
	if (bind(fd, &address->any, address->length) != 0)
		return role == DATAGRAM_JOINS && errno == EADDRINUSE ? DATAGRAM_NOT_SHARED : -errno;
	if (role == DATAGRAM_FIRST && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
		return -errno;
	if (getsockname(fd, &bound.any, &bound.length) != 0)
		return -errno;
	*address = bound;
	return 0;
}

int datagram_bind(struct address *address, enum datagram_role role, struct datagram_socket *out)
{
	int on = 1, inherited = role == DATAGRAM_JOINS ? -1 : inherited_take(address, SOCK_DGRAM);
	if (inherited >= 0) {
		tune(inherited, LIMIT_UDP_PORT_BUFFER_BYTES, out);
		tell_local(address, inherited);
		if (role == DATAGRAM_FIRST)
			(void)setsockopt(inherited, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
		return 0;
	}
	int r = role == DATAGRAM_ALONE ? make_spare(address, LIMIT_UDP_PORT_BUFFER_BYTES, out)
	                               : make(address, LIMIT_UDP_PORT_BUFFER_BYTES, out);
	if (r < 0)
		return r;
	r = bind_one(address, role, out->fd);
	if (r != 0)
		datagram_close(out);
	return r;
}

int datagram_connect(const struct address *to, struct datagram_socket *out)
{
	int r = make_spare(to, LIMIT_UDP_TARGET_BUFFER_BYTES, out);
	if (r < 0)
		return r;
	if (connect(out->fd, &to->any, to->length) != 0) {
		r = -errno;
		datagram_close(out);
	}
	return r;
}

void datagram_close(struct datagram_socket *closing)
{
	socket_close(&closing->fd);
}

// ---- receiving -----------------------------------------------------------------------------------------------------

size_t datagram_run_count(const struct datagram_run *run)
{
	return run->each == 0 ? 1 : (run->length + run->each - 1) / run->each;
}

static void prepare(struct buffers *mine)
{
	for (size_t i = 0; i < DATAGRAM_BATCH; i++) {
		mine->slot[i] = (struct iovec){.iov_base = mine->bytes[i], .iov_len = 65536};
		mine->message[i].msg_hdr = (struct msghdr){.msg_name = &mine->run[i].peer.storage,
		                                           .msg_namelen = sizeof mine->run[i].peer.storage,
		                                           .msg_iov = &mine->slot[i],
		                                           .msg_iovlen = 1,
		                                           .msg_control = &mine->control[i],
		                                           .msg_controllen = sizeof mine->control[i]};
	}
}

static void read_local(const struct cmsghdr *at, struct datagram_local *local)
{
	struct in_pktinfo in4;
	struct in6_pktinfo in6;
	if (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_PKTINFO) {
		memcpy(&in4, CMSG_DATA(at), sizeof in4);
		*local = (struct datagram_local){.family = AF_INET, .in4 = in4.ipi_spec_dst};
	} else if (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_PKTINFO) {
		memcpy(&in6, CMSG_DATA(at), sizeof in6);
		if (!IN6_IS_ADDR_MULTICAST(&in6.ipi6_addr))
			*local = (struct datagram_local){.family = AF_INET6, .in6 = in6.ipi6_addr};
	}
}

static void read_control(struct datagram_socket *from, struct msghdr *header, struct datagram_run *run)
{
	for (struct cmsghdr *at = CMSG_FIRSTHDR(header); at; at = CMSG_NXTHDR(header, at)) {
		int size;
		uint32_t overflowed;
		if (at->cmsg_level == SOL_UDP && at->cmsg_type == UDP_GRO) {
			memcpy(&size, CMSG_DATA(at), sizeof size);
			if (size > 0)
				run->each = (size_t)size;
		} else if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SO_RXQ_OVFL) {
			memcpy(&overflowed, CMSG_DATA(at), sizeof overflowed);
			counter_add(COUNTER_DATAGRAM_OVERFLOW, overflowed - from->overflowed);
			from->overflowed = overflowed;
		} else {
			read_local(at, &run->local);
		}
	}
}

// False: counted, and of no use.
static bool take(struct datagram_socket *from, struct mmsghdr *message, struct datagram_run *run)
{
	run->peer.length = message->msg_hdr.msg_namelen;
	run->length = run->each = message->msg_len;
	run->local.family = AF_UNSPEC;
	read_control(from, &message->msg_hdr, run);
	if (message->msg_hdr.msg_flags & MSG_TRUNC) {
		counter_add(COUNTER_DATAGRAM_TRUNCATED, 1);
		return false;
	}
	if (run->each > LIMIT_DATAGRAM_BYTES) {
		counter_add(COUNTER_DATAGRAM_TOO_LARGE, datagram_run_count(run));
		return false;
	}
	return true;
}

static bool is_report(int error)
{
	return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH || error == EHOSTDOWN ||
	       error == ENONET || error == ENOPROTOOPT || error == EPROTO;
}

// Sending has these on its own account. In receiving they are reports too: a smaller route, a filter.
static bool is_report_received(int error)
{
	return is_report(error) || error == EMSGSIZE || error == EACCES;
}

int datagram_recv(struct datagram_socket *from, const struct datagram_run **runs, size_t *count)
{
	struct buffers *mine = buffers();
	*count = 0;
	if (!mine)
		return -ENOMEM;
	prepare(mine);
	int n = recvmmsg(from->fd, mine->message, DATAGRAM_BATCH, 0, NULL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return DATAGRAM_NONE;
	if (n < 0)
		return is_report_received(errno) ? DATAGRAM_UNREACHABLE : -errno;
	size_t kept = 0;
	for (int i = 0; i < n; i++) {
		struct datagram_run *run = &mine->run[kept];
		if (kept != (size_t)i)
			run->peer = mine->run[i].peer;
		run->bytes = mine->bytes[i];
		if (take(from, &mine->message[i], run))
			kept++;
	}
	*runs = mine->run;
	*count = kept;
	return 0;
}

// ---- sending -------------------------------------------------------------------------------------------------------

struct sending {
	struct datagram_socket *socket;
	const struct address *to;
	const struct datagram_local *local; // NULL: none
	const struct iovec *prefix;
	const struct iovec *list;
	size_t count, at, gone;
	size_t segment_max; // of the socket, at first
	unsigned reports;
};

// How many datagrams from `at` on make one message.
static size_t run_length(const struct sending *sending, size_t at)
{
	const struct iovec *list = sending->list;
	size_t size = list[at].iov_len, total = size, n = 1;
	if (sending->prefix || size == 0 || size > sending->socket->segment_max)
		return 1;
	while (n < SEGMENTS_MAX && at + n < sending->count) {
		size_t next = list[at + n].iov_len;
		if (next == 0 || next > size || total + next > SEGMENTED_BYTES)
			break;
		total += next;
		n++;
		if (next < size)
			break;
	}
	return n;
}

static void add_control(struct msghdr *header, int level, int type, const void *data, size_t size)
{
	uint8_t *end = (uint8_t *)header->msg_control + header->msg_controllen;
	struct cmsghdr head = {.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(size)};
	memset(end, 0, CMSG_SPACE(size));
	memcpy(end, &head, sizeof head);
	memcpy(end + CMSG_LEN(0), data, size);
	header->msg_controllen += CMSG_SPACE(size);
}

static void segment(struct msghdr *header, size_t size)
{
	uint16_t each = (uint16_t)size;
	add_control(header, SOL_UDP, UDP_SEGMENT, &each, sizeof each);
}

static void leave_from(struct msghdr *header, const struct datagram_local *local)
{
	struct in_pktinfo in4 = {0};
	struct in6_pktinfo in6 = {0};
	if (local->family == AF_INET) {
		in4.ipi_spec_dst = local->in4;
		add_control(header, IPPROTO_IP, IP_PKTINFO, &in4, sizeof in4);
	} else {
		in6.ipi6_addr = local->in6;
		add_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &in6, sizeof in6);
	}
}

static unsigned build(const struct sending *sending, struct buffers *mine)
{
	unsigned messages = 0;
	size_t at = sending->at;
	struct iovec *out = mine->out;
	for (; messages < DATAGRAM_BATCH && at < sending->count; messages++) {
		size_t n = run_length(sending, at);
		struct msghdr *header = &mine->message[messages].msg_hdr;
		*header = (struct msghdr){.msg_iov = out, .msg_control = &mine->control[messages]};
		if (sending->to) {
			header->msg_name = (void *)&sending->to->storage;
			header->msg_namelen = sending->to->length;
		}
		if (sending->prefix)
			*out++ = *sending->prefix;
		memcpy(out, sending->list + at, n * sizeof *out);
		out += n;
		header->msg_iovlen = (size_t)(out - header->msg_iov);
		if (n > 1)
			segment(header, sending->list[at].iov_len);
		if (sending->local)
			leave_from(header, sending->local);
		mine->datagrams[messages] = n;
		at += n;
	}
	return messages;
}

static void drop(struct sending *sending, size_t n, enum counter reason)
{
	counter_add(reason, n);
	sending->at += n;
}

// The first message did not go.
static void take_error(struct sending *sending, size_t n, int error)
{
	struct datagram_socket *to = sending->socket;
	if (n > 1 && (error == EINVAL || error == EMSGSIZE || error == EIO)) {
		to->segment_max = error == EIO ? 0 : sending->list[sending->at].iov_len - 1;
		return;
	}
	// The address is not ours any more: the kernel says that no route begins there, or, not for segmentation, EINVAL.
	if (sending->local && (error == ENETUNREACH || (n == 1 && error == EINVAL))) {
		sending->local = NULL;
		to->segment_max = sending->segment_max;
		return;
	}
	if (is_report(error) && sending->reports++ < REPORTS_MAX)
		return; // of an earlier one: this one is tried again
	if (error == EMSGSIZE)
		drop(sending, n, COUNTER_DATAGRAM_TOO_LARGE);
	else if (error == EAGAIN || error == ENOBUFS || error == ENOMEM)
		drop(sending, sending->count - sending->at, COUNTER_DATAGRAM_LOCAL_FULL);
	else if (error != EINTR)
		drop(sending, n, COUNTER_DATAGRAM_UNREACHABLE);
}

size_t datagram_send(struct datagram_socket *socket, const struct datagram_to *to, const struct iovec *prefix,
                     const struct iovec *list, size_t count, bool *unreachable)
{
	struct sending sending = {
		.socket = socket, .prefix = prefix, .list = list, .count = count, .segment_max = socket->segment_max};
	struct buffers *mine = buffers();
	if (to) {
		sending.to = to->peer;
		sending.local = to->local && to->local->family != AF_UNSPEC ? to->local : NULL;
	}
	if (!mine)
		drop(&sending, count, COUNTER_DATAGRAM_LOCAL_FULL);
	while (sending.at < count) {
		unsigned messages = build(&sending, mine);
		int sent = sendmmsg(socket->fd, mine->message, messages, MSG_NOSIGNAL);
		if (sent < 0)
			take_error(&sending, mine->datagrams[0], errno);
		for (int i = 0; i < sent; i++) {
			sending.at += mine->datagrams[i];
			sending.gone += mine->datagrams[i];
		}
	}
	if (unreachable && sending.reports > 0)
		*unreachable = true;
	return sending.gone;
}
