// `qanat cert serve --listen`: requests over connections, usually handed on by a dest that offers this as a service.
// With --proxy-protocol dest says whose connection it is, by the certificate that it has verified.

#include "cmd/cert_internal.h"
#include "cmd/cert_serve_internal.h"
#include "core/log.h"
#include "crypto/renewal_message.h"
#include "edge/listener.h"
#include "edge/proxy_header.h"
#include "limits.h"
#include "net/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define IN_BYTES (LIMIT_PROXY_HEADER_BYTES + RENEWAL_REQUEST_HEAD_BYTES + LIMIT_RENEWAL_BYTES)

struct client {
	struct cert_serve_link *link;
	int fd; // -1: this place is free
	struct loop_io *io;
	struct loop_timer *deadline;
	bool is_introduced; // the PROXY header has been read
	struct proxy_peer peer;
	char from[ADDRESS_TEXT_BYTES + 160];
	uint8_t *in; // IN_BYTES
	size_t in_length;
	uint8_t *out; // NULL: the request is still coming
	size_t out_length, out_at;
};

struct cert_serve_link {
	struct loop *loop;
	const struct answer_policy *policy;
	bool wants_header;
	struct listener *listener;
	struct client clients[LIMIT_RENEWAL_CLIENTS];
};

static void close_client(struct client *client)
{
	loop_io_close(&client->io);
	if (client->deadline)
		loop_timer_close(&client->deadline);
	if (client->fd >= 0)
		socket_close(&client->fd);
	free(client->in);
	free(client->out);
	*client = (struct client){.link = client->link, .fd = -1};
}

static void give_up(struct client *client, const char *why)
{
	log_warn("cert", "%s: no answer: %s", client->from, why);
	close_client(client);
}

static void on_late(void *owner)
{
	give_up(owner, "not within its time");
}

// ---- the answer ----------------------------------------------------------------------------------------------------

// Syscalls: sendto, recvfrom
static void send_some(struct client *client)
{
	while (client->out_at < client->out_length) {
		ssize_t sent = send(client->fd, client->out + client->out_at, client->out_length - client->out_at,
		                    MSG_NOSIGNAL);
		if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
			loop_io_want(client->io, LOOP_WRITE);
			return;
		}
		if (sent < 0) {
			give_up(client, strerrordesc_np(errno));
			return;
		}
		client->out_at += (size_t)sent;
	}
	close_client(client);
}

static bool fill_answer(struct client *client, enum renewal_outcome outcome, const char *bytes, size_t length)
{
	client->out = malloc(RENEWAL_ANSWER_HEAD_BYTES + length);
	if (!client->out)
		return false;
	renewal_message_answer_head(outcome, length, client->out);
	memcpy(client->out + RENEWAL_ANSWER_HEAD_BYTES, bytes, length);
	client->out_length = RENEWAL_ANSWER_HEAD_BYTES + length;
	return true;
}

static int deliver(void *owner, const char *pem, size_t length, char problem[ANSWER_PROBLEM_BYTES])
{
	if (fill_answer(owner, RENEWAL_OUTCOME_SIGNED, pem, length))
		return 0;
	snprintf(problem, ANSWER_PROBLEM_BYTES, "out of memory");
	return ANSWER_REFUSED;
}

static void answer(struct client *client, const struct renewal_body *body)
{
	const struct answer_question question = {body->bytes, body->length,
	                                         client->link->wants_header ? client->peer.common_name : NULL};
	const struct answer_delivery delivery = {deliver, client};
	struct answer_news news;
	char problem[ANSWER_PROBLEM_BYTES] = "";
	int r = answer_renewal(client->link->policy, &question, &delivery, &news, problem);

	if (r == 0) {
		cert_serve_log(client->from, &news);
	} else {
		const char *why = r < 0 ? outcome_text(r) : problem;
		log_warn("cert", "%s: refused: %s", client->from, why);
		free(client->out);
		if (!fill_answer(client, RENEWAL_OUTCOME_REFUSED, why, strlen(why))) {
			close_client(client);
			return;
		}
	}
	send_some(client);
}

// ---- the request ---------------------------------------------------------------------------------------------------

// Hostile: without a verified certificate a header introduces nobody.
static int read_header(struct client *client)
{
	size_t used = 0;
	size_t length = strlen(client->from);

	if (!client->link->wants_header || client->is_introduced)
		return 0;
	int r = proxy_header_decode(client->in, client->in_length, &client->peer, &used);
	if (r != 0)
		return r;
	if (!client->peer.has_certificate || !client->peer.common_name[0])
		return PROXY_BAD;
	client->is_introduced = true;
	client->in_length -= used;
	memmove(client->in, client->in + used, client->in_length);
	snprintf(client->from + length, sizeof client->from - length, ", %s", client->peer.common_name);
	return 0;
}

static void look(struct client *client)
{
	struct renewal_body body;
	int r = read_header(client);

	if (r == PROXY_BAD)
		give_up(client, "no PROXY header, or one without a verified certificate (--proxy-protocol; at dest: "
		                "proxy_protocol = \"v2\")");
	if (r != 0)
		return;
	r = renewal_message_request(client->in, client->in_length, &body);
	if (r == RENEWAL_MESSAGE_BAD)
		give_up(client, "what it sent is no request for a renewal");
	else if (r == 0)
		answer(client, &body);
}

static void on_ready(void *owner, int events)
{
	struct client *client = owner;

	if (client->out) {
		send_some(client);
		return;
	}
	if (!(events & LOOP_READ))
		return;
	ssize_t got = recv(client->fd, client->in + client->in_length, IN_BYTES - client->in_length, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		give_up(client, "it closed the connection before its request was whole");
		return;
	}
	client->in_length += (size_t)got;
	look(client);
}

static struct client *free_place(struct cert_serve_link *link)
{
	for (size_t i = 0; i < COUNT_OF(link->clients); i++)
		if (link->clients[i].fd < 0)
			return &link->clients[i];
	return NULL;
}

static void on_accept(void *owner, int fd, const struct address *peer)
{
	struct cert_serve_link *link = owner;
	struct client *client = free_place(link);

	if (!client) {
		log_warn("cert", "%d connections are open already: one more is closed", LIMIT_RENEWAL_CLIENTS);
		socket_close(&fd);
		return;
	}
	client->fd = fd;
	address_format(peer, client->from);
	client->in = malloc(IN_BYTES);
	int r = client->in ? loop_io_open(link->loop, fd, on_ready, client, &client->io) : -ENOMEM;
	if (r == 0)
		r = loop_timer_open(link->loop, on_late, client, &client->deadline);
	if (r < 0) {
		give_up(client, outcome_text(r));
		return;
	}
	loop_timer_arm(client->deadline, LIMIT_RENEWAL_REQUEST_MS, 0);
	loop_io_want(client->io, LOOP_READ);
}

int cert_serve_link_open(struct loop *loop, const char *listen, bool wants_header, const struct answer_policy *policy,
                         struct cert_serve_link **out)
{
	struct cert_serve_link *link = calloc(1, sizeof *link);
	struct address address;
	char text[ADDRESS_TEXT_BYTES];

	if (!link)
		return -ENOMEM;
	*link = (struct cert_serve_link){.loop = loop, .policy = policy, .wants_header = wants_header};
	for (size_t i = 0; i < COUNT_OF(link->clients); i++)
		link->clients[i] = (struct client){.link = link, .fd = -1};
	int r = address_parse(listen, &address) == 0 ? 0 : -EINVAL;
	if (r == 0)
		r = listener_open(loop, &address, on_accept, link, &link->listener);
	if (r < 0) {
		log_error("cert", "cannot listen on %s (--listen IP:PORT or unix:PATH): %s", listen, outcome_text(r));
		cert_serve_link_close(&link);
		return r;
	}
	address_format(&address, text);
	log_info("cert", "answering requests on %s", text);
	if (!address_is_loopback(&address) && !address_is_unix(&address))
		log_warn("cert", "everybody who reaches this address may ask; only what carries its proof is signed");
	*out = link;
	return 0;
}

void cert_serve_link_close(struct cert_serve_link **slot)
{
	struct cert_serve_link *link = *slot;

	*slot = NULL;
	if (!link)
		return;
	if (link->listener)
		listener_close(&link->listener);
	for (size_t i = 0; i < COUNT_OF(link->clients); i++)
		if (link->clients[i].fd >= 0)
			close_client(&link->clients[i]);
	free(link);
}
