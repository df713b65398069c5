#include "core/secret.h"

#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define THREADS 4
#define NOBODY 65534

// Runs in a process of its own, whose exit status is returned and whose standard error is kept in `said`.
static int run_apart(int (*part)(void *argument), void *argument, char *said, size_t size)
{
	int ends[2], status;
	size_t length = 0;
	ssize_t count;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		_exit(part(argument));
	}
	close(ends[1]);
	while ((count = read(ends[0], said + length, size - 1 - length)) > 0)
		length += (size_t)count;
	said[length] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

#define LOCKS_ANYWAY 77

static int start_without_lockable_memory(void *argument)
{
	struct rlimit none = {0};
	struct secret secret = {0};
	(void)argument;
	if (setrlimit(RLIMIT_MEMLOCK, &none) != 0)
		return 10;
	// Whoever may lock without a limit gives that right up.
	if (geteuid() == 0 && setuid(NOBODY) != 0)
		return 11;
	if (mlock(&none, sizeof none) == 0)
		return LOCKS_ANYWAY;
	if (secret_start() != 0)
		return 12;
	if (secret_init(&secret, 32) != 0)
		return 13;
	secret_fini(&secret);
	return 0;
}

// Before the arena of this process exists.
static void memory_that_cannot_be_locked_is_a_warning_that_says_what_to_do(void **state)
{
	char said[2048];
	(void)state;
	int outcome = run_apart(start_without_lockable_memory, NULL, said, sizeof said);
	if (outcome == LOCKS_ANYWAY) {
		print_message("skipped: mlock does nothing under this sanitizer\n");
		skip();
	}
	assert_int_equal(outcome, 0);
	assert_non_null(strstr(said, "warn"));
	assert_non_null(strstr(said, "LimitMEMLOCK"));
	assert_non_null(strstr(said, "ulimit -l"));
	assert_null(strstr(strchr(said, '\n') + 1, "\n"));
}

static int start_without_address_space(void *argument)
{
	struct rlimit little = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
	(void)argument;
	if (setrlimit(RLIMIT_AS, &little) != 0)
		return 10;
	return secret_start() == -ENOMEM ? 0 : 11;
}

static void memory_that_cannot_be_mapped_is_a_refusal(void **state)
{
	char said[2048];
	(void)state;
	assert_int_equal(run_apart(start_without_address_space, NULL, said, sizeof said), 0);
}

static void starting_again_changes_nothing(void **state)
{
	struct secret secret = {0};
	(void)state;
	assert_int_equal(secret_start(), 0);
	assert_int_equal(secret_set(&secret, (const uint8_t *)"kept", 4), 0);
	assert_int_equal(secret_start(), 0);
	assert_memory_equal(secret.bytes, "kept", 4);
	secret_fini(&secret);
}

static void the_process_leaves_no_core(void **state)
{
	struct rlimit core;
	(void)state;
	assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
	assert_int_equal(getrlimit(RLIMIT_CORE, &core), 0);
	assert_int_equal(core.rlim_cur, 0);
	assert_int_equal(core.rlim_max, 0);
}

// The "VmFlags:" line of the mapping that `address` is in.
static void find_flags(const void *address, char *flags, size_t size)
{
	char line[512];
	bool here = false;
	FILE *file = fopen("/proc/self/smaps", "re");
	assert_non_null(file);
	flags[0] = '\0';
	while (fgets(line, sizeof line, file)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (unsigned long)address >= from && (unsigned long)address < to;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(flags, size, "%s", line + 8);
	}
	fclose(file);
}

// Another as large as the secrets': not where a limit is too small, or a sanitizer has made mlock do nothing.
static bool can_lock_an_arena(void)
{
	size_t size = (size_t)LIMIT_SECRETS * SECRET_MAX_BYTES;
	char flags[512];
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	bool locked = mlock(memory, size) == 0;
	find_flags(memory, flags, sizeof flags);
	munmap(memory, size);
	return locked && strstr(flags, " lo ");
}

static void slots_are_locked_left_out_of_dumps_and_not_inherited(void **state)
{
	struct secret secret = {0};
	char flags[512];
	(void)state;
	assert_int_equal(secret_init(&secret, 1), 0);
	find_flags(secret.bytes, flags, sizeof flags);
	assert_non_null(strstr(flags, " dd "));
	assert_non_null(strstr(flags, " wf "));
	assert_int_equal(strstr(flags, " lo ") != NULL, can_lock_an_arena());
	secret_fini(&secret);
}

static int look_at_bytes(void *argument)
{
	const struct secret *secret = argument;
	for (size_t i = 0; i < secret->length; i++)
		if (secret->bytes[i] != 0)
			return 1;
	return 0;
}

static void a_child_sees_zeros(void **state)
{
	struct secret secret = {0};
	char said[256];
	(void)state;
	assert_int_equal(secret_set(&secret, (const uint8_t *)"not for children", 16), 0);
	assert_int_equal(run_apart(look_at_bytes, &secret, said, sizeof said), 0);
	assert_memory_equal(secret.bytes, "not for children", 16);
	secret_fini(&secret);
}

static int read_a_byte(void *argument)
{
	signal(SIGSEGV, SIG_DFL); // the test library's would go on with the next test
	return *(volatile uint8_t *)argument & 0;
}

// The last slot of an arena that is taken to its end, and the first.
static void pages_before_and_behind_the_arena_cannot_be_read(void **state)
{
	static struct secret all[LIMIT_SECRETS];
	char said[8192];
	uint8_t *low = NULL, *high = NULL;
	(void)state;
	for (size_t i = 0; i < LIMIT_SECRETS; i++) {
		assert_int_equal(secret_init(&all[i], SECRET_MAX_BYTES), 0);
		low = !low || all[i].bytes < low ? all[i].bytes : low;
		high = !high || all[i].bytes > high ? all[i].bytes : high;
	}
	assert_ptr_equal(low + ((size_t)LIMIT_SECRETS - 1) * SECRET_MAX_BYTES, high);
	assert_int_equal(run_apart(read_a_byte, high + SECRET_MAX_BYTES - 1, said, sizeof said), 0);
	assert_int_not_equal(run_apart(read_a_byte, low - 1, said, sizeof said), 0);
	assert_int_not_equal(run_apart(read_a_byte, high + SECRET_MAX_BYTES, said, sizeof said), 0);
	for (size_t i = 0; i < LIMIT_SECRETS; i++)
		secret_fini(&all[i]);
}

static void a_full_arena_refuses_until_a_slot_is_given_back(void **state)
{
	static struct secret all[LIMIT_SECRETS];
	struct secret more = {0};
	(void)state;
	for (size_t i = 0; i < LIMIT_SECRETS; i++)
		assert_int_equal(secret_init(&all[i], 1 + i % SECRET_MAX_BYTES), 0);
	assert_int_equal(secret_init(&more, 32), -ENOMEM);
	assert_false(secret_is_set(&more));
	assert_int_equal(secret_set(&more, (const uint8_t *)"x", 1), -ENOMEM);
	assert_false(secret_is_set(&more));
	// Who has a slot keeps it, whatever comes into it.
	assert_int_equal(secret_set(&all[0], (const uint8_t *)"y", 1), 0);
	secret_fini(&all[LIMIT_SECRETS / 2]);
	assert_int_equal(secret_init(&more, 32), 0);
	secret_fini(&more);
	for (size_t i = 0; i < LIMIT_SECRETS; i++)
		secret_fini(&all[i]);
}

static void a_new_slot_is_zero_whatever_was_in_it(void **state)
{
	static const uint8_t zeros[SECRET_MAX_BYTES];
	struct secret secret = {0};
	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(secret_init(&secret, SECRET_MAX_BYTES), 0);
		assert_int_equal(secret.length, SECRET_MAX_BYTES);
		assert_memory_equal(secret.bytes, zeros, SECRET_MAX_BYTES);
		memset(secret.bytes, 0xa5, SECRET_MAX_BYTES);
		if (i == 1)
			secret_fini(&secret);
	}
	secret_fini(&secret);
}

// A free slot holds the address of the next one in its first bytes, and nothing else.
static void a_released_slot_holds_no_byte_of_its_secret(void **state)
{
	static const uint8_t zeros[SECRET_MAX_BYTES];
	struct secret secret = {0};
	uint8_t key[SECRET_MAX_BYTES];
	(void)state;
	memset(key, 0xc3, sizeof key);
	assert_int_equal(secret_set(&secret, key, sizeof key), 0);
	const uint8_t *slot = secret.bytes;
	secret_fini(&secret);
	assert_memory_equal(slot + sizeof(void *), zeros, SECRET_MAX_BYTES - sizeof(void *));
	assert_memory_not_equal(slot, key, sizeof(void *));
}

static void releasing_twice_or_nothing_is_harmless(void **state)
{
	struct secret secret = {0}, other = {0};
	(void)state;
	secret_fini(&secret);
	assert_int_equal(secret_init(&secret, 8), 0);
	secret_fini(&secret);
	secret_fini(&secret);
	assert_false(secret_is_set(&secret));
	assert_int_equal(secret.length, 0);
	// Had the second release given the slot again, two secrets would share it.
	assert_int_equal(secret_init(&secret, 8), 0);
	assert_int_equal(secret_init(&other, 8), 0);
	assert_ptr_not_equal(secret.bytes, other.bytes);
	secret_fini(&secret);
	secret_fini(&other);
}

static void setting_copies_and_leaves_nothing_of_a_longer_one_before(void **state)
{
	static const uint8_t zeros[SECRET_MAX_BYTES];
	struct secret secret = {0};
	uint8_t bytes[SECRET_MAX_BYTES];
	(void)state;
	memset(bytes, 0x11, sizeof bytes);
	assert_int_equal(secret_set(&secret, bytes, sizeof bytes), 0);
	assert_int_equal(secret_set(&secret, bytes, 5), 0);
	assert_int_equal(secret.length, 5);
	bytes[0] = 0x22;
	assert_int_equal(secret.bytes[0], 0x11);
	assert_memory_equal(secret.bytes + 5, zeros, SECRET_MAX_BYTES - 5);
	secret_fini(&secret);
}

static void a_secret_may_be_set_from_a_part_of_itself(void **state)
{
	struct secret secret = {0};
	(void)state;
	assert_int_equal(secret_set(&secret, (const uint8_t *)"abcdefgh", 8), 0);
	assert_int_equal(secret_set(&secret, secret.bytes + 2, 6), 0);
	assert_int_equal(secret.length, 6);
	assert_memory_equal(secret.bytes, "cdefgh\0\0", 8);
	secret_fini(&secret);
}

static void moving_empties_the_one_and_releases_the_other(void **state)
{
	struct secret from = {0}, to = {0};
	(void)state;
	assert_int_equal(secret_set(&from, (const uint8_t *)"new", 3), 0);
	assert_int_equal(secret_set(&to, (const uint8_t *)"old", 3), 0);
	const uint8_t *released = to.bytes, *moved = from.bytes;
	secret_move(&to, &from);
	assert_false(secret_is_set(&from));
	assert_ptr_equal(to.bytes, moved);
	assert_int_equal(to.length, 3);
	assert_memory_equal(to.bytes, "new", 3);
	assert_int_equal(secret_init(&from, 3), 0);
	assert_ptr_equal(from.bytes, released);
	secret_move(&to, &to);
	assert_memory_equal(to.bytes, "new", 3);
	secret_fini(&from);
	secret_move(&to, &from);
	assert_false(secret_is_set(&to));
}

static void one_flipped_bit_makes_two_secrets_differ(void **state)
{
	uint8_t a[SECRET_MAX_BYTES], b[SECRET_MAX_BYTES];
	(void)state;
	memset(a, 0x5a, sizeof a);
	memset(b, 0x5a, sizeof b);
	assert_true(secret_is_equal(a, b, sizeof a));
	for (size_t bit = 0; bit < sizeof a * 8; bit++) {
		b[bit / 8] = (uint8_t)(b[bit / 8] ^ (1 << bit % 8));
		assert_false(secret_is_equal(a, b, sizeof a));
		assert_true(secret_is_equal(a, b, bit / 8));
		b[bit / 8] = a[bit / 8];
	}
	assert_true(secret_is_equal(a, b, 0));
}

static void wiping_leaves_zeros_and_what_is_around(void **state)
{
	uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	static const uint8_t wiped[8] = {1, 2, 0, 0, 0, 0, 7, 8};
	(void)state;
	secret_wipe(bytes + 2, 4);
	assert_memory_equal(bytes, wiped, 8);
}

static void *use_secrets(void *argument)
{
	uint8_t own = *(uint8_t *)argument;
	struct secret secrets[16] = {0};
	for (int round = 0; round < 2000; round++) {
		for (size_t i = 0; i < COUNT_OF(secrets); i++) {
			if (secret_init(&secrets[i], 32) != 0 || secrets[i].bytes[0] != 0)
				return NULL;
			memset(secrets[i].bytes, own, 32);
		}
		for (size_t i = 0; i < COUNT_OF(secrets); i++) {
			if (secrets[i].bytes[0] != own || secrets[i].bytes[31] != own)
				return NULL;
			secret_fini(&secrets[i]);
		}
	}
	return argument;
}

static void threads_never_share_a_slot(void **state)
{
	pthread_t threads[THREADS];
	uint8_t numbers[THREADS];
	(void)state;
	for (uint8_t i = 0; i < THREADS; i++) {
		numbers[i] = (uint8_t)(i + 1);
		assert_int_equal(pthread_create(&threads[i], NULL, use_secrets, &numbers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		void *result;
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_ptr_equal(result, &numbers[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_that_cannot_be_locked_is_a_warning_that_says_what_to_do),
		cmocka_unit_test(memory_that_cannot_be_mapped_is_a_refusal),
		cmocka_unit_test(starting_again_changes_nothing),
		cmocka_unit_test(the_process_leaves_no_core),
		cmocka_unit_test(slots_are_locked_left_out_of_dumps_and_not_inherited),
		cmocka_unit_test(a_child_sees_zeros),
		cmocka_unit_test(pages_before_and_behind_the_arena_cannot_be_read),
		cmocka_unit_test(a_full_arena_refuses_until_a_slot_is_given_back),
		cmocka_unit_test(a_new_slot_is_zero_whatever_was_in_it),
		cmocka_unit_test(a_released_slot_holds_no_byte_of_its_secret),
		cmocka_unit_test(releasing_twice_or_nothing_is_harmless),
		cmocka_unit_test(setting_copies_and_leaves_nothing_of_a_longer_one_before),
		cmocka_unit_test(a_secret_may_be_set_from_a_part_of_itself),
		cmocka_unit_test(moving_empties_the_one_and_releases_the_other),
		cmocka_unit_test(one_flipped_bit_makes_two_secrets_differ),
		cmocka_unit_test(wiping_leaves_zeros_and_what_is_around),
		cmocka_unit_test(threads_never_share_a_slot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
