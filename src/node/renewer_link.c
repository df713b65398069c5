// The exchange over a connection: to whatever stands at renewal.endpoint, usually a forward of our own source that
// leads to the CA's `qanat cert serve --listen` behind a dest.

#include "core/log.h"
#include "crypto/renewal_message.h"
#include "net/address.h"
#include "net/socket.h"
#include "node/renewer_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

// From dialling to the answer's last byte; the CA may have to wait for its index.
#define LINK_EXCHANGE_MS (LIMIT_INDEX_LOCK_MS + 15000)

static void done_writing(struct renewer *renewer)
{
	loop_io_want(renewer->io, LOOP_READ);
	renewer->in_length = 0;
}

// False: the connection is broken.
// Syscalls: sendto, recvfrom
static bool send_some(struct renewer *renewer)
{
	while (renewer->out_at < renewer->out_length) {
		ssize_t sent = send(renewer->fd, renewer->out + renewer->out_at, renewer->out_length - renewer->out_at,
		                    MSG_NOSIGNAL);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		renewer->out_at += (size_t)sent;
	}
	done_writing(renewer);
	return true;
}

static void take_answer(struct renewer *renewer, const struct renewal_body *body)
{
	char problem[RENEWAL_PROBLEM_BYTES + 64] = "", why[RENEWAL_PROBLEM_BYTES];

	if (body->outcome == RENEWAL_OUTCOME_REFUSED) {
		snprintf(problem, sizeof problem, "the CA refuses: %.*s", (int)(body->length < 400 ? body->length : 400),
		         (const char *)body->bytes);
		renewer_failed(renewer, problem);
		return;
	}
	int r = renewal_take(&renewer->settings.files, body->bytes, body->length, why);
	if (r == 0) {
		renewer_done(renewer);
		return;
	}
	snprintf(problem, sizeof problem, "what came back is no answer to our request: %.400s",
	         r < 0 ? outcome_text(r) : why);
	renewer_failed(renewer, problem);
}

static void receive(struct renewer *renewer)
{
	struct renewal_body body;
	ssize_t got = recv(renewer->fd, renewer->in + renewer->in_length, RENEWAL_MESSAGE_BYTES - renewer->in_length, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		renewer_failed(renewer, got == 0 ? "the connection to renewal.endpoint ended before the answer: is the CA's "
		                                   "`qanat cert serve` there, and may we use its service?"
		                                 : strerrordesc_np(errno));
		return;
	}
	renewer->in_length += (size_t)got;
	switch (renewal_message_answer(renewer->in, renewer->in_length, &body)) {
	case 0:
		take_answer(renewer, &body);
		return;
	case RENEWAL_MESSAGE_MORE:
		return;
	default:
		renewer_failed(renewer, "what answers at renewal.endpoint is no `qanat cert serve`");
	}
}

static void on_ready(void *owner, int events)
{
	struct renewer *renewer = owner;

	if (renewer->out_at < renewer->out_length) {
		if ((events & LOOP_WRITE) && !send_some(renewer))
			renewer_failed(renewer, "the connection to renewal.endpoint broke while we asked");
		return;
	}
	if (events & LOOP_READ)
		receive(renewer);
}

static void on_dialled(void *owner, const struct dial_result *result)
{
	struct renewer *renewer = owner;

	if (result->fd < 0) {
		renewer_failed(renewer, result->problem ? result->problem : "renewal.endpoint cannot be reached");
		return;
	}
	renewer->fd = result->fd;
	int r = loop_io_open(renewer->loop, renewer->fd, on_ready, renewer, &renewer->io);
	if (r < 0)
		renewer_failed(renewer, outcome_text(r));
	else
		loop_io_want(renewer->io, LOOP_WRITE);
}

static int prepare(struct renewer *renewer, char problem[RENEWAL_PROBLEM_BYTES])
{
	char *text = NULL;
	int r = renewal_ask(&renewer->settings.files, &text, problem);

	if (r != 0)
		return r;
	size_t length = strlen(text);
	renewer->out = malloc(RENEWAL_REQUEST_HEAD_BYTES + length);
	renewer->in = malloc(RENEWAL_MESSAGE_BYTES);
	if (renewer->out && renewer->in) {
		renewal_message_request_head(length, renewer->out);
		memcpy(renewer->out + RENEWAL_REQUEST_HEAD_BYTES, text, length);
		renewer->out_length = RENEWAL_REQUEST_HEAD_BYTES + length;
		renewer->out_at = 0;
	}
	free(text);
	return renewer->out && renewer->in ? 0 : -ENOMEM;
}

void renewer_link_start(struct renewer *renewer)
{
	char problem[RENEWAL_PROBLEM_BYTES] = "";
	struct address address;
	int r = prepare(renewer, problem);

	if (r == 0 && address_parse(renewer->settings.endpoint, &address) != 0)
		r = -EINVAL; // the configuration has been checked
	if (r == 0)
		r = dial_address_start(renewer->loop, &address, LINK_EXCHANGE_MS, on_dialled, renewer, &renewer->dial);
	if (r != 0) {
		renewer_failed(renewer, r < 0 ? outcome_text(r) : problem);
		return;
	}
	log_info("renewer", "asking for a renewal of our certificate at %s", renewer->settings.endpoint);
	renewer_enter(renewer, RENEWER_ASKING, 0);
	loop_timer_arm(renewer->timer, LINK_EXCHANGE_MS, 0);
}

// The timer is due.
void renewer_link_look(struct renewer *renewer)
{
	renewer_failed(renewer, "no answer came from renewal.endpoint in time");
}

void renewer_link_stop(struct renewer *renewer)
{
	dial_cancel(&renewer->dial);
	loop_io_close(&renewer->io);
	if (renewer->fd >= 0)
		socket_close(&renewer->fd);
	free(renewer->out);
	free(renewer->in);
	renewer->out = renewer->in = NULL;
	renewer->out_length = renewer->out_at = renewer->in_length = 0;
}
