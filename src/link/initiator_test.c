#include "link/initiator.h"

#include "link/leftovers.h"
#include "link/link_rig.h"

#include <linux/filter.h>

// ---- streams that are held open

#define HELD 8
struct held {
	struct stream *near, *far;
	bool near_lost, far_lost, refused;
};
static struct held held[HELD];

static void on_near(void *owner, int events)
{
	(void)events;
	struct held *one = owner;
	if (!stream_is_broken(one->near))
		return;
	one->near_lost = true;
	stream_close(&one->near);
}

static void on_near_refused(void *owner, const struct header_answer *answer)
{
	(void)answer;
	struct held *one = owner;
	one->refused = true;
	stream_close(&one->near);
}

static void on_far(void *owner, int events)
{
	struct held *one = owner;
	uint8_t bytes[64];
	size_t got;
	if (events & LOOP_READ && !stream_is_broken(one->far)) {
		int r = stream_recv(one->far, bytes, sizeof bytes, &got);
		if (r == STREAM_BLOCKED || r == 0)
			return;
		one->far_lost = r == STREAM_FAILED;
		stream_close(&one->far);
	} else if (stream_is_broken(one->far)) {
		one->far_lost = true;
		stream_close(&one->far);
	}
}

static const struct stream_ops near_ops = {.on_ready = on_near, .on_refused = on_near_refused};
static const struct stream_ops far_ops = {.on_ready = on_far};

static void on_header(void *owner, struct stream *stream, const struct header *header)
{
	(void)owner;
	struct held *one = &held[header->port - 1];
	one->far = stream;
	stream_own(stream, &far_ops, one);
	assert_int_equal(stream_confirm(stream), 0);
	stream_want_read(stream, true);
}

static void hold(struct link_rig *rig, unsigned number)
{
	struct header header = {.kind = HEADER_TCP, .service = "hold", .port = (uint16_t)(number + 1)};
	held[number] = (struct held){0};
	assert_int_equal(pool_open(rig->pool,
	                           &(struct stream_opening){.header = &header, .ops = &near_ops, .owner = &held[number]},
	                           &held[number].near),
	                 0);
}

static bool is_held(void *owner)
{
	const struct held *one = owner;
	return one->far && one->near && stream_is_open(one->near);
}

static bool is_lost_on_both_sides(void *owner)
{
	const struct held *one = owner;
	return one->near_lost && one->far_lost;
}

static bool is_near_lost(void *owner)
{
	return ((const struct held *)owner)->near_lost;
}

static void let_go(unsigned number)
{
	stream_close(&held[number].near);
	stream_close(&held[number].far);
}

// ---- the scene

struct scene {
	struct link_rig rig;
	struct destination dests[3];
	struct initiator_settings settings;
	struct responder_settings dest_settings;
	struct listener *spare; // a second door to the same dest
	struct address spare_address;
	unsigned wanted_ups, wanted_downs;
	unsigned given_up;
};

static void on_given_up(void *owner, const char *reason)
{
	(void)reason;
	struct scene *scene = owner;
	scene->given_up++;
}

static void begin_dest(struct scene *scene)
{
	*scene = (struct scene){0};
	memset(held, 0, sizeof held);
	log_set(LOG_ERROR, LOG_FORMAT_PLAIN, false);
	assert_int_equal(loop_new(&scene->rig.loop), 0);
	assert_int_equal(loop_timer_open(scene->rig.loop, link_rig_tick, &scene->rig, &scene->rig.tick), 0);
	loop_timer_arm(scene->rig.tick, 1, 1);
	link_rig_start_dest(&scene->rig, &(struct link_rig_settings){.on_header = on_header});
	scene->settings = (struct initiator_settings){
		.loop = scene->rig.loop,
		.identity = link_rig_tls.client,
		.pq = TLS_PQ_REQUIRE,
		.host = "127.0.0.1",
		.port = ntohs(scene->rig.address.in4.sin_port),
		.handshake_ms = 10000,
		.reconnect = true,
		.delay_first_ms = 20,
		.delay_max_ms = 100,
		.control = link_rig_control(CONTROL_INITIATOR),
		.link = {.overlap_ms = 60000, .connections_max = 10000},
	};
	scene->dest_settings = (struct responder_settings){
		.identity = link_rig_tls.server,
		.pq = TLS_PQ_REQUIRE,
		.handshake_ms = 10000,
		.control = link_rig_control(CONTROL_RESPONDER),
		.link = {.overlap_ms = 60000, .connections_max = 10000},
	};
}

// The rig's own callbacks, and one more; `scene` begins with the rig, so both take it as their owner.
static void begin_source(struct scene *scene)
{
	static const struct initiator_ops ops = {.on_up = link_rig_up,
	                                         .on_draining = link_rig_draining,
	                                         .on_down = link_rig_down,
	                                         .on_given_up = on_given_up};
	struct pool_settings pool = {.loop = scene->rig.loop, .handshake_ms = 10000};
	assert_int_equal(pool_new(&pool, &scene->rig.pool), 0);
	assert_int_equal(initiator_new(&scene->settings, &ops, scene, &scene->rig.initiator), 0);
}

static bool has_come_to_pass(void *owner)
{
	const struct scene *scene = owner;
	return scene->rig.ups >= scene->wanted_ups && scene->rig.downs >= scene->wanted_downs;
}

static void wait_for(struct scene *scene, unsigned ups, unsigned downs)
{
	scene->wanted_ups = ups;
	scene->wanted_downs = downs;
	link_rig_wait(&scene->rig, has_come_to_pass, scene);
	assert_int_equal(scene->rig.ups, ups);
	assert_int_equal(scene->rig.downs, downs);
}

static void begin(struct scene *scene)
{
	begin_dest(scene);
	begin_source(scene);
	wait_for(scene, 1, 0);
}

static void end(struct scene *scene)
{
	for (unsigned i = 0; i < HELD; i++)
		let_go(i);
	listener_close(&scene->spare);
	link_rig_stop(&scene->rig);
}

static bool is_past(void *owner)
{
	return clock_ms() >= *(uint64_t *)owner;
}

static void let_pass(struct scene *scene, uint32_t ms)
{
	uint64_t until = clock_ms() + ms;
	link_rig_wait(&scene->rig, is_past, &until);
}

// A port of this host where nobody listens, or listens later.
static struct address quiet_port(struct scene *scene)
{
	struct address address;
	struct listener *listener;
	assert_int_equal(address_from_ip("127.0.0.1", 0, &address), 0);
	assert_int_equal(listener_open(scene->rig.loop, &address, link_rig_accept, &scene->rig, &listener), 0);
	listener_close(&listener);
	return address;
}

static void list_two(struct scene *scene, const struct address *first, const struct address *second)
{
	const struct address *both[] = {first, second};
	for (unsigned i = 0; i < 2; i++) {
		strcpy(scene->dests[i].host, "127.0.0.1");
		scene->dests[i].port = ntohs(both[i]->in4.sin_port);
	}
	scene->settings.host = NULL;
	scene->settings.dests = scene->dests;
	scene->settings.dest_count = 2;
}

static bool uses(const struct scene *scene, unsigned index)
{
	struct initiator_state state;
	char text[64];
	initiator_read(scene->rig.initiator, &state);
	snprintf(text, sizeof text, "127.0.0.1:%u", scene->dests[index].port);
	return strcmp(state.state, "up") == 0 && strcmp(state.dest, text) == 0;
}

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
		cmocka_unit_test(black_hole_is_given_up_and_a_reader_that_rests_is_not),
		cmocka_unit_test(next_dest_is_tried_at_once_and_the_better_one_later),
		cmocka_unit_test(failback_can_be_off),
		cmocka_unit_test(round_robin_goes_on_to_the_next_with_each_link),
		cmocka_unit_test(attempts_are_rounds_over_all_dests),
		cmocka_unit_test(addresses_that_are_not_listed_are_not_dialled),
		cmocka_unit_test(settings_may_go_as_soon_as_they_were_given),
		cmocka_unit_test(another_certificate_renews_the_link_and_cuts_nothing),
		cmocka_unit_test(dest_that_is_not_listed_any_more_is_left),
		cmocka_unit_test(peer_that_is_not_allowed_any_more_is_cut),
		cmocka_unit_test(revoked_peer_is_cut_and_does_not_return),
		cmocka_unit_test(peer_that_talks_on_after_its_certificate_has_expired_is_cut),
		cmocka_unit_test(link_with_the_certificate_that_is_about_to_expire_replaces_nothing),
		cmocka_unit_test(peer_cannot_hide_its_streams_by_closing_the_link),
		cmocka_unit_test(streams_without_a_link_end_when_nobody_has_renewed_their_keys),
		cmocka_unit_test(connection_parked_before_close_opens_nothing_after_it),
		cmocka_unit_test(handshake_that_began_before_a_reload_does_not_become_a_link),
		cmocka_unit_test(dest_that_sends_everybody_away_makes_nobody_hurry),
		cmocka_unit_test(goaway_ends_the_pause_of_a_renewal_that_fails),
	};
	return cmocka_run_group_tests_name("initiator", tests, link_rig_once, link_rig_end);
}
