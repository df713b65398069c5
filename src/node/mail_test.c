#include "node/mail.h"

#include "node/workers.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#define LETTERS 1000

static struct {
	_Atomic unsigned opened;
	unsigned last;
	bool in_order, on_its_thread;
	pthread_t thread;
} box;

struct letter {
	unsigned number;
	struct loop *to;
};

static void open_letter(void *contents)
{
	struct letter *letter = contents;
	box.in_order = box.in_order && letter->number == box.last + 1;
	box.on_its_thread = box.on_its_thread && loop_current() == letter->to;
	box.last = letter->number;
	atomic_fetch_add(&box.opened, 1);
}

static void letters_arrive_in_order_on_the_receivers_thread(void **state)
{
	(void)state;
	struct workers *workers;
	box.in_order = box.on_its_thread = true;
	assert_int_equal(workers_new(2, &workers), 0);
	for (unsigned i = 1; i <= LETTERS; i++) {
		struct letter letter = {.number = i, .to = workers_loop(workers, 1)};
		if (i % 2)
			assert_true(mail_send(letter.to, open_letter, &letter, sizeof letter));
		else
			mail_send_surely(letter.to, open_letter, &letter, sizeof letter);
	}
	workers_free(&workers);
	assert_int_equal(box.opened, LETTERS);
	assert_true(box.in_order);
	assert_true(box.on_its_thread);
}

struct reply {
	struct loop *here;
	bool *done;
};

static void note(void *contents)
{
	struct reply *reply = contents;
	*reply->done = true;
}

static void send_to_myself(struct loop_task *task)
{
	(void)task;
	bool done = false;
	struct reply reply = {.here = loop_current(), .done = &done};
	assert_true(mail_send(reply.here, note, &reply, sizeof reply));
	assert_true(done);
	loop_stop(reply.here);
}

static void letter_to_oneself_is_opened_at_once(void **state)
{
	(void)state;
	struct loop *loop;
	struct loop_task task = {.run = send_to_myself};
	assert_int_equal(loop_new(&loop), 0);
	loop_post(loop, &task);
	assert_int_equal(loop_run(loop), 0);
	loop_free(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(letters_arrive_in_order_on_the_receivers_thread),
		cmocka_unit_test(letter_to_oneself_is_opened_at_once),
	};
	return cmocka_run_group_tests_name("mail", tests, NULL, NULL);
}
