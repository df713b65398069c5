// Links and streams that end: revoked, expired, silent, or older than a reload.

#include "link/initiator.h"

#include "link/initiator_rig.h"
#include "link/leftovers.h"

#include <linux/filter.h>

// ---- data connections that lead nowhere

static void on_look(void *owner)
{
	(void)owner;
	stream_trim_idle();
}

// The far side's kernel sees none of what is sent any more, so it acknowledges nothing.
static void make_a_black_hole(int fd)
{
	struct sock_filter nothing = {.code = BPF_RET | BPF_K, .k = 0};
	struct sock_fprog program = {.len = 1, .filter = &nothing};
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
}

static void fill_up(struct stream *stream)
{
	static const uint8_t bytes[LIMIT_UNIT_BYTES];
	for (unsigned i = 0; i < 1000 && stream_has_room(stream); i++)
		assert_int_equal(stream_send(stream, bytes, sizeof bytes), 0);
}

static void black_hole_is_given_up_and_a_reader_that_rests_is_not(void **state)
{
	(void)state;
	struct scene scene;
	struct loop_timer *look;
	begin_dest(&scene);
	scene.settings.link.silence_ms = 1000;
	begin_source(&scene);
	wait_for(&scene, 1, 0);
	assert_int_equal(loop_timer_open(scene.rig.loop, on_look, NULL, &look), 0);
	loop_timer_arm(look, 50, 50);
	for (unsigned i = 0; i < 3; i++) {
		hold(&scene.rig, i);
		link_rig_wait(&scene.rig, is_held, &held[i]);
	}
	uint64_t silent = counter_read(COUNTER_STREAM_SILENT), began = clock_ms();
	// One is a black hole, one has a reader that rests with all buffers full, one is idle.
	make_a_black_hole(tls_conn_fd(held[0].far->tls));
	stream_want_read(held[1].far, false);
	fill_up(held[0].near);
	fill_up(held[1].near);
	link_rig_wait(&scene.rig, is_near_lost, &held[0]);
	assert_true(clock_ms() - began >= 1000);
	let_pass(&scene, 2500);
	assert_true(is_held(&held[1]) && is_held(&held[2]));
	assert_int_equal(counter_read(COUNTER_STREAM_SILENT), silent + 1);
	loop_timer_close(&look);
	end(&scene);
}

// ---- revocation

static void revoked_peer_is_cut_and_does_not_return(void **state)
{
	(void)state;
	for (int by_dest = 0; by_dest < 2; by_dest++) {
		struct scene scene;
		begin(&scene);
		hold(&scene.rig, 0);
		link_rig_wait(&scene.rig, is_held, &held[0]);
		uint64_t refused = counter_read(COUNTER_HANDSHAKE_REVOKED);
		struct identity *harmless, *fresh;
		if (by_dest) {
			harmless = tls_rig_load_with_list(&link_rig_tls, IDENTITY_SERVER, "server", NULL);
			fresh = tls_rig_load_with_list(&link_rig_tls, IDENTITY_SERVER, "server",
			                               identity_certificate(link_rig_tls.client));
			scene.dest_settings.identity = harmless;
			assert_int_equal(responder_set(scene.rig.responder, &scene.dest_settings), 0);
		} else {
			harmless = tls_rig_load_with_list(&link_rig_tls, IDENTITY_CLIENT, "client", NULL);
			fresh = tls_rig_load_with_list(&link_rig_tls, IDENTITY_CLIENT, "client",
			                               identity_certificate(link_rig_tls.server));
			scene.settings.identity = harmless;
			assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
		}
		let_pass(&scene, 200);
		assert_true(is_held(&held[0])); // a list that names nobody
		scene.dest_settings.identity = scene.settings.identity = fresh;
		if (by_dest)
			assert_int_equal(responder_set(scene.rig.responder, &scene.dest_settings), 0);
		else
			assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
		link_rig_wait(&scene.rig, is_lost_on_both_sides, &held[0]);
		wait_for(&scene, 1, 1);
		let_pass(&scene, 400); // it is tried again meanwhile
		assert_true(counter_read(COUNTER_HANDSHAKE_REVOKED) > refused);
		assert_int_equal(scene.rig.ups, 1);
		end(&scene);
		identity_unref(&harmless);
		identity_unref(&fresh);
	}
}

// ---- expiry

// The server's or client's certificate once more, for a few seconds.
static struct identity *load_short(enum identity_usage usage, int seconds)
{
	bool is_server = usage == IDENTITY_SERVER;
	char path[96], ca[96], cert[96], key[96], problem[IDENTITY_PROBLEM_BYTES];
	struct identity *identity = NULL;
	snprintf(path, sizeof path, "%s/ca.key", link_rig_tls.folder);
	BIO *in = BIO_new_file(path, "rb");
	EVP_PKEY *ca_key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
	BIO_free(in);
	X509 *fresh = X509_dup(identity_certificate(is_server ? link_rig_tls.server : link_rig_tls.client));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(fresh), seconds));
	assert_true(X509_sign(fresh, ca_key, EVP_sha256()) > 0);
	snprintf(cert, sizeof cert, "%s/short.crt", link_rig_tls.folder);
	BIO *out = BIO_new_file(cert, "wb");
	assert_int_equal(PEM_write_bio_X509(out, fresh), 1);
	BIO_free(out);
	X509_free(fresh);
	EVP_PKEY_free(ca_key);
	snprintf(ca, sizeof ca, "%s/ca.crt", link_rig_tls.folder);
	snprintf(key, sizeof key, "%s/%s.key", link_rig_tls.folder, is_server ? "server" : "client");
	struct identity_files files = {.ca_path = ca, .cert_path = cert, .key_path = key, .usage = usage};
	if (identity_load(&files, &identity, problem) != 0)
		fail_msg("%s", problem);
	return identity;
}

static bool is_cut_by_dest(void *owner)
{
	return ((const struct link_rig *)owner)->dest_cuts > 0;
}

// Its PINGs put off our timers, which would notice: here our own heartbeat comes once in a minute only.
static void peer_that_talks_on_after_its_certificate_has_expired_is_cut(void **state)
{
	(void)state;
	struct scene scene;
	begin_dest(&scene);
	scene.settings.identity = load_short(IDENTITY_CLIENT, 3);
	scene.settings.control.heartbeat_ms = 100;
	begin_source(&scene);
	wait_for(&scene, 1, 0);
	hold(&scene.rig, 0);
	link_rig_wait(&scene.rig, is_held, &held[0]);
	link_rig_wait(&scene.rig, is_cut_by_dest, &scene.rig);
	end(&scene);
	identity_unref(&scene.settings.identity);
}

static bool is_second_link_over(void *owner)
{
	const struct link_rig *rig = owner;
	return rig->dest_ups >= 2 && rig->dest_downs >= 1;
}

// Otherwise such links would be all that may retire at once, and the newer certificate could not come.
static void link_with_the_certificate_that_is_about_to_expire_replaces_nothing(void **state)
{
	(void)state;
	struct scene scene;
	struct initiator_state seen;
	begin_dest(&scene);
	scene.dest_settings.identity = load_short(IDENTITY_SERVER, 12);
	assert_int_equal(responder_set(scene.rig.responder, &scene.dest_settings), 0);
	begin_source(&scene);
	wait_for(&scene, 1, 0);
	struct link *first = scene.rig.link;
	hold(&scene.rig, 0);
	link_rig_wait(&scene.rig, is_held, &held[0]);
	link_rig_wait(&scene.rig, is_second_link_over, &scene.rig);
	assert_true(scene.rig.ups == 1 && scene.rig.link == first && link_is_up(first) && is_held(&held[0]));
	initiator_read(scene.rig.initiator, &seen);
	assert_string_equal(seen.state, "up");
	end(&scene);
	identity_unref(&scene.dest_settings.identity);
}

// ---- streams that outlive their link

static bool is_dest_down(void *owner)
{
	return ((const struct link_rig *)owner)->dest_downs > 0;
}

static bool is_source_down(void *owner)
{
	return ((const struct link_rig *)owner)->downs > 0;
}

static void cut_left(void *owner, struct link *link)
{
	(void)owner;
	stream_cut_all(link);
}

static bool is_far_lost(void *owner)
{
	return ((const struct held *)owner)->far_lost;
}

// A peer that closes the link in order keeps the streams that it has, but not from being judged.
static void peer_cannot_hide_its_streams_by_closing_the_link(void **state)
{
	(void)state;
	for (int by_dest = 0; by_dest < 2; by_dest++) {
		struct scene scene;
		begin(&scene);
		hold(&scene.rig, 0);
		link_rig_wait(&scene.rig, is_held, &held[0]);
		if (by_dest)
			initiator_free(&scene.rig.initiator, CONTROL_REASON_SHUTDOWN);
		else
			responder_free(&scene.rig.responder, CONTROL_REASON_SHUTDOWN);
		link_rig_wait(&scene.rig, by_dest ? is_dest_down : is_source_down, &scene.rig);
		struct identity *harmless = tls_rig_load_with_list(&link_rig_tls, by_dest ? IDENTITY_SERVER : IDENTITY_CLIENT,
		                                                   by_dest ? "server" : "client", NULL);
		struct identity *fresh = tls_rig_load_with_list(&link_rig_tls, by_dest ? IDENTITY_SERVER : IDENTITY_CLIENT,
		                                                by_dest ? "server" : "client",
		                                                identity_certificate(by_dest ? link_rig_tls.client
		                                                                             : link_rig_tls.server));
		scene.dest_settings.identity = scene.settings.identity = harmless;
		if (by_dest)
			assert_int_equal(responder_set(scene.rig.responder, &scene.dest_settings), 0);
		else
			assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
		let_pass(&scene, 1500);
		assert_true(is_held(&held[0]));
		scene.dest_settings.identity = scene.settings.identity = fresh;
		if (by_dest)
			assert_int_equal(responder_set(scene.rig.responder, &scene.dest_settings), 0);
		else
			assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
		link_rig_wait(&scene.rig, by_dest ? is_far_lost : is_near_lost, &held[0]);
		end(&scene);
		identity_unref(&harmless);
		identity_unref(&fresh);
	}
}

static void streams_without_a_link_end_when_nobody_has_renewed_their_keys(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene);
	scene.settings.control.rotation_ms = 1; // the least patience there is
	struct leftovers left = {0};
	hold(&scene.rig, 0);
	link_rig_wait(&scene.rig, is_held, &held[0]);
	assert_int_equal(control_patience_ms(&scene.settings.control), LIMIT_ESTABLISH_MS);
	assert_true(leftovers_add(&left, scene.rig.link, "", 1000, 5000));
	static const struct leftovers_ops ops = {.cut = cut_left};
	leftovers_sift(&left, 5999, &ops, NULL);
	assert_true(left.first && is_held(&held[0]));
	leftovers_sift(&left, 6000, &ops, NULL);
	assert_true(!left.first && held[0].near_lost);
	// One without streams is forgotten, after a moment.
	let_pass(&scene, 100);
	assert_true(leftovers_add(&left, scene.rig.link, "", 1000, 5000));
	leftovers_sift(&left, 1999, &ops, NULL);
	assert_non_null(left.first);
	link_rig_wait(&scene.rig, is_far_lost, &held[0]);
	leftovers_sift(&left, 2000, &ops, NULL);
	assert_null(left.first);
	end(&scene);
}

static void connection_parked_before_close_opens_nothing_after_it(void **state)
{
	(void)state;
	struct scene scene;
	struct hand hand = {0};
	begin(&scene);
	hand_dial(&hand, &scene.rig);
	link_rig_wait(&scene.rig, hand_is_ready, &hand);
	link_rig_turn(&scene.rig, 20);
	initiator_free(&scene.rig.initiator, CONTROL_REASON_SHUTDOWN);
	link_rig_wait(&scene.rig, is_dest_down, &scene.rig);
	link_rig_wait(&scene.rig, hand_is_over, &hand);
	assert_null(held[0].far);
	hand_fini(&hand);
	end(&scene);
}

// ---- handshakes that meet a reload, and a dest that sends everybody away

struct knocker { // a control connection by hand, up to the end of its handshake
	struct tls_profile *profile;
	struct tls_conn *tls;
};

static void knock(struct knocker *knocker, struct link_rig *rig)
{
	int fd;
	assert_int_equal(tls_profile_control(link_rig_tls.client, TLS_PQ_REQUIRE, &knocker->profile), 0);
	assert_true(socket_connect(&rig->address, &fd) >= 0);
	struct pollfd one = {.fd = fd, .events = POLLOUT};
	assert_int_equal(poll(&one, 1, RIG_PATIENCE_MS), 1);
	struct tls_options options = {.peer_name = "127.0.0.1"};
	assert_int_equal(tls_conn_new(knocker->profile, &fd, &options, &knocker->tls), 0);
	assert_int_equal(tls_conn_handshake(knocker->tls), TLS_BLOCKED);
}

static bool is_turned_away(void *owner)
{
	struct knocker *knocker = owner;
	uint8_t bytes[256];
	size_t got;
	tls_conn_readable(knocker->tls);
	int r = tls_conn_handshake(knocker->tls);
	if (r == 0)
		r = tls_conn_recv(knocker->tls, bytes, sizeof bytes, &got);
	assert_true(r != 0);
	return r != TLS_BLOCKED;
}

// Whoever holds a handshake open would otherwise be let in by the lists of yesterday, and stay.
static void handshake_that_began_before_a_reload_does_not_become_a_link(void **state)
{
	(void)state;
	struct scene scene;
	struct knocker knocker = {0};
	begin(&scene);
	knock(&knocker, &scene.rig);
	link_rig_turn(&scene.rig, 20);
	struct identity *fresh = tls_rig_load_with_list(&link_rig_tls, IDENTITY_SERVER, "server",
	                                                identity_certificate(link_rig_tls.client));
	scene.dest_settings.identity = fresh;
	assert_int_equal(responder_set(scene.rig.responder, &scene.dest_settings), 0);
	link_rig_wait(&scene.rig, is_turned_away, &knocker);
	tls_conn_free(&knocker.tls);
	tls_profile_free(&knocker.profile);
	end(&scene);
	identity_unref(&fresh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(black_hole_is_given_up_and_a_reader_that_rests_is_not),
		cmocka_unit_test(revoked_peer_is_cut_and_does_not_return),
		cmocka_unit_test(peer_that_talks_on_after_its_certificate_has_expired_is_cut),
		cmocka_unit_test(link_with_the_certificate_that_is_about_to_expire_replaces_nothing),
		cmocka_unit_test(peer_cannot_hide_its_streams_by_closing_the_link),
		cmocka_unit_test(streams_without_a_link_end_when_nobody_has_renewed_their_keys),
		cmocka_unit_test(connection_parked_before_close_opens_nothing_after_it),
		cmocka_unit_test(handshake_that_began_before_a_reload_does_not_become_a_link),
	};
	return cmocka_run_group_tests_name("initiator_judge", tests, link_rig_once, link_rig_end);
}
