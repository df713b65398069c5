#include "cmd/connect.h"

#include "cmd/ask.h"
#include "fleet/naming.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BUFFER_BYTES 65536

static const char usage[] =
	"usage: qanat connect NAME[:SERVICE] [--ldir FOLDER] [--control-socket PATH] [-c FILE]\n\n"
	"Joins standard input and output to a device of the hub that runs here. The end of input is told to the device,\n"
	"and what it still says is waited for. \"robot011\" is device \"robot011\", or \"011\" when only that one is there.\n\n"
	"  ssh -o ProxyCommand=\"qanat connect %h\" robot011\n\n"
	"  --ldir, --directory FOLDER  where the hub has its sockets; environment: QANAT_HUB_DIRECTORY;\n"
	"                              otherwise the hub is asked\n"
	"  --control-socket PATH       of the hub; environment: QANAT_CONTROL_SOCKET\n"
	"  -c, --config FILE           take control.socket from this file\n\n"
	"Exit status: 0 both directions ended in order, 1 the device is away, does not answer or the connection broke,\n"
	"2 wrong command line.\n";

// ---- finding the socket --------------------------------------------------------------------------------------------

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "connect: %s: %s\n", what, why);
	return 1;
}

static char *ask_directory(const struct ask_words *words)
{
	char path[PLACES_PATH_BYTES];
	const char *said = getenv("QANAT_HUB_DIRECTORY");
	if (words->directory || (said && *said))
		return strdup(words->directory ? words->directory : said);
	json_t *answer = ask_find(words, "connect", path) ? ask_device(path, "devices", "~") : NULL;
	const char *directory = json_string_value(json_object_get(answer, "directory"));
	char *copy = directory ? strdup(directory) : NULL;
	if (answer && !directory)
		ask_print_problems("connect", answer);
	json_decref(answer);
	return copy;
}

// Names may be longer than the path of a socket: it is reached through a handle. -errno when it cannot be.
static int dial(int folder, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int socket_inode = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (socket_inode < 0)
		return -errno;
	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", socket_inode);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ? -errno : fd;
	if (r < 0 && fd >= 0)
		close(fd);
	close(socket_inode);
	return r;
}

static int dial_device(int folder, const char *device, const char *service)
{
	char name[2 * NAMING_BYTES + 8];
	snprintf(name, sizeof name, "%s%s%s.sock", device, *service ? "." : "", service);
	return dial(folder, name);
}

static const char *explain(int r)
{
	return r == -ENOENT         ? "the device is away, or there is none with that name or service"
	       : r == -ECONNREFUSED ? "no hub answers at its socket"
	       : r == -EACCES       ? "you may not connect to it (the mode and group of its socket)"
	                            : outcome_text(r);
}

// ---- moving --------------------------------------------------------------------------------------------------------

struct half {
	int from, to;
	char bytes[BUFFER_BYTES];
	size_t at, length;
	bool ended;
};

enum { HALF_BROKE = 1 };

static void end_half(struct half *half)
{
	half->ended = true;
	if (shutdown(half->to, SHUT_WR) != 0 && errno == ENOTSOCK)
		close(half->to);
}

static int fill(struct half *half)
{
	ssize_t n = read(half->from, half->bytes, sizeof half->bytes);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : HALF_BROKE;
	half->at = 0;
	half->length = (size_t)n;
	if (n == 0)
		end_half(half);
	return 0;
}

static int drain(struct half *half)
{
	ssize_t n = write(half->to, half->bytes + half->at, half->length);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : HALF_BROKE;
	half->at += (size_t)n;
	half->length -= (size_t)n;
	return 0;
}

static int step(struct half *half, const struct pollfd *in, const struct pollfd *out)
{
	if (half->length > 0 && out->revents)
		return drain(half);
	if (half->length == 0 && !half->ended && in->revents)
		return fill(half);
	return 0;
}

// Until the device has nothing more to say; what we still have to say is then of no use to it.
static int join(int fd)
{
	static struct half outward, inward;
	outward = (struct half){.from = STDIN_FILENO, .to = fd};
	inward = (struct half){.from = fd, .to = STDOUT_FILENO};
	while (!inward.ended || inward.length > 0) {
		struct pollfd look[4] = {
			{.fd = !outward.ended && outward.length == 0 ? outward.from : -1, .events = POLLIN},
			{.fd = outward.length > 0 ? outward.to : -1, .events = POLLOUT},
			{.fd = !inward.ended && inward.length == 0 ? inward.from : -1, .events = POLLIN},
			{.fd = inward.length > 0 ? inward.to : -1, .events = POLLOUT},
		};
		if (poll(look, 4, -1) < 0 && errno != EINTR)
			return 1;
		if (step(&inward, &look[2], &look[3]) != 0)
			return fail("the connection", outcome_text(-errno));
		// A device that does not listen any more may still be speaking.
		if (step(&outward, &look[0], &look[1]) != 0) {
			outward.ended = true;
			outward.length = 0;
		}
	}
	return 0;
}

// ---- the command ---------------------------------------------------------------------------------------------------

static int run(const struct ask_words *words, const char *device, const char *service)
{
	char *directory = ask_directory(words);
	if (!directory)
		return 1;
	int folder = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0) {
		int status = fail(directory, outcome_text(-errno));
		free(directory);
		return status;
	}
	free(directory);
	int fd = dial_device(folder, device, service);
	// ssh -o ProxyCommand="qanat connect %h" robot011, as the first tool of this kind has it in its document.
	if (fd == -ENOENT && strncmp(device, "robot", 5) == 0 && naming_is_good(device + 5))
		fd = dial_device(folder, device + 5, service);
	close(folder);
	if (fd < 0)
		return fail(device, explain(fd));
	(void)signal(SIGPIPE, SIG_IGN);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		return fail(device, outcome_text(-errno));
	int status = join(fd);
	close(fd);
	return status;
}

int connect_command(int argc, char **argv)
{
	struct ask_words words;
	char device[2 * NAMING_BYTES];
	if (!ask_words_read(argc, argv, ASK_MAY_NAME, &words))
		return 2;
	if (words.help || !words.name) {
		fputs(usage, words.help ? stdout : stderr);
		return words.help ? 0 : 2;
	}
	snprintf(device, sizeof device, "%s", words.name);
	char *colon = strchr(device, ':');
	if (colon)
		*colon++ = '\0';
	if (strlen(words.name) >= sizeof device || !naming_is_good(device) || (colon && !naming_is_good(colon))) {
		fprintf(stderr, "connect: \"%s\" is not NAME or NAME:SERVICE\n", words.name);
		return 2;
	}
	return run(&words, device, colon ? colon : "");
}
