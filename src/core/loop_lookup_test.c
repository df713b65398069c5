// With a resolver of its own, so that no test asks a network.

#include "core/loop_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <semaphore.h>

static sem_t entered, released;

static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore) != 0)
		;
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
	(void)service;
	(void)hints;
	if (strcmp(host, "slow.test") == 0) {
		sem_post(&entered);
		wait_for(&released);
		return EAI_AGAIN;
	}
	if (strcmp(host, "known.test") != 0)
		return EAI_NONAME;
	struct addrinfo *found = calloc(1, sizeof *found + sizeof(struct sockaddr_in));
	struct sockaddr_in *address = (struct sockaddr_in *)(void *)(found + 1);
	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000007)};
	*found =
		(struct addrinfo){.ai_family = AF_INET, .ai_addrlen = sizeof *address, .ai_addr = (struct sockaddr *)address};
	*list = found;
	return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
	free(list);
}

static void on_answer(void *owner, int error, const struct addrinfo *list)
{
	struct bench *bench = owner;
	assert_null(bench->lookup);
	bench->calls++;
	bench->error = error;
	if (list) {
		const struct sockaddr_in *address = (const struct sockaddr_in *)(const void *)list->ai_addr;
		assert_int_equal(ntohl(address->sin_addr.s_addr), 0x0a000007);
	}
	assert_int_equal(list == NULL, error != 0);
	loop_stop(bench->loop);
}

static void look_up(struct bench *bench, const char *host)
{
	assert_int_equal(loop_lookup_start(bench->loop, host, NULL, NULL, on_answer, bench, &bench->lookup), 0);
	assert_non_null(bench->lookup);
}

static void a_known_name_is_answered_with_its_addresses(void **state)
{
	struct bench *bench = *state;
	look_up(bench, "known.test");
	run(bench);
	assert_int_equal(bench->calls, 1);
	assert_int_equal(bench->error, 0);
}

static void an_unknown_name_is_answered_with_the_resolvers_own_error(void **state)
{
	struct bench *bench = *state;
	look_up(bench, "unknown.test");
	run(bench);
	assert_int_equal(bench->error, EAI_NONAME);
	sem_post(&released);
	look_up(bench, "slow.test");
	run(bench);
	wait_for(&entered);
	assert_int_equal(bench->error, EAI_AGAIN);
}

static void a_name_longer_than_names_are_is_refused_at_once(void **state)
{
	struct bench *bench = *state;
	char host[2000];
	memset(host, 'a', sizeof host - 1);
	host[sizeof host - 1] = '\0';
	assert_true(loop_lookup_start(bench->loop, host, NULL, NULL, on_answer, bench, &bench->lookup) < 0);
	assert_null(bench->lookup);
}

static void a_cancelled_lookup_is_never_heard_of_again(void **state)
{
	struct bench *bench = *state;
	look_up(bench, "slow.test");
	wait_for(&entered); // on the only thread there is
	loop_lookup_cancel(&bench->lookup);
	assert_null(bench->lookup);
	look_up(bench, "known.test"); // waits behind it
	loop_lookup_cancel(&bench->lookup);
	sem_post(&released);
	look_up(bench, "unknown.test");
	run(bench);
	assert_int_equal(bench->calls, 1);
	assert_int_equal(bench->error, EAI_NONAME);
}

static void on_answer_start_again(void *owner, int error, const struct addrinfo *list)
{
	struct bench *bench = owner;
	(void)error;
	(void)list;
	look_up(bench, "known.test");
}

static void the_next_lookup_may_start_in_the_answer_to_the_last(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(loop_lookup_start(bench->loop, "unknown.test", NULL, NULL, on_answer_start_again, bench,
	                                   &bench->lookup),
	                 0);
	run(bench);
	assert_int_equal(bench->calls, 1);
	assert_int_equal(bench->error, 0);
}

// The resolver's thread comes back to a loop that its owner has freed; the address sanitizer watches.
static void a_loop_can_be_freed_while_a_cancelled_lookup_still_runs(void **state)
{
	struct bench *bench = *state;
	struct loop *loop;
	struct loop_lookup *lookup = NULL;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(loop_lookup_start(loop, "slow.test", NULL, NULL, on_answer, bench, &lookup), 0);
	wait_for(&entered);
	loop_lookup_cancel(&lookup);
	loop_free(&loop);
	assert_null(loop);
	sem_post(&released);
	look_up(bench, "known.test"); // behind it on the same thread
	run(bench);
	assert_int_equal(bench->calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_LOOP(a_known_name_is_answered_with_its_addresses),
		IN_A_LOOP(an_unknown_name_is_answered_with_the_resolvers_own_error),
		IN_A_LOOP(a_name_longer_than_names_are_is_refused_at_once),
		IN_A_LOOP(a_cancelled_lookup_is_never_heard_of_again),
		IN_A_LOOP(the_next_lookup_may_start_in_the_answer_to_the_last),
		IN_A_LOOP(a_loop_can_be_freed_while_a_cancelled_lookup_still_runs),
	};
	// One thread for names: lookups come one after another.
	setenv("UV_THREADPOOL_SIZE", "1", 1);
	sem_init(&entered, 0, 0);
	sem_init(&released, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
