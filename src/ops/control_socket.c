#include "ops/control_socket.h"

#include "core/counter.h"
#include "core/log.h"
#include "edge/listener.h"
#include "limits.h"
#include "net/socket.h"
#include "ops/control_request.h"
#include "ops/status_job.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// Supplementary groups of a peer that are looked at; a user with more of them must be allowed by name.
#define PEER_GROUPS 256

struct client {
	struct control_socket *socket;
	int fd; // -1: this place is free
	struct loop_io *io;
	struct loop_timer *deadline;
	struct ucred who;
	char request[LIMIT_CONTROL_REQUEST_BYTES];
	size_t request_length;
	bool waits, in_job; // for a status; the one that is being made will be his
	char *answer;       // NULL: the request is still coming, or the answer being made
	size_t answer_length, answer_at;
};

struct control_socket {
	struct control_socket_settings settings;
	struct control_socket_ops ops;
	void *owner;
	struct listener *listener;
	struct status_job *job;
	uid_t *uids;
	gid_t *gids;
	struct client clients[LIMIT_CONTROL_CLIENTS];
	struct loop_task release;
};

// ---- who may ask ---------------------------------------------------------------------------------------------------

static bool is_member(const struct control_socket *socket, gid_t gid)
{
	for (size_t i = 0; i < socket->settings.gid_count; i++)
		if (socket->gids[i] == gid)
			return true;
	return false;
}

static bool is_user(const struct control_socket *socket, uid_t uid)
{
	for (size_t i = 0; i < socket->settings.uid_count; i++)
		if (socket->uids[i] == uid)
			return true;
	return uid == 0 || uid == geteuid();
}

// Hostile: the kernel says who has connected; nothing the peer sends counts.
static bool is_allowed(const struct control_socket *socket, int fd, struct ucred *who)
{
	gid_t groups[PEER_GROUPS];
	socklen_t length = sizeof *who, groups_length = sizeof groups;
	// Syscalls: getsockopt, geteuid
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, who, &length) != 0)
		return false;
	if (is_user(socket, who->uid) || is_member(socket, who->gid))
		return true;
	if (socket->settings.gid_count == 0 || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &groups_length) != 0)
		return false;
	for (size_t i = 0; i < groups_length / sizeof groups[0]; i++)
		if (is_member(socket, groups[i]))
			return true;
	return false;
}

// ---- answers -------------------------------------------------------------------------------------------------------

// Takes the object. NULL without memory.
static char *print(json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(object);
	return text;
}

static char *no(const char *problem)
{
	return print(json_pack("{s:b, s:[s]}", "ok", 0, "problems", problem));
}

static json_t *list(const struct reload_names *names)
{
	json_t *array = json_array();
	for (size_t i = 0; i < names->count; i++) {
		// Texts of a broken file need not be UTF-8; jansson takes nothing else.
		json_t *text = json_string(names->names[i]);
		json_array_append_new(array, text ? text : json_string("(a text that is not UTF-8: see the log)"));
	}
	return array;
}

static void on_report(void *to, const struct reload_report *report)
{
	char **answer = to;
	*answer = print(json_pack("{s:b, s:o, s:o, s:o}", "ok", report->ok, "problems", list(&report->problems), "changed",
	                          list(&report->changed), "needs_restart", list(&report->needs_restart)));
}

static char *drain_answer(struct control_socket *socket)
{
	struct status_node status = {0};
	bool begun = socket->ops.drain(socket->owner);
	socket->ops.status(socket->owner, &status);
	json_int_t flows = (json_int_t)status.flows_open;
	status_release(&status);
	return print(json_pack("{s:b, s:b, s:I}", "ok", 1, "begun", begun, "flows_open", flows));
}

// NULL without memory. A status comes later.
static char *answer_to(struct control_socket *socket, enum control_request request, const char *device)
{
	char *answer = NULL;
	bool is_of_hub = request == CONTROL_REQUEST_DEVICES || request == CONTROL_REQUEST_KICK;
	if (is_of_hub && (!socket->ops.devices || !socket->ops.kick))
		return no("this node is no hub: it has no devices");
	if (is_of_hub)
		return request == CONTROL_REQUEST_KICK ? socket->ops.kick(socket->owner, device)
		                                       : socket->ops.devices(socket->owner, device);
	if (request == CONTROL_REQUEST_RELOAD)
		socket->ops.reload(socket->owner, on_report, &answer);
	else if (request == CONTROL_REQUEST_DRAIN)
		answer = drain_answer(socket);
	else
		answer = print(json_pack("{s:b, s:s}", "ok", 1, "version", QANAT_VERSION));
	return answer;
}

// ---- clients -------------------------------------------------------------------------------------------------------

static void client_end(struct client *client)
{
	loop_io_close(&client->io);
	loop_timer_close(&client->deadline);
	socket_close(&client->fd);
	free(client->answer);
	client->answer = NULL;
	client->waits = false;
}

static void client_write(struct client *client)
{
	ssize_t n = send(client->fd, client->answer + client->answer_at, client->answer_length - client->answer_at,
	                 MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		n = 0;
	if (n >= 0)
		client->answer_at += (size_t)n;
	if (n < 0 || client->answer_at == client->answer_length)
		client_end(client);
	else
		loop_io_want(client->io, LOOP_WRITE);
}

// Takes the answer; without memory for one the connection ends.
static void client_give(struct client *client, char *answer)
{
	client->answer = answer;
	client->waits = false;
	if (!answer) {
		client_end(client);
		return;
	}
	client->answer_length = strlen(answer);
	client_write(client);
}

static void start_job(struct control_socket *socket);

// Everybody who waits gets this one; nobody's knowledge is older than his question by more than the one that was made.
static void on_status(void *to, char *text)
{
	struct control_socket *socket = to;
	bool more = false;
	socket->job = NULL;
	for (size_t i = 0; i < COUNT_OF(socket->clients); i++) {
		struct client *client = &socket->clients[i];
		char *whole = NULL;
		more = more || (client->waits && !client->in_job);
		if (!client->waits || !client->in_job)
			continue;
		if (text && asprintf(&whole, "{\"ok\":true,\"status\":%s}", text) < 0)
			whole = NULL;
		client_give(client, whole);
	}
	free(text);
	if (more)
		start_job(socket);
}

// One at a time, for all who wait at its start; whoever comes later waits for the next.
static void start_job(struct control_socket *socket)
{
	int r = status_job_start(socket->settings.loop, socket->ops.status, socket->owner, on_status, socket, &socket->job);
	for (size_t i = 0; i < COUNT_OF(socket->clients); i++) {
		struct client *client = &socket->clients[i];
		client->in_job = client->waits;
		if (r < 0 && client->waits)
			client_give(client, no(outcome_text(r)));
	}
}

static void client_answer(struct client *client)
{
	struct control_socket *socket = client->socket;
	enum control_request request;
	char problem[CONTROL_REQUEST_PROBLEM_BYTES], device[CONTROL_REQUEST_DEVICE_BYTES];
	if (control_request_parse(client->request, client->request_length, &request, device, problem) != 0) {
		counter_add(COUNTER_CONTROL_SOCKET_BAD, 1);
		client_give(client, no(problem));
		return;
	}
	counter_add(COUNTER_CONTROL_SOCKET_OK, 1);
	if (request == CONTROL_REQUEST_RELOAD || request == CONTROL_REQUEST_DRAIN || request == CONTROL_REQUEST_KICK)
		log_info("control_socket", "%s, asked for by user %u (process %d)", control_request_name(request),
		         (unsigned)client->who.uid, (int)client->who.pid);
	if (request != CONTROL_REQUEST_STATUS) {
		client_give(client, answer_to(socket, request, device));
		return;
	}
	client->waits = true;
	client->in_job = false;
	if (!socket->job)
		start_job(socket);
}

static void client_read(struct client *client)
{
	size_t room = sizeof client->request - client->request_length;
	ssize_t n = recv(client->fd, client->request + client->request_length, room, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_end(client);
		return;
	}
	const char *end = memchr(client->request + client->request_length, '\n', (size_t)n);
	client->request_length += (size_t)n;
	// Hostile: a request that does not end within its limit is judged as it is, and is not JSON.
	if (!end && client->request_length < sizeof client->request)
		return;
	if (end)
		client->request_length = (size_t)(end - client->request);
	loop_io_want(client->io, 0);
	client_answer(client);
}

static void on_client(void *owner, int events)
{
	struct client *client = owner;
	if (client->answer)
		client_write(client);
	else if (events & LOOP_READ && !client->waits)
		client_read(client);
}

static void on_deadline(void *owner)
{
	counter_add(COUNTER_CONTROL_SOCKET_LATE, 1);
	client_end(owner);
}

// ---- connections ---------------------------------------------------------------------------------------------------

// The few bytes of a refusal fit the empty buffer of a new socket.
static void turn_away(int fd, enum counter counter, const char *problem)
{
	char *answer = no(problem);
	counter_add(counter, 1);
	if (answer)
		(void)!send(fd, answer, strlen(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
	free(answer);
	socket_close(&fd);
}

static int client_start(struct client *client, int fd)
{
	struct loop *loop = client->socket->settings.loop;
	client->fd = fd;
	client->request_length = client->answer_at = 0;
	int r = loop_timer_open(loop, on_deadline, client, &client->deadline);
	if (r == 0)
		r = loop_io_open(loop, fd, on_client, client, &client->io);
	if (r < 0) {
		client_end(client);
		return r;
	}
	loop_timer_arm(client->deadline, LIMIT_CONTROL_REQUEST_MS, 0);
	loop_io_want(client->io, LOOP_READ);
	return 0;
}

static void on_accept(void *owner, int fd, const struct address *peer)
{
	struct control_socket *socket = owner;
	struct ucred who = {.uid = (uid_t)-1};
	(void)peer;
	if (!is_allowed(socket, fd, &who)) {
		log_warn("control_socket",
		         "user %u (process %d) was refused: control.allowed_users and control.allowed_groups do not name it",
		         (unsigned)who.uid, (int)who.pid);
		turn_away(fd, COUNTER_CONTROL_SOCKET_REFUSED,
		          "you are not allowed: control.allowed_users and control.allowed_groups of the node do not name you");
		return;
	}
	for (size_t i = 0; i < COUNT_OF(socket->clients); i++) {
		struct client *client = &socket->clients[i];
		if (client->fd >= 0)
			continue;
		client->who = who;
		if (client_start(client, fd) < 0)
			counter_add(COUNTER_CONTROL_SOCKET_BUSY, 1);
		return;
	}
	turn_away(fd, COUNTER_CONTROL_SOCKET_BUSY, "busy: too many requests at once");
}

// ---- life ----------------------------------------------------------------------------------------------------------

static void release(struct loop_task *task)
{
	struct control_socket *socket = CONTAINER_OF(task, struct control_socket, release);
	free(socket->uids);
	free(socket->gids);
	free(socket);
}

static int copy_lists(struct control_socket *socket, const struct control_socket_settings *settings)
{
	socket->uids = calloc(settings->uid_count + 1, sizeof *socket->uids);
	socket->gids = calloc(settings->gid_count + 1, sizeof *socket->gids);
	if (!socket->uids || !socket->gids)
		return -ENOMEM;
	if (settings->uid_count > 0)
		memcpy(socket->uids, settings->uids, settings->uid_count * sizeof *socket->uids);
	if (settings->gid_count > 0)
		memcpy(socket->gids, settings->gids, settings->gid_count * sizeof *socket->gids);
	return 0;
}

static void give_to_group(const struct control_socket *socket, const char *path)
{
	// Syscalls at start: lchown
	if (lchown(path, (uid_t)-1, socket->gids[0]) != 0)
		log_warn("control_socket",
		         "%s cannot be given to group %u: %s; only root and members of a group may give it away", path,
		         (unsigned)socket->gids[0], outcome_text(-errno));
}

int control_socket_open(const struct control_socket_settings *settings, struct address *address,
                        const struct control_socket_ops *ops, void *owner, struct control_socket **out)
{
	struct control_socket *socket = calloc(1, sizeof *socket);
	if (!socket)
		return -ENOMEM;
	socket->settings = *settings;
	socket->ops = *ops;
	socket->owner = owner;
	socket->release.run = release;
	for (size_t i = 0; i < COUNT_OF(socket->clients); i++)
		socket->clients[i] = (struct client){.socket = socket, .fd = -1};
	int r = copy_lists(socket, settings);
	if (r == 0)
		r = listener_open(settings->loop, address, on_accept, socket, &socket->listener);
	if (r < 0) {
		control_socket_close(&socket);
		return r;
	}
	if (settings->gid_count > 0)
		give_to_group(socket, address->un.sun_path);
	*out = socket;
	return 0;
}

void control_socket_close(struct control_socket **slot)
{
	struct control_socket *socket = *slot;
	*slot = NULL;
	if (!socket)
		return;
	listener_close(&socket->listener);
	status_job_cancel(&socket->job);
	for (size_t i = 0; i < COUNT_OF(socket->clients); i++)
		client_end(&socket->clients[i]);
	loop_defer(socket->settings.loop, &socket->release);
}
