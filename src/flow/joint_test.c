#include "flow/joint.h"

#include "core/block.h"
#include "core/loop.h"
#include "net/socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

// A far side that the test plays: what it has for us, and what it was given.
struct far {
	const uint8_t *has;
	size_t left;
	bool ended, broken, full, finished;
	uint8_t got[4 * LIMIT_UNIT_BYTES];
	size_t got_length;
};

static int far_recv(void *owner, uint8_t *out, size_t size, size_t *got)
{
	struct far *far = owner;
	*got = far->left < size ? far->left : size;
	if (*got > 0) {
		memcpy(out, far->has, *got);
		far->has += *got;
		far->left -= *got;
		return 0;
	}
	return far->broken ? -1 : far->ended ? JOINT_END : JOINT_BLOCKED;
}

static int far_send(void *owner, const uint8_t *bytes, size_t length)
{
	struct far *far = owner;
	assert_false(far->full);
	assert_true(far->got_length + length <= sizeof far->got);
	memcpy(far->got + far->got_length, bytes, length);
	far->got_length += length;
	return far->broken ? -1 : 0;
}

static bool far_has_room(const void *owner)
{
	const struct far *far = owner;
	return !far->full;
}

static int far_finish(void *owner)
{
	struct far *far = owner;
	far->finished = true;
	return 0;
}

static const struct joint_ops ops = {.recv = far_recv,
                                     .send = far_send,
                                     .has_room = far_has_room,
                                     .finish = far_finish};

static uint8_t unit[LIMIT_UNIT_BYTES];
static uint8_t text[8 * LIMIT_UNIT_BYTES];
static struct far far;

// A joint whose local socket is one end of a pair; the other end is returned.
static int begin(struct joint *joint)
{
	int pair[2];
	far = (struct far){.full = false};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (uint8_t)(i * 7);
	*joint = (struct joint){.ops = &ops, .far = &far, .unit = unit, .fd = pair[0]};
	return pair[1];
}

static void bytes_of_the_local_side_go_on_and_then_its_end(void **state)
{
	(void)state;
	struct joint joint;
	int other = begin(&joint);
	assert_int_equal(send(other, text, 1000, 0), 1000);
	assert_int_equal(joint_outward(&joint), 0);
	assert_int_equal(far.got_length, 1000);
	assert_memory_equal(far.got, text, 1000);
	assert_int_equal(joint.taken, 1000);
	assert_false(far.finished);
	shutdown(other, SHUT_WR);
	assert_int_equal(joint_outward(&joint), 0);
	assert_true(far.finished && joint.local_end && joint.out_end);
	assert_int_equal(joint_wants(&joint), 0);
	assert_false(joint_is_done(&joint));
	far.ended = true;
	assert_int_equal(joint_inward(&joint), 0);
	assert_true(joint_is_done(&joint));
	joint_fini(&joint);
	assert_int_equal(joint.fd, -1);
	close(other);
}

static void a_far_side_without_room_leaves_the_local_side_unread(void **state)
{
	(void)state;
	struct joint joint;
	int other = begin(&joint);
	far.full = true;
	assert_int_equal(send(other, text, 1000, 0), 1000);
	assert_int_equal(joint_outward(&joint), 0);
	assert_int_equal(far.got_length, 0);
	assert_int_equal(joint_wants(&joint), 0);
	far.full = false;
	assert_int_equal(joint_wants(&joint), LOOP_READ);
	assert_int_equal(joint_outward(&joint), 0);
	assert_int_equal(far.got_length, 1000);
	joint_fini(&joint);
	close(other);
}

static void what_the_local_side_does_not_take_is_held_and_nothing_more_is_read(void **state)
{
	(void)state;
	struct joint joint;
	static uint8_t heard[sizeof text];
	size_t length = 0;
	ssize_t n;
	int other = begin(&joint), small = 4096;
	assert_int_equal(setsockopt(joint.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
	far.has = text;
	far.left = sizeof text;
	far.ended = true;
	assert_int_equal(joint_inward(&joint), 0);
	assert_non_null(joint.held);
	assert_true(joint.held_length <= LIMIT_UNIT_BYTES);
	assert_false(joint_reads_far(&joint));
	assert_true(joint_wants(&joint) & LOOP_WRITE);
	size_t left = far.left;
	assert_int_equal(joint_inward(&joint), 0);
	assert_int_equal(far.left, left);
	while (length < sizeof text) {
		while ((n = recv(other, heard + length, sizeof heard - length, MSG_DONTWAIT)) > 0)
			length += (size_t)n;
		assert_int_equal(joint_inward(&joint), 0);
	}
	assert_memory_equal(heard, text, sizeof text);
	assert_int_equal(joint.given, sizeof text);
	assert_true(joint.local_shut && !joint.held);
	assert_int_equal(recv(other, heard, 1, MSG_DONTWAIT), 0);
	joint_fini(&joint);
	close(other);
	block_trim();
}

static void who_broke_is_told_apart(void **state)
{
	(void)state;
	struct joint joint;
	int other = begin(&joint);
	far.broken = true;
	assert_int_equal(joint_inward(&joint), JOINT_FAR_BROKE);
	assert_int_equal(send(other, text, 1, 0), 1);
	assert_int_equal(joint_outward(&joint), JOINT_FAR_BROKE);
	joint_fini(&joint);
	close(other);
	other = begin(&joint);
	far.has = text;
	far.left = 1;
	close(other);
	assert_int_equal(joint_inward(&joint), JOINT_LOCAL_BROKE);
	joint_fini(&joint);
}

static void one_turn_moves_a_bounded_number_of_units(void **state)
{
	(void)state;
	struct joint joint;
	int other = begin(&joint), large = 16 * LIMIT_UNIT_BYTES;
	(void)setsockopt(other, SOL_SOCKET, SO_SNDBUF, &large, sizeof large);
	ssize_t sent = send(other, text, 3 * LIMIT_UNIT_BYTES, 0);
	assert_true(sent > 0);
	assert_int_equal(joint_outward(&joint), 0);
	assert_int_equal(far.got_length, sent);
	assert_memory_equal(far.got, text, (size_t)sent);
	joint_fini(&joint);
	close(other);
}

static void our_own_first_words_are_held_too(void **state)
{
	(void)state;
	struct joint joint;
	uint8_t heard[16];
	int other = begin(&joint);
	assert_int_equal(joint_say(&joint, (const uint8_t *)"PROXY", 5), 0);
	assert_int_equal(recv(other, heard, sizeof heard, 0), 5);
	assert_memory_equal(heard, "PROXY", 5);
	close(other);
	assert_int_equal(joint_say(&joint, (const uint8_t *)"PROXY", 5), JOINT_LOCAL_BROKE);
	joint_fini(&joint);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_of_the_local_side_go_on_and_then_its_end),
		cmocka_unit_test(a_far_side_without_room_leaves_the_local_side_unread),
		cmocka_unit_test(what_the_local_side_does_not_take_is_held_and_nothing_more_is_read),
		cmocka_unit_test(who_broke_is_told_apart),
		cmocka_unit_test(one_turn_moves_a_bounded_number_of_units),
		cmocka_unit_test(our_own_first_words_are_held_too),
	};
	return cmocka_run_group_tests_name("joint", tests, NULL, NULL);
}
