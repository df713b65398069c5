#include "node/mail.h"

#include "core/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct mail {
	struct loop_task task;
	mail_fn open;
	_Alignas(max_align_t) unsigned char contents[];
};

static void on_arrival(struct loop_task *task)
{
	struct mail *mail = CONTAINER_OF(task, struct mail, task);
	mail->open(mail->contents);
	free(mail);
}

bool mail_send(struct loop *to, mail_fn open, const void *contents, size_t size)
{
	assert(size <= MAIL_BYTES);
	if (loop_current() == to) {
		_Alignas(max_align_t) unsigned char copy[MAIL_BYTES];
		memcpy(copy, contents, size);
		open(copy);
		return true;
	}
	struct mail *mail = malloc(sizeof *mail + size);
	if (!mail)
		return false;
	mail->task = (struct loop_task){.run = on_arrival};
	mail->open = open;
	memcpy(mail->contents, contents, size);
	loop_post(to, &mail->task);
	return true;
}

void mail_send_surely(struct loop *to, mail_fn open, const void *contents, size_t size)
{
	if (mail_send(to, open, contents, size))
		return;
	log_error("mail", "out of memory for a message to a worker: stopping, because it must not get lost");
	_exit(1);
}
