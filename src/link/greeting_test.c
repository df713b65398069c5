#include "link/greeting.h"

#include "core/clock.h"
#include "core/loop_rig.h"
#include "net/socket.h"

#include <stdio.h>

// One side is the greeting under test; the other an engine that the test drives by hand.
struct meeting {
	struct bench *bench;
	struct greeting *greeting;
	struct ttun *ours, *peer; // ours: what came out
	int fd, calls;
	char problem[256];
};

static void on_done(void *owner, struct greeting *greeting, struct greeting_result *result)
{
	struct meeting *meeting = owner;
	assert_ptr_equal(greeting, meeting->greeting);
	meeting->greeting = NULL;
	meeting->calls++;
	meeting->ours = result->ttun;
	meeting->fd = result->fd;
	snprintf(meeting->problem, sizeof meeting->problem, "%s", result->problem ? result->problem : "");
	loop_stop(meeting->bench->loop);
}

static void begin(struct bench *bench, enum ttun_role role, const char *peer_psk, uint32_t timeout_ms,
                  struct meeting *meeting)
{
	static const uint8_t nonce[TTUN_NONCE_BYTES] = {5};
	struct secret key = {0};
	struct address nobody = {0};
	*meeting = (struct meeting){.bench = bench, .fd = -1};
	assert_int_equal(secret_start(), 0);
	assert_int_equal(ttun_key(peer_psk, strlen(peer_psk), &key), 0);
	assert_int_equal(ttun_new(role == TTUN_SERVER ? TTUN_CLIENT : TTUN_SERVER, AEAD_AES_256_GCM, &key, nonce,
	                          &meeting->peer),
	                 0);
	assert_int_equal(ttun_key("right", 5, &key), 0);
	struct greeting_settings settings = {
		.loop = bench->loop,
		.role = role,
		.cipher = AEAD_AES_256_GCM,
		.key = &key,
		.timeout_ms = timeout_ms,
	};
	assert_int_equal(greeting_start(&settings, &bench->fds[0], &nobody, on_done, meeting, &meeting->greeting), 0);
	assert_int_equal(bench->fds[0], -1);
	secret_fini(&key);
}

// The peer's turn, whenever bytes are there for it or it may begin.
static void on_peer(void *owner, int events)
{
	struct meeting *meeting = owner;
	uint8_t bytes[TTUN_SPEAK_BYTES], out[TTUN_SPEAK_BYTES];
	size_t used, wanted = ttun_wants(meeting->peer);
	if (events & LOOP_READ) {
		ssize_t got = recv(meeting->bench->fds[1], bytes, wanted, 0);
		if (got != (ssize_t)wanted || ttun_hear(meeting->peer, bytes, wanted, &used) != 0) {
			socket_close(&meeting->bench->fds[1]);
			loop_io_close(&meeting->bench->io);
			return;
		}
	}
	size_t length = ttun_speak(meeting->peer, out);
	if (length > 0)
		assert_int_equal(send(meeting->bench->fds[1], out, length, MSG_NOSIGNAL), length);
}

static void play(struct meeting *meeting)
{
	struct bench *bench = meeting->bench;
	assert_int_equal(loop_io_open(bench->loop, bench->fds[1], on_peer, meeting, &bench->io), 0);
	loop_io_want(bench->io, LOOP_READ);
	on_peer(meeting, 0);
	run(bench);
	assert_int_equal(meeting->calls, 1);
}

static void end(struct meeting *meeting)
{
	socket_close(&meeting->fd);
	ttun_free(&meeting->ours);
	ttun_free(&meeting->peer);
}

static void a_server_comes_to_a_session(void **state)
{
	struct meeting meeting;
	begin(*state, TTUN_SERVER, "right", 10000, &meeting);
	play(&meeting);
	assert_non_null(meeting.ours);
	assert_true(ttun_is_up(meeting.ours) && meeting.fd >= 0);
	end(&meeting);
}

static void a_client_comes_to_a_session(void **state)
{
	struct meeting meeting;
	begin(*state, TTUN_CLIENT, "right", 10000, &meeting);
	play(&meeting);
	assert_non_null(meeting.ours);
	end(&meeting);
}

static void what_follows_the_handshake_is_left_in_the_socket(void **state)
{
	struct bench *bench = *state;
	struct meeting meeting;
	uint8_t frame[100] = {0};
	begin(bench, TTUN_SERVER, "right", 10000, &meeting);
	play(&meeting);
	assert_int_equal(ttun_wants(meeting.ours), 0);
	assert_int_equal(send(bench->fds[1], frame, 7, 0), 7);
	assert_int_equal(recv(meeting.fd, frame, sizeof frame, 0), 7);
	end(&meeting);
}

static void a_client_with_another_key_is_refused(void **state)
{
	struct meeting meeting;
	begin(*state, TTUN_SERVER, "wrong", 10000, &meeting);
	play(&meeting);
	assert_null(meeting.ours);
	assert_non_null(strstr(meeting.problem, "another key"));
	end(&meeting);
}

static void a_server_with_another_key_hangs_up(void **state)
{
	struct meeting meeting;
	begin(*state, TTUN_CLIENT, "wrong", 10000, &meeting);
	play(&meeting);
	assert_null(meeting.ours);
	assert_non_null(strstr(meeting.problem, "closed the connection"));
	end(&meeting);
}

static void silence_ends_at_the_deadline(void **state)
{
	struct bench *bench = *state;
	struct meeting meeting;
	uint64_t before = clock_ms();
	begin(bench, TTUN_SERVER, "right", 50, &meeting);
	assert_int_equal(send(bench->fds[1], "half", 4, 0), 4);
	run(bench);
	assert_int_equal(meeting.calls, 1);
	assert_true(clock_ms() - before >= 50);
	assert_string_equal(meeting.problem, "no handshake in time");
	end(&meeting);
}

static void one_that_is_cancelled_says_nothing(void **state)
{
	struct bench *bench = *state;
	struct meeting meeting;
	char byte;
	begin(bench, TTUN_SERVER, "right", 10000, &meeting);
	greeting_cancel(&meeting.greeting);
	assert_null(meeting.greeting);
	greeting_cancel(&meeting.greeting);
	assert_int_equal(recv(bench->fds[1], &byte, 1, 0), 0);
	assert_int_equal(meeting.calls, 0);
	end(&meeting);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_LOOP(a_server_comes_to_a_session),
		IN_A_LOOP(a_client_comes_to_a_session),
		IN_A_LOOP(what_follows_the_handshake_is_left_in_the_socket),
		IN_A_LOOP(a_client_with_another_key_is_refused),
		IN_A_LOOP(a_server_with_another_key_hangs_up),
		IN_A_LOOP(silence_ends_at_the_deadline),
		IN_A_LOOP(one_that_is_cancelled_says_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
