#include "cmd/drain.h"

#include "cmd/ask.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK_MS 250

static const char usage[] =
	"usage: qanat drain [--wait] [--control-socket PATH] [-c FILE]\n\n"
	"Has a running node take nothing new and stop when its flows have ended, at the latest after\n"
	"node.drain_timeout_seconds: what SIGTERM does.\n\n"
	"  --wait                 until the process has ended, showing how many flows are left\n"
	"  --control-socket PATH  of the node; environment: QANAT_CONTROL_SOCKET\n"
	"  -c, --config FILE      take control.socket from this file\n\n"
	"Exit status: 0 draining (with --wait: ended), 1 no node, 2 wrong command line.\n";

static json_int_t flows_of(const json_t *answer)
{
	const json_t *status = json_object_get(answer, "status");
	return json_integer_value(json_object_get(status ? status : answer, "flows_open"));
}

// -1: this kernel or namespace shows us no process; then it has ended when its socket does not answer any more.
static int open_process(pid_t pid)
{
	return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

static bool has_ended(int process, const char *path)
{
	struct pollfd look = {.fd = process, .events = POLLIN};
	if (process >= 0)
		return poll(&look, 1, LOOK_MS) == 1;
	(void)poll(NULL, 0, LOOK_MS);
	return access(path, F_OK) != 0;
}

// Between its last flow and its end a node may close its socket at any moment, so questions here may fail in silence.
static void wait_for_end(const char *path, int process, json_int_t flows)
{
	json_int_t shown = -1;
	bool ended = false, answers = true;
	while (!ended) {
		if (flows != shown)
			printf("%lld flow%s left\n", (long long)flows, flows == 1 ? "" : "s");
		fflush(stdout);
		shown = flows;
		ended = has_ended(process, path);
		if (ended || !answers || access(path, F_OK) != 0)
			continue;
		int refused;
		json_t *answer = ask_quietly(path, "status", NULL, &refused);
		answers = answer != NULL;
		if (answer)
			flows = flows_of(answer);
		json_decref(answer);
	}
	puts("ended");
}

int drain_command(int argc, char **argv)
{
	struct ask_words words;
	char path[PLACES_PATH_BYTES];
	pid_t pid = 0;
	if (!ask_words_read(argc, argv, ASK_MAY_WAIT, &words))
		return 2;
	if (words.help) {
		fputs(usage, stdout);
		return 0;
	}
	if (!ask_find(&words, "drain", path))
		return 1;
	json_t *answer = ask(path, "drain", &pid);
	if (!answer)
		return 1;
	bool ok = json_is_true(json_object_get(answer, "ok"));
	ask_print_problems("drain", answer);
	if (ok && !json_is_true(json_object_get(answer, "begun")))
		puts("draining already");
	if (ok && words.wait) {
		int process = open_process(pid);
		wait_for_end(path, process, flows_of(answer));
		if (process >= 0)
			close(process);
	} else if (ok) {
		printf("draining: %lld flows left\n", (long long)flows_of(answer));
	}
	json_decref(answer);
	return ok ? 0 : 1;
}
