#include "net/inherited.h"

#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_FD 3
// One for each listener of a large source, and some.
#define SOCKETS_MAX 1024
#define NAME_BYTES 64

struct inherited {
	int fd; // -1: taken
	int type;
	struct address address;
	char name[NAME_BYTES];
};

static struct inherited *sockets;
static size_t count;

static unsigned long read_number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	if (!text || *text < '0' || *text > '9')
		return 0;
	unsigned long number = strtoul(text, &end, 10);
	return *end ? 0 : number;
}

static bool is_listening(int fd)
{
	int listens = 0;
	socklen_t length = sizeof listens;
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
}

static int look_at(struct inherited *socket)
{
	socklen_t length = sizeof socket->type;
	int flags = fcntl(socket->fd, F_GETFL);
	socket->address.length = sizeof socket->address.storage;
	// Syscalls at start: fcntl, getsockopt, getsockname
	if (flags < 0 || fcntl(socket->fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
	    fcntl(socket->fd, F_SETFD, FD_CLOEXEC) != 0 ||
	    getsockopt(socket->fd, SOL_SOCKET, SO_TYPE, &socket->type, &length) != 0 ||
	    getsockname(socket->fd, &socket->address.any, &socket->address.length) != 0) {
		log_error("inherited", "descriptor %d (%s) of the service manager cannot be used: %s", socket->fd, socket->name,
		          outcome_text(-errno));
		return INHERITED_BAD;
	}
	if (socket->type == SOCK_DGRAM || (socket->type == SOCK_STREAM && is_listening(socket->fd)))
		return 0;
	log_error(
		"inherited",
		"descriptor %d (%s) of the service manager is neither a listening stream socket nor a datagram socket (is "
		"Accept=no?)",
		socket->fd, socket->name);
	return INHERITED_BAD;
}

// The next of a list separated by colons.
static const char *take_name(const char *names, char name[NAME_BYTES])
{
	size_t length = names ? strcspn(names, ":") : 0;
	snprintf(name, NAME_BYTES, "%.*s", (int)length, names ? names : "");
	return names && names[length] ? names + length + 1 : NULL;
}

static int look_at_all(size_t wanted)
{
	const char *names = getenv("LISTEN_FDNAMES");
	int r = 0;
	sockets = calloc(wanted, sizeof *sockets);
	for (; sockets && count < wanted; count++) {
		sockets[count].fd = FIRST_FD + (int)count;
		names = take_name(names, sockets[count].name);
		r |= look_at(&sockets[count]);
	}
	return sockets ? r : -ENOMEM;
}

int inherited_start(void)
{
	size_t wanted = read_number("LISTEN_PID") == (unsigned long)getpid() ? read_number("LISTEN_FDS") : 0;
	int r = wanted > 0 && wanted <= SOCKETS_MAX ? look_at_all(wanted) : 0;
	if (wanted > SOCKETS_MAX)
		log_error("inherited", "%zu sockets from the service manager are more than the %d that are looked at", wanted,
		          SOCKETS_MAX);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return wanted > SOCKETS_MAX ? INHERITED_BAD : r;
}

static bool is_same(const struct address *a, const struct address *b)
{
	char text_a[ADDRESS_TEXT_BYTES], text_b[ADDRESS_TEXT_BYTES];
	address_format(a, text_a);
	address_format(b, text_b);
	return strcmp(text_a, text_b) == 0;
}

int inherited_take(const struct address *address, int type)
{
	for (size_t i = 0; i < count; i++) {
		struct inherited *socket = &sockets[i];
		if (socket->fd < 0 || socket->type != type || !is_same(&socket->address, address))
			continue;
		int fd = socket->fd;
		socket->fd = -1;
		return fd;
	}
	return -1;
}

size_t inherited_unused(void)
{
	size_t unused = 0;
	char text[ADDRESS_TEXT_BYTES];
	for (size_t i = 0; i < count; i++) {
		if (sockets[i].fd < 0)
			continue;
		address_format(&sockets[i].address, text);
		log_error("inherited", "the service manager gave us %s (%s), which nothing here listens on: make both agree",
		          text, *sockets[i].name ? sockets[i].name : "without a name");
		close(sockets[i].fd);
		sockets[i].fd = -1;
		unused++;
	}
	free(sockets);
	sockets = NULL;
	count = 0;
	return unused;
}
