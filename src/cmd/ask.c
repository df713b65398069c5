#include "cmd/ask.h"

#include "config/json.h"
#include "config/schema.h"
#include "core/outcome.h"
#include "limits.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

// A node that is alive answers at once; a reload takes as long as its files and listeners take.
#define ANSWER_S 30
// /status of 1000 links is about 2 MiB.
#define ANSWER_BYTES (16 * 1024 * 1024)
#define CONFIG_BYTES (1024 * 1024)

// ---- words ---------------------------------------------------------------------------------------------------------

static bool take_value(int argc, char **argv, int *at, const char *flag, const char **value)
{
	size_t length = strlen(flag);
	if (strncmp(argv[*at], flag, length) == 0 && argv[*at][length] == '=') {
		*value = argv[*at] + length + 1;
		return true;
	}
	if (strcmp(argv[*at], flag) != 0 || *at + 1 >= argc)
		return false;
	*value = argv[++*at];
	return true;
}

bool ask_words_read(int argc, char **argv, int may, struct ask_words *words)
{
	*words = (struct ask_words){0};
	for (int at = 1; at < argc; at++) {
		const char *word = argv[at];
		if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
			words->help = true;
		else if ((may & ASK_MAY_NAME) && *word != '-' && !words->name)
			words->name = word;
		else if ((may & ASK_MAY_NAME) && take_value(argc, argv, &at, "--ldir", &words->directory))
			continue;
		else if ((may & ASK_MAY_NAME) && take_value(argc, argv, &at, "--directory", &words->directory))
			continue;
		else if ((may & ASK_MAY_JSON) && strcmp(word, "--json") == 0)
			words->json = true;
		else if ((may & ASK_MAY_WAIT) && strcmp(word, "--wait") == 0)
			words->wait = true;
		else if (!take_value(argc, argv, &at, "--control-socket", &words->socket) &&
		         !take_value(argc, argv, &at, "-c", &words->config) &&
		         !take_value(argc, argv, &at, "--config", &words->config)) {
			fprintf(stderr, "%s: %s: unexpected argument, or its value is missing; see `qanat %s --help`\n", argv[0],
			        word, argv[0]);
			return false;
		}
	}
	return true;
}

// ---- finding a node ------------------------------------------------------------------------------------------------

static bool keep_path(const char *command, const char *from, char path[PLACES_PATH_BYTES])
{
	if (strncmp(from, "unix:", 5) == 0)
		from += 5;
	if (strlen(from) < PLACES_PATH_BYTES) {
		snprintf(path, PLACES_PATH_BYTES, "%s", from);
		return true;
	}
	fprintf(stderr, "%s: %s: too long for the path of a socket\n", command, from);
	return false;
}

static char *read_file(const char *path, size_t *length)
{
	FILE *file = fopen(path, "re");
	char *text = file ? malloc(CONFIG_BYTES) : NULL;
	*length = text ? fread(text, 1, CONFIG_BYTES, file) : 0;
	if (file)
		fclose(file);
	return text;
}

// control.socket alone: a file that is not good for a start may be just what a reload is about to be told.
static char *configured(const char *path)
{
	struct tree_node *root = NULL;
	struct tree_place place;
	char problem[TOML_PROBLEM_BYTES], *found = NULL;
	size_t length, name = strlen(path);
	char *text = read_file(path, &length);
	bool json = name > 5 && strcmp(path + name - 5, ".json") == 0;
	if (text && (json ? json_read(text, length, path, &root, &place, problem)
	                  : toml_read(text, length, path, &root, &place, problem)) == 0) {
		const struct tree_node *section = tree_child(root, "control");
		const struct tree_node *key = section ? tree_child(section, "socket") : NULL;
		if (key && key->kind == TREE_TEXT && strcmp(key->text, "off") != 0)
			found = strdup(key->text);
	}
	if (root)
		tree_free(&root);
	free(text);
	return found;
}

static int open_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = ANSWER_S};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
		int refused = -errno;
		close(fd);
		return refused;
	}
	return fd;
}

// What can be connected to, or could be by somebody else: a node is there either way.
static bool is_alive(const char *path)
{
	int fd = open_socket(path);
	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -EACCES;
}

static bool is_socket_name(const char *name)
{
	size_t length = strlen(name);
	return length > 5 && strcmp(name + length - 5, ".sock") == 0 &&
	       (strncmp(name, "source", 6) == 0 || strncmp(name, "dest", 4) == 0 || strncmp(name, "hub", 3) == 0 ||
	        strncmp(name, "proxy", 5) == 0);
}

struct found {
	char paths[16][PLACES_PATH_BYTES];
	size_t count;
};

static void look_in(const char *folder, struct found *found)
{
	DIR *open = opendir(folder);
	if (!open)
		return;
	for (struct dirent *entry; (entry = readdir(open)) && found->count < COUNT_OF(found->paths);) {
		char *path = found->paths[found->count];
		if (!is_socket_name(entry->d_name))
			continue;
		int n = snprintf(path, PLACES_PATH_BYTES, "%s/%s", folder, entry->d_name);
		if (n > 0 && (size_t)n < PLACES_PATH_BYTES && is_alive(path))
			found->count++;
	}
	closedir(open);
}

static bool choose(const struct found *found, const struct places *places, const char *command,
                   char path[PLACES_PATH_BYTES])
{
	if (found->count == 1)
		return keep_path(command, found->paths[0], path);
	if (found->count == 0) {
		fprintf(stderr, "%s: no running node found in", command);
		for (size_t i = 0; i < places->count; i++)
			fprintf(stderr, "%s %s", i ? " or" : "", places->folders[i]);
		fputs("; name its socket with --control-socket PATH (its log says \"control socket: PATH\")\n", stderr);
		return false;
	}
	fprintf(stderr, "%s: several nodes run here; choose one:\n", command);
	for (size_t i = 0; i < found->count; i++)
		fprintf(stderr, "  qanat %s --control-socket %s\n", command, found->paths[i]);
	return false;
}

bool ask_find(const struct ask_words *words, const char *command, char path[PLACES_PATH_BYTES])
{
	const char *said = getenv("QANAT_CONTROL_SOCKET"), *file = getenv("QANAT_CONFIG");
	if (words->socket)
		return keep_path(command, words->socket, path);
	if (said && *said && !words->config)
		return keep_path(command, said, path);
	char *set = configured(words->config ? words->config : file && *file ? file : SCHEMA_DEFAULT_PATH);
	if (set) {
		bool fits = keep_path(command, set, path);
		free(set);
		return fits;
	}
	struct places places;
	struct found found = {.count = 0};
	places_list(&places);
	for (size_t i = 0; i < places.count; i++)
		look_in(places.folders[i], &found);
	return choose(&found, &places, command, path);
}

// ---- asking --------------------------------------------------------------------------------------------------------

static char *read_answer(int fd, size_t *length)
{
	char *text = NULL;
	size_t room = 0;
	ssize_t n = 1;
	*length = 0;
	while (n > 0 && *length < ANSWER_BYTES) {
		if (*length + 65536 > room) {
			room = 2 * room + 65536;
			char *longer = realloc(text, room);
			if (!longer)
				break;
			text = longer;
		}
		n = recv(fd, text + *length, room - *length, 0);
		if (n > 0)
			*length += (size_t)n;
	}
	// A refusal is sent before our request is read, and what is left unread makes its end a reset.
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return text;
	free(text);
	return NULL;
}

static json_t *exchange(int fd, const char *command, const char *device)
{
	char line[256];
	size_t length = 0;
	int n = device ? snprintf(line, sizeof line, "{\"command\":\"%s\",\"device\":\"%.*s\"}\n", command,
	                          LIMIT_DEVICE_NAME_BYTES, device)
	               : snprintf(line, sizeof line, "{\"command\":\"%s\"}\n", command);
	// A node that refuses us may have said so, and gone, before we asked: its answer is read in any case.
	(void)!send(fd, line, (size_t)n, MSG_NOSIGNAL);
	char *text = read_answer(fd, &length);
	json_t *answer = text ? json_loadb(text, length, 0, NULL) : NULL;
	free(text);
	if (!json_is_boolean(json_object_get(answer, "ok"))) {
		json_decref(answer);
		return NULL;
	}
	return answer;
}

static json_t *ask_about(const char *path, const char *command, const char *device, pid_t *pid, int *refused)
{
	struct ucred who = {0};
	socklen_t length = sizeof who;
	int fd = open_socket(path);
	*refused = fd < 0 ? fd : 0;
	if (fd < 0)
		return NULL;
	if (pid && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0)
		*pid = who.pid;
	json_t *answer = exchange(fd, command, device);
	close(fd);
	return answer;
}

json_t *ask_quietly(const char *path, const char *command, pid_t *pid, int *refused)
{
	return ask_about(path, command, NULL, pid, refused);
}

static void print_refused(const char *path, const char *command, int refused);

json_t *ask_device(const char *path, const char *command, const char *device)
{
	int refused;
	json_t *answer = ask_about(path, command, device, NULL, &refused);
	if (!answer)
		print_refused(path, command, refused);
	return answer;
}

json_t *ask(const char *path, const char *command, pid_t *pid)
{
	int refused;
	json_t *answer = ask_quietly(path, command, pid, &refused);
	if (!answer)
		print_refused(path, command, refused);
	return answer;
}

static void print_refused(const char *path, const char *command, int refused)
{
	if (refused == 0)
		fprintf(stderr, "%s: %s: the node gave no answer that can be understood within %d s\n", command, path,
		        ANSWER_S);
	else
		fprintf(stderr, "%s: %s: %s%s\n", command, path, outcome_text(refused),
		        refused == -ECONNREFUSED || refused == -ENOENT ? ": no node answers there"
		        : refused == -EACCES ? ": only root, the node's user and the groups it allows may ask"
		                             : "");
}

void ask_print_problems(const char *command, const json_t *answer)
{
	size_t index;
	json_t *problem;
	json_array_foreach(json_object_get(answer, "problems"), index, problem)
		fprintf(stderr, "%s: %s\n", command, json_string_value(problem) ? json_string_value(problem) : "");
}
