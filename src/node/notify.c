#include "node/notify.h"

#include "core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int channel = -1;
static uint64_t watchdog_ms;

static uint64_t read_number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	if (!text || *text < '0' || *text > '9')
		return 0;
	unsigned long long number = strtoull(text, &end, 10);
	return *end ? 0 : number;
}

// Connected now: later there may be no way to its path.
static int open_channel(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	if ((path[0] != '/' && path[0] != '@') || length >= sizeof address.sun_path)
		return -EAFNOSUPPORT;
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	// Syscalls: socket, connect, sendto
	channel = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] == '/'));
	if (channel >= 0 && connect(channel, (const struct sockaddr *)&address, size) == 0)
		return 0;
	int refused = -errno;
	if (channel >= 0)
		close(channel);
	channel = -1;
	return refused;
}

void notify_start(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	int r = path && *path ? open_channel(path) : 0;
	uint64_t pid = read_number("WATCHDOG_PID");
	if (r < 0)
		log_warn("notify", "the service manager cannot be told anything: %s: %s", path, outcome_text(r));
	if (channel >= 0 && (pid == 0 || pid == (uint64_t)getpid()))
		watchdog_ms = read_number("WATCHDOG_USEC") / 1000;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static void tell(const char *message)
{
	// Never waits: a manager that does not read is asked too much already.
	if (channel >= 0 && send(channel, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("notify", "the service manager does not listen: %s", outcome_text(-errno));
}

void notify_ready(void)
{
	tell("READY=1");
}

void notify_reloading(void)
{
	struct timespec now;
	char message[64];
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(message, sizeof message, "RELOADING=1\nMONOTONIC_USEC=%lld",
	         (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	tell(message);
}

void notify_stopping(void)
{
	tell("STOPPING=1");
}

void notify_alive(void)
{
	tell("WATCHDOG=1");
}

void notify_status(const char *format, ...)
{
	char message[512] = "STATUS=";
	size_t head = strlen(message);
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(message + head, sizeof message - head, format, arguments);
	va_end(arguments);
	// Hostile: a peer's name in it must not become a line of its own.
	for (char *at = message + head; *at; at++)
		if (*at < 0x20 || *at > 0x7e)
			*at = '?';
	tell(message);
}

uint64_t notify_watchdog_ms(void)
{
	return watchdog_ms;
}
