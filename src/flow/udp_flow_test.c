#include "flow/udp_flow.h"

#include "flow/udp_flow_internal.h"
#include "link/link_rig.h"
#include "policy/bucket.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

// Clients, a door of source, the link, dest's associations and a target that echoes, all on one loop.

#define CLIENTS 6

struct scene {
	struct link_rig rig;
	struct udp_shares *shares[2];
	struct udp_flows *source, *dest;
	struct udp_door *door;
	struct service_table *table;
	struct address near, far;
	int client[CLIENTS], target;
	unsigned answers[CLIENTS], echoed;
	bool silent;             // the target does not answer
	bool reserves;           // dest has only its last descriptors when a stream comes
	uint8_t expected[65536]; // of every answer
	size_t expected_length;
	unsigned wanted;
};

static int make_socket(const struct address *to)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &to->any, to->length), 0);
	return fd;
}

static void move(struct scene *scene)
{
	static uint8_t bytes[65536];
	struct address peer = {.length = sizeof peer.storage};
	ssize_t n;
	while ((n = recvfrom(scene->target, bytes, sizeof bytes, 0, &peer.any, &peer.length)) >= 0) {
		scene->echoed++;
		if (!scene->silent)
			(void)!sendto(scene->target, bytes, (size_t)n, 0, &peer.any, peer.length);
		peer.length = sizeof peer.storage;
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		while ((n = recv(scene->client[i], bytes, sizeof bytes, 0)) >= 0) {
			assert_int_equal(n, scene->expected_length);
			assert_memory_equal(bytes, scene->expected, scene->expected_length);
			scene->answers[i]++;
		}
}

static void take_stream(void *owner, struct stream *stream, const struct header *header)
{
	struct scene *scene = owner;
	if (scene->reserves)
		socket_reserve_from(3);
	udp_flows_take_stream(scene->dest, stream, header);
	socket_reserve_from(INT_MAX);
}

static struct udp_flows_settings settings_of(struct scene *scene, unsigned side)
{
	return (struct udp_flows_settings){
		.loop = scene->rig.loop,
		.shares = scene->shares[side],
		.idle_ms = 30000,
		.associations_max = 100,
		.client_max = 100,
		.answer_ms = 10000,
		.target_ms = 10000,
		.pool = side == 0 ? scene->rig.pool : NULL,
		.services = side == 1 ? scene->table : NULL,
	};
}

static void begin(struct scene *scene)
{
	memset(scene, 0, sizeof *scene);
	link_rig_start(&scene->rig, &(struct link_rig_settings){.pool_size = 1, .on_header = take_stream, .owner = scene});
	assert_int_equal(address_from_ip("127.0.0.1", 0, &scene->far), 0);
	scene->target = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(scene->target, &scene->far.any, scene->far.length), 0);
	assert_int_equal(getsockname(scene->target, &scene->far.any, &scene->far.length), 0);
	struct service_settings service = {.name = "echo",
	                                   .port = 7,
	                                   .target_host = "127.0.0.1",
	                                   .target_port = ntohs(scene->far.in4.sin_port),
	                                   .connections_max = 3,
	                                   .protocol = SERVICE_UDP};
	assert_int_equal(service_table_new(&service, 1, NULL, &scene->table), 0);
	assert_int_equal(udp_shares_new(1, &scene->shares[0]), 0);
	assert_int_equal(udp_shares_new(2, &scene->shares[1]), 0);
	struct udp_flows_settings source = settings_of(scene, 0), dest = settings_of(scene, 1);
	assert_int_equal(udp_flows_new(&source, &scene->source), 0);
	assert_int_equal(udp_flows_new(&dest, &scene->dest), 0);
	struct header header = {.kind = HEADER_UDP, .service = "echo"};
	assert_int_equal(address_from_ip("127.0.0.1", 0, &scene->near), 0);
	assert_int_equal(udp_door_open(scene->source, &scene->near, DATAGRAM_FIRST, &header, &scene->door), 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		scene->client[i] = make_socket(&scene->near);
}

static void end(struct scene *scene)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		socket_close(&scene->client[i]);
	socket_close(&scene->target);
	udp_door_close(&scene->door);
	udp_flows_free(&scene->source);
	udp_flows_free(&scene->dest);
	link_rig_stop(&scene->rig);
	assert_int_equal(udp_shares_open(scene->shares[0]), 0);
	assert_int_equal(udp_shares_open(scene->shares[1]), 0);
	assert_int_equal(scene->table->services[0].load->connections, 0);
	assert_int_equal(quota_keys(scene->shares[0]->clients), 0);
	udp_shares_free(&scene->shares[0]);
	udp_shares_free(&scene->shares[1]);
	service_table_unref(&scene->table);
	datagram_trim();
}

static void say(struct scene *scene, unsigned client, size_t length)
{
	for (size_t i = 0; i < length; i++)
		scene->expected[i] = (uint8_t)(i * 13 + length);
	scene->expected_length = length;
	assert_int_equal(send(scene->client[client], scene->expected, length, 0), (ssize_t)length);
}

static bool all_have_answers(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	unsigned sum = 0;
	for (unsigned i = 0; i < CLIENTS; i++)
		sum += scene->answers[i];
	return sum >= scene->wanted;
}

static void await_answers(struct scene *scene, unsigned wanted)
{
	scene->wanted += wanted;
	link_rig_wait(&scene->rig, all_have_answers, scene);
}

struct count {
	struct scene *scene;
	enum counter counter;
	uint64_t least;
};

static bool is_counted(void *owner)
{
	struct count *count = owner;
	move(count->scene);
	return counter_read(count->counter) >= count->least;
}

static void await_count(struct scene *scene, enum counter counter, uint64_t least)
{
	struct count count = {scene, counter, least};
	link_rig_wait(&scene->rig, is_counted, &count);
	scene->rig.waiting = NULL; // `count` goes
}

static bool both_are_over(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	return udp_shares_open(scene->shares[0]) == 0 && udp_shares_open(scene->shares[1]) == 0;
}

// ---- in order

static void datagrams_of_every_size_go_there_and_back(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 1200, 9000, LIMIT_DATAGRAM_BYTES};
	static struct scene scene;
	begin(&scene);
	for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
		say(&scene, 0, sizes[i]);
		await_answers(&scene, 1);
	}
	assert_int_equal(udp_shares_open(scene.shares[0]), 1);
	assert_int_equal(udp_shares_open(scene.shares[1]), 1);
	end(&scene);
}

static void the_first_datagrams_wait_for_the_stream_in_order_and_bounded(void **state)
{
	(void)state;
	static struct scene scene;
	begin(&scene);
	uint64_t congested = counter_read(COUNTER_DATAGRAM_CONGESTED);
	// All of it is there before the loop turns: one unit, more than early data takes.
	for (unsigned i = 0; i < 20; i++)
		say(&scene, 0, 3000);
	await_answers(&scene, 20);
	assert_int_equal(counter_read(COUNTER_DATAGRAM_CONGESTED), congested);
	assert_int_equal(scene.answers[0], 20);
	end(&scene);
}

static void each_client_gets_its_own_answers(void **state)
{
	(void)state;
	static struct scene scene;
	begin(&scene);
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 3; i++)
			say(&scene, i, 100 + round);
		await_answers(&scene, 3);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(scene.answers[i], 10);
	assert_int_equal(udp_shares_open(scene.shares[0]), 3);
	assert_int_equal(udp_flows_open(scene.source), 3);
	assert_int_equal(udp_flows_open(scene.dest), 3);
	udp_door_close(&scene.door);
	assert_int_equal(udp_flows_open(scene.source), 0);
	end(&scene);
}

// ---- a peer that would keep a worker busy

struct flood {
	struct scene *scene;
	struct stream *stream;
	bool sent, refused, over;
	uint64_t begun, last, most;
	struct loop_task turn;
};

static uint64_t delivered(void)
{
	return counter_read(COUNTER_DATAGRAM_INWARD) + counter_read(COUNTER_DATAGRAM_LOCAL_FULL);
}

static void on_turn(struct loop_task *task)
{
	struct flood *flood = CONTAINER_OF(task, struct flood, turn);
	uint64_t now = delivered();
	if (now - flood->last > flood->most)
		flood->most = now - flood->last;
	flood->last = now;
	if (!flood->over)
		loop_defer(flood->scene->rig.loop, task);
}

static void on_flood_ready(void *owner, int events)
{
	static const uint8_t empties[LIMIT_UNIT_BYTES]; // each two bytes are an empty datagram
	struct flood *flood = owner;
	(void)events;
	if (!stream_is_open(flood->stream) || flood->sent || !stream_has_room(flood->stream))
		return;
	flood->sent = true;
	assert_int_equal(stream_send(flood->stream, empties, sizeof empties), 0);
}

static void on_flood_refused(void *owner, const struct header_answer *answer)
{
	struct flood *flood = owner;
	(void)answer;
	flood->refused = true;
}

static bool flood_has_arrived(void *owner)
{
	struct flood *flood = owner;
	assert_false(flood->refused);
	move(flood->scene);
	return delivered() - flood->begun >= LIMIT_UNIT_BYTES / 2;
}

static void a_unit_of_empty_datagrams_gets_a_bounded_part_of_each_turn(void **state)
{
	(void)state;
	static struct scene scene;
	static const struct stream_ops ops = {.on_ready = on_flood_ready, .on_refused = on_flood_refused};
	begin(&scene);
	scene.silent = true;
	struct flood flood = {.scene = &scene, .begun = delivered(), .last = delivered(), .turn = {.run = on_turn}};
	struct header header = {.kind = HEADER_UDP, .service = "echo", .origin = "peer"};
	struct stream_opening opening = {.header = &header, .ops = &ops, .owner = &flood};
	assert_int_equal(pool_open(scene.rig.pool, &opening, &flood.stream), 0);
	loop_defer(scene.rig.loop, &flood.turn);
	link_rig_wait(&scene.rig, flood_has_arrived, &flood);
	flood.over = true;
	link_rig_turn(&scene.rig, 2);
	scene.rig.waiting = NULL; // `flood` goes
	assert_int_equal(flood.last - flood.begun, LIMIT_UNIT_BYTES / 2);
	// A part when it is woken, and one at the end of a turn; as the task sees it, of two turns.
	assert_in_range(flood.most, 1, 3 * LIMIT_INWARD_DATAGRAMS_PER_TURN);
	stream_close(&flood.stream);
	link_rig_wait(&scene.rig, both_are_over, &scene);
	end(&scene);
}

static void a_peer_whose_frames_are_bad_cannot_fill_the_log(void **state)
{
	(void)state;
	static struct scene scene;
	static const struct stream_ops ops = {.on_ready = on_flood_ready, .on_refused = on_flood_refused};
	static const uint8_t bad[] = {0xff, 0xff};
	begin(&scene);
	scene.dest->refusals.per_second = 0;
	uint64_t before = counter_read(COUNTER_ASSOCIATION_BROKEN);
	struct flood flood = {.scene = &scene, .sent = true};
	struct header header = {.kind = HEADER_UDP, .service = "echo", .origin = "peer"};
	struct stream_opening opening = {
		.header = &header, .first = bad, .first_length = sizeof bad, .ops = &ops, .owner = &flood};
	assert_int_equal(pool_open(scene.rig.pool, &opening, &flood.stream), 0);
	await_count(&scene, COUNTER_ASSOCIATION_BROKEN, before + 1);
	assert_int_equal(scene.dest->refusals.held, 1);
	stream_close(&flood.stream);
	end(&scene);
}

// ---- limits

static void dest_refuses_and_source_does_not_ask_again_at_once(void **state)
{
	(void)state;
	static struct scene scene;
	begin(&scene);
	for (unsigned i = 0; i < 3; i++)
		say(&scene, i, 10);
	await_answers(&scene, 3);
	uint64_t refused = counter_read(COUNTER_ASSOCIATION_REFUSED), dropped = counter_read(COUNTER_DATAGRAM_REFUSED);
	say(&scene, 3, 10);
	await_count(&scene, COUNTER_ASSOCIATION_REFUSED, refused + 1);
	say(&scene, 3, 10);
	await_count(&scene, COUNTER_DATAGRAM_REFUSED, dropped + 1);
	assert_int_equal(counter_read(COUNTER_ASSOCIATION_REFUSED), refused + 1);
	end(&scene);
}

static void newcomers_beyond_each_limit_are_counted_and_cost_nothing(void **state)
{
	(void)state;
	static struct scene scene;
	begin(&scene);
	struct udp_flows_settings settings = settings_of(&scene, 0);
	settings.client_max = 1;
	udp_flows_set(scene.source, &settings);
	say(&scene, 0, 10);
	await_answers(&scene, 1);
	uint64_t before = counter_read(COUNTER_ASSOCIATION_CLIENT_LIMIT);
	say(&scene, 1, 10);
	await_count(&scene, COUNTER_ASSOCIATION_CLIENT_LIMIT, before + 1);

	settings.client_max = 100;
	settings.associations_max = 1;
	udp_flows_set(scene.source, &settings);
	before = counter_read(COUNTER_ASSOCIATION_LIMIT);
	say(&scene, 1, 10);
	await_count(&scene, COUNTER_ASSOCIATION_LIMIT, before + 1);

	settings.associations_max = 100;
	udp_flows_set(scene.source, &settings);
	bucket_init(scene.shares[0]->fresh, 1, 1);
	while (bucket_take(scene.shares[0]->fresh, loop_now_ms(scene.rig.loop) * 1000 + 600000000))
		;
	before = counter_read(COUNTER_ASSOCIATION_RATE);
	say(&scene, 1, 10);
	await_count(&scene, COUNTER_ASSOCIATION_RATE, before + 1);

	struct cidr other;
	assert_int_equal(cidr_parse("192.0.2.0/24", &other), 0);
	settings.allowed = &other;
	settings.allowed_count = 1;
	udp_flows_set(scene.source, &settings);
	before = counter_read(COUNTER_DATAGRAM_STRANGER);
	say(&scene, 1, 10);
	await_count(&scene, COUNTER_DATAGRAM_STRANGER, before + 1);
	assert_int_equal(udp_shares_open(scene.shares[0]), 1);
	say(&scene, 0, 10); // who has an association keeps it
	await_answers(&scene, 1);
	end(&scene);
}

static void whoever_cannot_be_answered_gets_no_association(void **state)
{
	(void)state;
	static struct scene scene;
	struct address nowhere, somewhere;
	begin(&scene);
	assert_int_equal(address_from_ip("127.0.0.1", 0, &nowhere), 0);
	assert_int_equal(address_from_ip("127.0.0.1", 1, &somewhere), 0);
	uint64_t before = counter_read(COUNTER_DATAGRAM_STRANGER);
	assert_null(udp_flow_admit(scene.source, &nowhere, 3));
	assert_int_equal(counter_read(COUNTER_DATAGRAM_STRANGER), before + 3);
	struct udp_flow *flow = udp_flow_admit(scene.source, &somewhere, 1);
	assert_non_null(flow);
	udp_flow_close(flow);
	end(&scene);
}

static void dest_keeps_its_last_descriptors(void **state)
{
	(void)state;
	static struct scene scene;
	begin(&scene);
	say(&scene, 0, 10);
	await_answers(&scene, 1);
	uint64_t none = counter_read(COUNTER_ASSOCIATION_DESCRIPTORS);
	scene.reserves = true;
	say(&scene, 1, 10);
	await_count(&scene, COUNTER_ASSOCIATION_DESCRIPTORS, none + 1);
	assert_int_equal(udp_shares_open(scene.shares[1]), 1);
	say(&scene, 0, 10); // who has one keeps it
	await_answers(&scene, 1);
	end(&scene);
}

static void nothing_new_begins_while_draining(void **state)
{
	(void)state;
	static struct scene scene;
	begin(&scene);
	say(&scene, 0, 10);
	await_answers(&scene, 1);
	udp_flows_drain(scene.source);
	uint64_t before = counter_read(COUNTER_DATAGRAM_NO_LINK);
	say(&scene, 1, 10);
	await_count(&scene, COUNTER_DATAGRAM_NO_LINK, before + 1);
	say(&scene, 0, 10);
	await_answers(&scene, 1);
	end(&scene);
}

// ---- ends

static void an_idle_association_ends_on_both_sides_in_order(void **state)
{
	(void)state;
	static struct scene scene;
	begin(&scene);
	uint64_t broken = counter_read(COUNTER_ASSOCIATION_BROKEN), idle = counter_read(COUNTER_ASSOCIATION_IDLE);
	say(&scene, 0, 10);
	await_answers(&scene, 1);
	struct udp_flows_settings settings = settings_of(&scene, 0);
	settings.idle_ms = 50;
	udp_flows_set(scene.source, &settings);
	link_rig_wait(&scene.rig, both_are_over, &scene);
	assert_int_equal(counter_read(COUNTER_ASSOCIATION_BROKEN), broken);
	assert_int_equal(counter_read(COUNTER_ASSOCIATION_IDLE), idle + 1);
	say(&scene, 0, 10); // begins another one
	await_answers(&scene, 1);
	end(&scene);
}

static void a_target_that_is_down_ends_nothing(void **state)
{
	(void)state;
	static struct scene scene;
	begin(&scene);
	socket_close(&scene.target);
	uint64_t reports = counter_read(COUNTER_ICMP_REPORTS);
	say(&scene, 0, 10);
	await_count(&scene, COUNTER_ICMP_REPORTS, reports + 1);
	scene.target = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(scene.target, &scene.far.any, scene.far.length), 0);
	say(&scene, 0, 10);
	await_answers(&scene, 1);
	assert_int_equal(udp_shares_open(scene.shares[1]), 1);
	end(&scene);
}

static void a_door_that_closes_takes_its_associations_along(void **state)
{
	(void)state;
	static struct scene scene;
	begin(&scene);
	say(&scene, 0, 10);
	say(&scene, 1, 10);
	await_answers(&scene, 2);
	struct udp_flow *ending = scene.source->newest;
	udp_flow_end(ending);
	assert_int_equal(ending->phase, UDP_ENDING); // in no table any more, but the door's
	say(&scene, 2, 10);
	await_answers(&scene, 1);
	udp_door_close(&scene.door);
	assert_int_equal(udp_shares_open(scene.shares[0]), 0);
	link_rig_wait(&scene.rig, both_are_over, &scene);
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(datagrams_of_every_size_go_there_and_back),
		cmocka_unit_test(the_first_datagrams_wait_for_the_stream_in_order_and_bounded),
		cmocka_unit_test(each_client_gets_its_own_answers),
		cmocka_unit_test(a_unit_of_empty_datagrams_gets_a_bounded_part_of_each_turn),
		cmocka_unit_test(a_peer_whose_frames_are_bad_cannot_fill_the_log),
		cmocka_unit_test(dest_refuses_and_source_does_not_ask_again_at_once),
		cmocka_unit_test(newcomers_beyond_each_limit_are_counted_and_cost_nothing),
		cmocka_unit_test(whoever_cannot_be_answered_gets_no_association),
		cmocka_unit_test(dest_keeps_its_last_descriptors),
		cmocka_unit_test(nothing_new_begins_while_draining),
		cmocka_unit_test(an_idle_association_ends_on_both_sides_in_order),
		cmocka_unit_test(a_target_that_is_down_ends_nothing),
		cmocka_unit_test(a_door_that_closes_takes_its_associations_along),
	};
	return cmocka_run_group_tests_name("udp_flow", tests, link_rig_once, link_rig_end);
}
