#include "link/initiator.h"

#include "link/initiator_rig.h"

// ---- make before break

static void renewed_link_keeps_the_old_one_until_its_streams_are_done(void **state)
{
	(void)state;
	struct scene scene;
	struct initiator_state seen;
	begin(&scene);
	struct link *first = link_ref(scene.rig.link);
	hold(&scene.rig, 0);
	link_rig_wait(&scene.rig, is_held, &held[0]);
	uint64_t renewed = counter_read(COUNTER_LINKS_RENEWED);
	initiator_renew(scene.rig.initiator, "the test wants it");
	wait_for(&scene, 2, 0);
	assert_true(scene.rig.link != first);
	assert_int_equal(counter_read(COUNTER_LINKS_RENEWED), renewed + 1);
	hold(&scene.rig, 1);
	link_rig_wait(&scene.rig, is_held, &held[1]);
	assert_true(stream_link(held[1].near) == scene.rig.link);
	let_pass(&scene, 1500);
	initiator_read(scene.rig.initiator, &seen);
	assert_string_equal(seen.state, "up");
	assert_int_equal(seen.retiring, 1);
	assert_true(is_held(&held[0]) && link_is_up(first) && scene.rig.downs == 0);
	let_go(0);
	wait_for(&scene, 2, 1);
	assert_int_equal(scene.rig.cuts + scene.rig.dest_cuts, 0);
	assert_false(link_is_up(first));
	assert_true(is_held(&held[1]) && link_is_up(scene.rig.link));
	link_unref(&first);
	end(&scene);
}

static void old_links_are_bounded_and_a_renewal_waits_for_one_to_end(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene);
	for (unsigned i = 0; i < LIMIT_RETIRING_LINKS; i++) {
		hold(&scene.rig, i);
		link_rig_wait(&scene.rig, is_held, &held[i]);
		initiator_renew(scene.rig.initiator, "again");
		wait_for(&scene, i + 2, 0);
	}
	initiator_renew(scene.rig.initiator, "once too often");
	let_pass(&scene, 600);
	assert_int_equal(scene.rig.ups, LIMIT_RETIRING_LINKS + 1);
	for (unsigned i = 0; i < LIMIT_RETIRING_LINKS; i++)
		assert_true(is_held(&held[i]));
	let_go(2);
	scene.wanted_ups = LIMIT_RETIRING_LINKS + 2;
	scene.wanted_downs = 2; // that one, and the one that was in use and has no streams
	link_rig_wait(&scene.rig, has_come_to_pass, &scene);
	assert_int_equal(scene.rig.cuts, 0);
	end(&scene);
}

static void dest_that_drains_is_replaced_while_its_streams_go_on(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene);
	hold(&scene.rig, 0);
	link_rig_wait(&scene.rig, is_held, &held[0]);
	responder_goaway(scene.rig.responder, 60000);
	wait_for(&scene, 2, 0);
	hold(&scene.rig, 1);
	link_rig_wait(&scene.rig, is_held, &held[1]);
	assert_true(is_held(&held[0]));
	let_go(0);
	wait_for(&scene, 2, 1);
	assert_int_equal(scene.rig.cuts, 0);
	assert_true(is_held(&held[1]));
	end(&scene);
}

static void dest_that_drains_and_takes_nobody_is_shown_as_draining(void **state)
{
	(void)state;
	struct scene scene;
	struct initiator_state seen;
	begin(&scene);
	hold(&scene.rig, 0);
	link_rig_wait(&scene.rig, is_held, &held[0]);
	listener_close(&scene.rig.listener);
	responder_goaway(scene.rig.responder, 60000);
	let_pass(&scene, 500);
	initiator_read(scene.rig.initiator, &seen);
	assert_string_equal(seen.state, "draining");
	assert_true(seen.attempts > 0);
	assert_true(is_held(&held[0]));
	assert_int_equal(pool_is_ready(scene.rig.pool), false);
	assert_int_equal(listener_open(scene.rig.loop, &scene.rig.address, link_rig_accept, &scene.rig,
	                               &scene.rig.listener),
	                 0);
	wait_for(&scene, 2, 0);
	assert_true(is_held(&held[0]));
	end(&scene);
}

// ---- several dests

static void next_dest_is_tried_at_once_and_the_better_one_later(void **state)
{
	(void)state;
	struct scene scene;
	begin_dest(&scene);
	struct address down = quiet_port(&scene);
	list_two(&scene, &down, &scene.rig.address);
	scene.settings.failback_ms = 300;
	scene.settings.delay_first_ms = scene.settings.delay_max_ms = 3600 * 1000; // never within this test
	begin_source(&scene);
	wait_for(&scene, 1, 0);
	assert_true(uses(&scene, 1));
	hold(&scene.rig, 0);
	link_rig_wait(&scene.rig, is_held, &held[0]);
	let_pass(&scene, 700); // tried in vain, which harms nobody
	assert_true(uses(&scene, 1) && is_held(&held[0]));
	assert_int_equal(listener_open(scene.rig.loop, &down, link_rig_accept, &scene.rig, &scene.spare), 0);
	wait_for(&scene, 2, 0);
	assert_true(uses(&scene, 0) && is_held(&held[0]));
	let_go(0);
	wait_for(&scene, 2, 1);
	assert_int_equal(scene.rig.cuts, 0);
	end(&scene);
}

static void failback_can_be_off(void **state)
{
	(void)state;
	struct scene scene;
	begin_dest(&scene);
	struct address down = quiet_port(&scene);
	list_two(&scene, &down, &scene.rig.address);
	begin_source(&scene);
	wait_for(&scene, 1, 0);
	assert_int_equal(listener_open(scene.rig.loop, &down, link_rig_accept, &scene.rig, &scene.spare), 0);
	let_pass(&scene, 800);
	assert_int_equal(scene.rig.ups, 1);
	assert_true(uses(&scene, 1));
	end(&scene);
}

static void round_robin_goes_on_to_the_next_with_each_link(void **state)
{
	(void)state;
	struct scene scene;
	begin_dest(&scene);
	scene.spare_address = quiet_port(&scene);
	assert_int_equal(listener_open(scene.rig.loop, &scene.spare_address, link_rig_accept, &scene.rig, &scene.spare), 0);
	list_two(&scene, &scene.rig.address, &scene.spare_address);
	scene.settings.order = DESTINATIONS_ROUND_ROBIN;
	begin_source(&scene);
	wait_for(&scene, 1, 0);
	unsigned first = uses(&scene, 0) ? 0 : 1;
	assert_true(uses(&scene, first));
	for (unsigned i = 1; i < 4; i++) {
		responder_goaway(scene.rig.responder, 1000);
		scene.wanted_ups = i + 1;
		scene.wanted_downs = 0;
		link_rig_wait(&scene.rig, has_come_to_pass, &scene);
		assert_true(uses(&scene, (first + i) % 2));
	}
	end(&scene);
}

static bool has_given_up(void *owner)
{
	const struct scene *scene = owner;
	return scene->given_up > 0;
}

static void attempts_are_rounds_over_all_dests(void **state)
{
	(void)state;
	struct scene scene;
	struct initiator_state seen;
	begin_dest(&scene);
	struct address one = quiet_port(&scene), two = quiet_port(&scene);
	list_two(&scene, &one, &two);
	scene.settings.attempts_max = 3;
	begin_source(&scene);
	link_rig_wait(&scene.rig, has_given_up, &scene);
	initiator_read(scene.rig.initiator, &seen);
	assert_int_equal(seen.attempts, 3);
	assert_int_equal(seen.errors, 6);
	assert_int_equal(scene.given_up, 1);
	end(&scene);
}

static void addresses_that_are_not_listed_are_not_dialled(void **state)
{
	(void)state;
	struct scene scene;
	struct cidr range;
	begin_dest(&scene);
	assert_int_equal(cidr_parse("192.0.2.0/24", &range), 0);
	scene.settings.outbound = &range;
	scene.settings.outbound_count = 1;
	uint64_t refused = counter_read(COUNTER_LINK_DIAL_NOT_ALLOWED);
	begin_source(&scene);
	let_pass(&scene, 300);
	assert_true(counter_read(COUNTER_LINK_DIAL_NOT_ALLOWED) > refused);
	assert_int_equal(scene.rig.dest_ups, 0);
	// The same by name: what the resolver says is judged.
	scene.settings.host = "localhost";
	scene.settings.peer_name = "127.0.0.1";
	assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
	refused = counter_read(COUNTER_LINK_DIAL_NOT_ALLOWED);
	let_pass(&scene, 500);
	assert_true(counter_read(COUNTER_LINK_DIAL_NOT_ALLOWED) > refused);
	assert_int_equal(scene.rig.ups, 0);
	assert_int_equal(cidr_parse("127.0.0.0/8", &range), 0);
	assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
	wait_for(&scene, 1, 0);
	// And one that is taken off the list ends what stands.
	hold(&scene.rig, 0);
	link_rig_wait(&scene.rig, is_held, &held[0]);
	assert_int_equal(cidr_parse("192.0.2.0/24", &range), 0);
	assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
	wait_for(&scene, 1, 1);
	link_rig_wait(&scene.rig, is_lost_on_both_sides, &held[0]);
	end(&scene);
}

// ---- new settings

static void settings_may_go_as_soon_as_they_were_given(void **state)
{
	(void)state;
	struct scene scene;
	begin_dest(&scene);
	char host[] = "127.0.0.1", name[] = "dest.example", pattern[] = "server", congestion[] = "reno";
	const char *patterns[] = {pattern};
	scene.settings.host = host;
	scene.settings.peer_name = name;
	scene.settings.allowed_peers = patterns;
	scene.settings.allowed_count = 1;
	scene.settings.congestion = congestion;
	begin_source(&scene);
	memset(host, 'x', sizeof host - 1);
	memset(name, 'x', sizeof name - 1);
	memset(pattern, 'x', sizeof pattern - 1);
	memset(congestion, 'x', sizeof congestion - 1);
	wait_for(&scene, 1, 0);
	end(&scene);
}

static void another_certificate_renews_the_link_and_cuts_nothing(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene);
	tls_rig_issue(&link_rig_tls, ISSUE_CLIENT, "ca", "client2");
	struct identity *fresh = tls_rig_load(&link_rig_tls, IDENTITY_CLIENT, "ca", "client2");
	hold(&scene.rig, 0);
	link_rig_wait(&scene.rig, is_held, &held[0]);
	assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
	let_pass(&scene, 300);
	assert_int_equal(scene.rig.ups, 1); // nothing is different
	scene.settings.identity = fresh;
	assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
	identity_unref(&fresh);
	scene.settings.identity = link_rig_tls.client;
	wait_for(&scene, 2, 0);
	assert_true(is_held(&held[0]));
	assert_int_equal(scene.rig.dest_ups, 2);
	end(&scene);
}

static void dest_that_is_not_listed_any_more_is_left(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene);
	scene.spare_address = quiet_port(&scene);
	assert_int_equal(listener_open(scene.rig.loop, &scene.spare_address, link_rig_accept, &scene.rig, &scene.spare), 0);
	list_two(&scene, &scene.spare_address, &scene.spare_address);
	scene.settings.dest_count = 1;
	hold(&scene.rig, 0);
	link_rig_wait(&scene.rig, is_held, &held[0]);
	assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
	wait_for(&scene, 2, 0);
	assert_true(uses(&scene, 0) && is_held(&held[0]));
	end(&scene);
}

static void peer_that_is_not_allowed_any_more_is_cut(void **state)
{
	(void)state;
	static const char *const patterns[] = {"somebody else"};
	for (int by_dest = 0; by_dest < 2; by_dest++) {
		struct scene scene;
		begin(&scene);
		hold(&scene.rig, 0);
		link_rig_wait(&scene.rig, is_held, &held[0]);
		uint64_t out = counter_read(COUNTER_LINKS_REJUDGED);
		scene.settings.allowed_peers = scene.dest_settings.allowed_peers = patterns;
		scene.settings.allowed_count = scene.dest_settings.allowed_count = 1;
		if (by_dest)
			assert_int_equal(responder_set(scene.rig.responder, &scene.dest_settings), 0);
		else
			assert_int_equal(initiator_set(scene.rig.initiator, &scene.settings), 0);
		link_rig_wait(&scene.rig, is_lost_on_both_sides, &held[0]);
		wait_for(&scene, 1, 1);
		assert_int_equal(scene.rig.cuts, 1);
		assert_int_equal(scene.rig.dest_cuts, 1);
		assert_int_equal(counter_read(COUNTER_LINKS_REJUDGED), out + 1);
		end(&scene);
	}
}

// ---- dests that send everybody away

struct weary { // dest sends each link away as soon as it is up
	struct scene *scene;
	unsigned sent_away;
	uint64_t until_ms;
};

static bool has_sent_all_away(void *owner)
{
	struct weary *weary = owner;
	if (weary->scene->rig.dest_ups > weary->sent_away) {
		weary->sent_away = weary->scene->rig.dest_ups;
		responder_goaway(weary->scene->rig.responder, 60000);
	}
	return clock_ms() >= weary->until_ms;
}

static void dest_that_sends_everybody_away_makes_nobody_hurry(void **state)
{
	(void)state;
	struct scene scene;
	begin_dest(&scene);
	scene.settings.delay_first_ms = 200;
	scene.settings.delay_max_ms = 1000;
	begin_source(&scene);
	struct weary weary = {.scene = &scene, .until_ms = clock_ms() + 1500};
	link_rig_wait(&scene.rig, has_sent_all_away, &weary);
	assert_in_range(scene.rig.ups, 2, 10);
	end(&scene);
}

static bool is_failing(void *owner)
{
	struct initiator_state seen;
	initiator_read(((struct scene *)owner)->rig.initiator, &seen);
	return seen.errors > 0;
}

// The pause of a renewal that fails is not for a source that has no link for new streams any more.
static void goaway_ends_the_pause_of_a_renewal_that_fails(void **state)
{
	(void)state;
	struct scene scene;
	begin_dest(&scene);
	scene.settings.delay_first_ms = scene.settings.delay_max_ms = 600 * 1000;
	begin_source(&scene);
	wait_for(&scene, 1, 0);
	listener_close(&scene.rig.listener);
	initiator_renew(scene.rig.initiator, "the test wants it");
	link_rig_wait(&scene.rig, is_failing, &scene);
	assert_int_equal(listener_open(scene.rig.loop, &scene.rig.address, link_rig_accept, &scene.rig,
	                               &scene.rig.listener),
	                 0);
	responder_goaway(scene.rig.responder, 60000);
	scene.wanted_ups = 2;
	link_rig_wait(&scene.rig, has_come_to_pass, &scene);
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(renewed_link_keeps_the_old_one_until_its_streams_are_done),
		cmocka_unit_test(old_links_are_bounded_and_a_renewal_waits_for_one_to_end),
		cmocka_unit_test(dest_that_drains_is_replaced_while_its_streams_go_on),
		cmocka_unit_test(dest_that_drains_and_takes_nobody_is_shown_as_draining),
		cmocka_unit_test(next_dest_is_tried_at_once_and_the_better_one_later),
		cmocka_unit_test(failback_can_be_off),
		cmocka_unit_test(round_robin_goes_on_to_the_next_with_each_link),
		cmocka_unit_test(attempts_are_rounds_over_all_dests),
		cmocka_unit_test(addresses_that_are_not_listed_are_not_dialled),
		cmocka_unit_test(settings_may_go_as_soon_as_they_were_given),
		cmocka_unit_test(another_certificate_renews_the_link_and_cuts_nothing),
		cmocka_unit_test(dest_that_is_not_listed_any_more_is_left),
		cmocka_unit_test(peer_that_is_not_allowed_any_more_is_cut),
		cmocka_unit_test(dest_that_sends_everybody_away_makes_nobody_hurry),
		cmocka_unit_test(goaway_ends_the_pause_of_a_renewal_that_fails),
	};
	return cmocka_run_group_tests_name("initiator", tests, link_rig_once, link_rig_end);
}
