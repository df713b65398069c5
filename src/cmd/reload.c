#include "cmd/reload.h"

#include "cmd/ask.h"

#include <stdio.h>

static const char usage[] =
	"usage: qanat reload [--control-socket PATH] [-c FILE]\n\n"
	"Has a running node read its configuration and certificates anew. The new configuration is tried first: when anything\n"
	"is wrong with it the old one serves on, and every problem is listed here. Flows go on either way.\n\n"
	"  --control-socket PATH  of the node; environment: QANAT_CONTROL_SOCKET\n"
	"  -c, --config FILE      take control.socket from this file\n\n"
	"Exit status: 0 reloaded, 1 refused or no node, 2 wrong command line.\n";

static void print_names(const json_t *answer, const char *list, const char *what)
{
	size_t index;
	json_t *name;
	json_array_foreach(json_object_get(answer, list), index, name)
		printf("%s %s\n", json_string_value(name), what);
}

int reload_command(int argc, char **argv)
{
	struct ask_words words;
	char path[PLACES_PATH_BYTES];
	if (!ask_words_read(argc, argv, 0, &words))
		return 2;
	if (words.help) {
		fputs(usage, stdout);
		return 0;
	}
	if (!ask_find(&words, "reload", path))
		return 1;
	json_t *answer = ask(path, "reload", NULL);
	if (!answer)
		return 1;
	bool ok = json_is_true(json_object_get(answer, "ok"));
	ask_print_problems("reload", answer);
	print_names(answer, "changed", "has changed");
	print_names(answer, "needs_restart", "has changed, but needs a restart: the old value stays");
	if (ok)
		printf("reloaded: %zu keys have changed, certificates are fresh\n",
		       json_array_size(json_object_get(answer, "changed")));
	else
		fputs("reload: refused; the old configuration serves on\n", stderr);
	json_decref(answer);
	return ok ? 0 : 1;
}
