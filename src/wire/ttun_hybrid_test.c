#include "wire/ttun_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t nonce_c[16] = {1}, nonce_s[16] = {2};
static const char good_psk[] = "0123456789abcdef0123456789abcdef";

static struct ttun *make_plain(enum ttun_role role, const char *psk)
{
	struct secret key = {0};
	struct ttun *ttun = NULL;
	assert_int_equal(secret_start(), 0);
	assert_int_equal(ttun_key(psk, strlen(psk), &key), 0);
	assert_int_equal(ttun_new(role, AEAD_AES_256_GCM, &key, role == TTUN_CLIENT ? nonce_c : nonce_s, &ttun), 0);
	secret_fini(&key);
	return ttun;
}

static struct ttun *make(enum ttun_role role, const char *psk)
{
	struct ttun *ttun = make_plain(role, psk);
	ttun_use_hybrid(ttun);
	return ttun;
}

struct ends {
	struct ttun *client, *server;
};

static struct ends make_ends(void)
{
	return (struct ends){make(TTUN_CLIENT, good_psk), make(TTUN_SERVER, good_psk)};
}

static void free_ends(struct ends *ends)
{
	ttun_free(&ends->client);
	ttun_free(&ends->server);
}

// What one side says, with one bit changed when it lies within; what the other makes of it.
static int pass(struct ttun *from, struct ttun *to, size_t wanted, size_t bit)
{
	uint8_t bytes[TTUN_SPEAK_BYTES];
	size_t used = 0, length = ttun_speak(from, bytes);
	assert_int_equal(length, wanted);
	assert_int_equal(ttun_wants(to), wanted);
	if (bit < wanted * 8)
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	int result = ttun_hear(to, bytes, length, &used);
	assert_int_equal(used, result == 0 ? wanted : 0);
	return result;
}

static void shake_hands(struct ends *ends)
{
	assert_int_equal(pass(ends->client, ends->server, 1288, SIZE_MAX), 0);
	assert_int_equal(pass(ends->server, ends->client, 1192, SIZE_MAX), 0);
	assert_false(ttun_is_up(ends->server));
	assert_int_equal(pass(ends->client, ends->server, 48, SIZE_MAX), 0);
	assert_true(ttun_is_up(ends->client) && ttun_is_up(ends->server));
}

static void carry(struct ttun *from, struct ttun *to, uint8_t fill)
{
	uint8_t frame[200];
	struct ttun_packet packet;
	memset(frame, fill, sizeof frame);
	ttun_seal(from, frame, 100);
	assert_int_equal(ttun_open(to, frame, sizeof frame, &packet), 0);
	assert_int_equal(packet.length, 100);
	assert_int_equal(packet.bytes[0], fill);
	assert_int_equal(packet.bytes[99], fill);
}

static void assert_hex(const struct secret *secret, const char *wanted)
{
	char text[2 * SECRET_MAX_BYTES + 1] = "";
	for (size_t i = 0; i < secret->length; i++)
		snprintf(text + 2 * i, 3, "%02x", secret->bytes[i]);
	assert_string_equal(text, wanted);
}

// Computed independently, with HMAC-SHA-384 alone. docs/psk.md has the same.
static void the_key_schedule_of_the_document(void **state)
{
	(void)state;
	struct secret chain = {0}, x25519 = {0}, mlkem = {0}, out = {0}, key = {0};
	uint8_t transcript[48], legs[64];
	assert_int_equal(secret_start(), 0);
	for (uint8_t i = 0; i < 48; i++)
		transcript[i] = i;
	memset(legs, 0x11, 32);
	memset(legs + 32, 0x22, 32);
	assert_int_equal(ttun_key(good_psk, 32, &key), 0);
	const struct digest_part part = {key.bytes, key.length};
	assert_int_equal(hkdf_extract((const uint8_t *)"qanat psk pq/1", 14, &part, 1, &chain), 0);
	assert_hex(&chain,
	           "9864b4641a122ae3bbd8e5e189572ebf508919af0d4d9e5ba8b40ad89cddf66d4c0425f3b6b433afc9460162df962564");
	assert_int_equal(secret_set(&x25519, legs, 32), 0);
	assert_int_equal(secret_set(&mlkem, legs + 32, 32), 0);
	assert_int_equal(ttun_hybrid_mix(&chain, transcript, &x25519, &mlkem), 0);
	assert_hex(&chain,
	           "0d3762ef5dd2a8040371c4513cd753051e1b70fe3899841ec656dcdb86ca43f49b51ef4d4b8313b74d677065de27343f");
	assert_int_equal(ttun_hybrid_expand(&chain, "client key", 32, &out), 0);
	assert_hex(&out, "d00a6e7fb4678102ab083d70f9aa514389862ba1673a0c2aaca692dee5060be4");
	assert_int_equal(ttun_hybrid_expand(&chain, "server key", 32, &out), 0);
	assert_hex(&out, "9cc4b043bd0d8880dc0584f949b88d7daac65314e30f2c6fef30b8585c7af37d");
	assert_int_equal(ttun_hybrid_expand(&chain, "client confirm", 48, &out), 0);
	assert_hex(&out,
	           "70a062ef37b56264575aac84a193177dc40592d93525ecd94cc4ac25843d4c5211d91f22466f439d88fda9782062ef9c");
	assert_int_equal(ttun_hybrid_expand(&chain, "server confirm", 48, &out), 0);
	assert_hex(&out,
	           "513126e725fe86f18a1c29df56388ba7aed13d91ac6f9e99fbab87cd71124266aef0e03cad3c3b0831964f753e67086f");
	secret_fini(&chain);
	secret_fini(&x25519);
	secret_fini(&mlkem);
	secret_fini(&out);
	secret_fini(&key);
}

static void three_messages_make_a_session(void **state)
{
	(void)state;
	struct ends ends = make_ends();
	shake_hands(&ends);
	for (uint8_t i = 0; i < 10; i++) {
		carry(ends.client, ends.server, (uint8_t)(0x40 + i));
		carry(ends.server, ends.client, (uint8_t)(0x60 + i));
	}
	free_ends(&ends);
}

static void two_sessions_share_no_key(void **state)
{
	(void)state;
	struct ends one = make_ends(), two = make_ends();
	uint8_t frame[200] = {0x45};
	struct ttun_packet packet;
	shake_hands(&one);
	shake_hands(&two);
	ttun_seal(one.client, frame, 100);
	assert_int_equal(ttun_open(two.server, frame, sizeof frame, &packet), TTUN_REFUSED);
	free_ends(&one);
	free_ends(&two);
}

static void one_flipped_bit_in_any_message_ends_it(void **state)
{
	(void)state;
	for (size_t bit = 0; bit < 1288 * 8; bit += 41) {
		struct ends ends = make_ends();
		assert_int_equal(pass(ends.client, ends.server, 1288, bit), TTUN_REFUSED);
		assert_false(ttun_is_up(ends.server));
		free_ends(&ends);
	}
	for (size_t bit = 0; bit < 1192 * 8; bit += 67) {
		struct ends ends = make_ends();
		assert_int_equal(pass(ends.client, ends.server, 1288, SIZE_MAX), 0);
		assert_int_equal(pass(ends.server, ends.client, 1192, bit), TTUN_REFUSED);
		free_ends(&ends);
	}
	for (size_t bit = 0; bit < 48 * 8; bit += 5) {
		struct ends ends = make_ends();
		assert_int_equal(pass(ends.client, ends.server, 1288, SIZE_MAX), 0);
		assert_int_equal(pass(ends.server, ends.client, 1192, SIZE_MAX), 0);
		assert_int_equal(pass(ends.client, ends.server, 48, bit), TTUN_REFUSED);
		assert_false(ttun_is_up(ends.server));
		free_ends(&ends);
	}
}

static void another_key_is_refused_by_its_first_message(void **state)
{
	(void)state;
	struct ttun *client = make(TTUN_CLIENT, "another key, which is long enough"), *server = make(TTUN_SERVER, good_psk);
	assert_int_equal(pass(client, server, 1288, SIZE_MAX), TTUN_REFUSED);
	uint8_t bytes[TTUN_SPEAK_BYTES];
	assert_int_equal(ttun_speak(server, bytes), 0); // and learns nothing
	ttun_free(&client);
	ttun_free(&server);
}

static void a_peer_without_it_is_refused_at_once_and_never_served_less(void **state)
{
	(void)state;
	uint8_t bytes[TTUN_SPEAK_BYTES];
	size_t used;
	struct ttun *plain = make_plain(TTUN_CLIENT, good_psk), *server = make(TTUN_SERVER, good_psk);
	assert_int_equal(ttun_speak(plain, bytes), 16);
	assert_int_equal(ttun_hear(server, bytes, 1, &used), TTUN_REFUSED); // nonce_c begins with 1, not with 'q'
	ttun_free(&plain);
	ttun_free(&server);
	plain = make_plain(TTUN_SERVER, good_psk);
	struct ttun *client = make(TTUN_CLIENT, good_psk);
	size_t length = ttun_speak(client, bytes), at = 0;
	uint8_t answer[TTUN_SPEAK_BYTES];
	assert_int_equal(ttun_hear(plain, bytes, length, &used), 0);
	at += used;
	assert_int_equal(ttun_speak(plain, answer), 16);
	assert_int_equal(ttun_hear(client, answer, 16, &used), TTUN_REFUSED);
	assert_int_equal(ttun_hear(plain, bytes + at, length - at, &used), TTUN_REFUSED);
	ttun_free(&plain);
	ttun_free(&client);
}

static void every_cut_is_waited_for(void **state)
{
	(void)state;
	struct ends ends = make_ends();
	uint8_t bytes[TTUN_SPEAK_BYTES];
	size_t used, length = ttun_speak(ends.client, bytes);
	for (size_t cut = 0; cut < length; cut++)
		assert_int_equal(ttun_hear(ends.server, bytes, cut, &used), TTUN_MORE);
	assert_int_equal(ttun_hear(ends.server, bytes, length, &used), 0);
	free_ends(&ends);
}

struct judge {
	unsigned calls;
	bool says;
	uint8_t nonce[TTUN_NONCE_BYTES];
};

static bool judge(void *owner, const uint8_t nonce[TTUN_NONCE_BYTES])
{
	struct judge *asked = owner;
	asked->calls++;
	memcpy(asked->nonce, nonce, TTUN_NONCE_BYTES);
	return asked->says;
}

static void a_judge_hears_of_genuine_hellos_only_and_before_any_work(void **state)
{
	(void)state;
	uint8_t bytes[TTUN_SPEAK_BYTES], copy[TTUN_SPEAK_BYTES];
	size_t used;
	struct judge asked = {.says = false};
	struct ends ends = make_ends();
	ttun_set_judge(ends.server, judge, &asked);
	size_t length = ttun_speak(ends.client, bytes);
	memcpy(copy, bytes, length);
	copy[100] ^= 1;
	assert_int_equal(ttun_hear(ends.server, copy, length, &used), TTUN_REFUSED);
	assert_int_equal(asked.calls, 0);
	memcpy(copy, bytes, length);
	assert_int_equal(ttun_hear(ends.server, copy, length, &used), TTUN_REPEATED);
	assert_int_equal(asked.calls, 1);
	assert_memory_equal(asked.nonce, nonce_c, sizeof nonce_c);
	assert_int_equal(ttun_speak(ends.server, copy), 0);
	asked.says = true;
	assert_int_equal(ttun_hear(ends.server, bytes, length, &used), 0);
	free_ends(&ends);
}

// ---- renewal

static int control(struct ttun *from, struct ttun *to)
{
	uint8_t frame[TTUN_SPEAK_BYTES];
	struct ttun_packet packet;
	size_t length = ttun_speak_control(from, frame);
	assert_true(length > 0);
	int result = ttun_open(to, frame, length, &packet);
	if (result != TTUN_CONTROL)
		return result;
	assert_int_equal(packet.used, length);
	return ttun_hear_control(to, &packet);
}

static void keys_are_renewed_while_packets_pass_in_both_directions(void **state)
{
	(void)state;
	struct ends ends = make_ends();
	shake_hands(&ends);
	for (uint32_t turn = 1; turn <= 5; turn++) {
		assert_true(ttun_renew(ends.client) && ttun_is_renewing(ends.client));
		assert_false(ttun_renew(ends.client)); // one at a time
		carry(ends.client, ends.server, 0x45);
		assert_int_equal(control(ends.client, ends.server), 0);
		carry(ends.client, ends.server, 0x46);
		carry(ends.server, ends.client, 0x47);
		assert_int_equal(control(ends.server, ends.client), 0);
		carry(ends.server, ends.client, 0x48); // with the new key
		carry(ends.client, ends.server, 0x49); // still with the old one
		assert_int_equal(control(ends.client, ends.server), 0);
		carry(ends.client, ends.server, 0x4a);
		carry(ends.server, ends.client, 0x4b);
		assert_int_equal(ttun_generation(ends.client), turn);
		assert_int_equal(ttun_generation(ends.server), turn);
		assert_false(ttun_is_renewing(ends.client) || ttun_is_renewing(ends.server));
	}
	free_ends(&ends);
}

static void a_frame_of_the_old_key_is_refused_after_the_change(void **state)
{
	(void)state;
	struct ends ends = make_ends();
	uint8_t frame[200] = {0};
	struct ttun_packet packet;
	shake_hands(&ends);
	assert_true(ttun_renew(ends.client));
	assert_int_equal(control(ends.client, ends.server), 0);
	ttun_seal(ends.server, frame, 100); // sealed before ACCEPT, arrives after it
	assert_int_equal(control(ends.server, ends.client), TTUN_REFUSED);
	assert_int_equal(ttun_open(ends.client, frame, 118, &packet), TTUN_REFUSED);
	free_ends(&ends);
}

static int say(struct ttun *from, struct ttun *to, const uint8_t *bytes, size_t length)
{
	uint8_t frame[TTUN_SPEAK_BYTES + 100];
	struct ttun_packet packet;
	memcpy(frame + TTUN_LENGTH_BYTES, bytes, length);
	ttun_seal(from, frame, length);
	int result = ttun_open(to, frame, length + TTUN_OVERHEAD_BYTES, &packet);
	return result == TTUN_CONTROL ? ttun_hear_control(to, &packet) : result;
}

static void control_frames_out_of_turn_end_the_session(void **state)
{
	(void)state;
	static uint8_t message[1300];
	static const struct {
		uint8_t kind;
		size_t length;
		bool is_from_server;
	} cases[] = {{TTUN_OFFER, 1218, true},
	             {TTUN_OFFER, 1217, false},
	             {TTUN_OFFER, 1219, false},
	             {TTUN_ACCEPT, 1122, true},
	             {TTUN_ACCEPT, 1122, false},
	             {TTUN_DONE, 2, true},
	             {TTUN_DONE, 2, false},
	             {7, 2, false},
	             {0, 1, false}};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ends ends = make_ends();
		shake_hands(&ends);
		message[0] = 0;
		message[1] = cases[i].kind;
		struct ttun *from = cases[i].is_from_server ? ends.server : ends.client;
		assert_int_equal(say(from, from == ends.server ? ends.client : ends.server, message, cases[i].length),
		                 TTUN_REFUSED);
		free_ends(&ends);
	}
}

static void a_renewal_with_worthless_keys_is_refused(void **state)
{
	(void)state;
	static uint8_t message[1218]; // an X25519 key of zeros
	struct ends ends = make_ends();
	shake_hands(&ends);
	message[1] = TTUN_OFFER;
	assert_int_equal(say(ends.client, ends.server, message, sizeof message), TTUN_REFUSED);
	free_ends(&ends);
}

static void only_a_hybrid_client_renews(void **state)
{
	(void)state;
	struct ends ends = make_ends();
	assert_false(ttun_renew(ends.client)); // not up yet
	shake_hands(&ends);
	assert_false(ttun_renew(ends.server));
	struct ttun *plain = make_plain(TTUN_CLIENT, good_psk);
	assert_false(ttun_renew(plain) || ttun_is_renewing(plain));
	ttun_free(&plain);
	free_ends(&ends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_key_schedule_of_the_document),
		cmocka_unit_test(three_messages_make_a_session),
		cmocka_unit_test(two_sessions_share_no_key),
		cmocka_unit_test(one_flipped_bit_in_any_message_ends_it),
		cmocka_unit_test(another_key_is_refused_by_its_first_message),
		cmocka_unit_test(a_peer_without_it_is_refused_at_once_and_never_served_less),
		cmocka_unit_test(every_cut_is_waited_for),
		cmocka_unit_test(a_judge_hears_of_genuine_hellos_only_and_before_any_work),
		cmocka_unit_test(keys_are_renewed_while_packets_pass_in_both_directions),
		cmocka_unit_test(a_frame_of_the_old_key_is_refused_after_the_change),
		cmocka_unit_test(control_frames_out_of_turn_end_the_session),
		cmocka_unit_test(a_renewal_with_worthless_keys_is_refused),
		cmocka_unit_test(only_a_hybrid_client_renews),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
