#include "flow/flow.h"

#include "core/allocation_rig.h"
#include "flow/flow_internal.h"
#include "link/link_rig.h"

#include <errno.h>

// A client, source's flows, the link, dest's flows and a target, all on one loop; client and target are driven by hand.

struct side { // a plain socket: the client's or the target's
	int fd;
	uint64_t sent, received, length; // says so many bytes, then ends its direction
	bool speaks, listens, ended, shut, reset;
	uint8_t salt;
};

struct scene {
	struct link_rig rig;
	struct flows *source, *dest;
	struct service_table *table;
	struct address target_address;
	int target_listener;
	struct side client, target;
};

static uint8_t said(const struct side *side, uint64_t position)
{
	return (uint8_t)(((position + side->salt) * 2654435761u) >> 9);
}

static void side_speak(struct side *side)
{
	static uint8_t bytes[LIMIT_UNIT_BYTES];
	while (side->speaks && !side->shut && !side->reset) {
		if (side->sent == side->length) {
			shutdown(side->fd, SHUT_WR);
			side->shut = true;
			return;
		}
		uint64_t left = side->length - side->sent;
		size_t size = left < sizeof bytes ? (size_t)left : sizeof bytes;
		for (size_t i = 0; i < size; i++)
			bytes[i] = said(side, side->sent + i);
		ssize_t n = send(side->fd, bytes, size, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			side->reset = true;
		else
			side->sent += (uint64_t)n;
	}
}

static void side_listen(struct side *side, const struct side *other)
{
	static uint8_t bytes[LIMIT_UNIT_BYTES];
	while (side->listens && !side->ended && !side->reset) {
		ssize_t n = recv(side->fd, bytes, sizeof bytes, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			side->reset = true;
		side->ended = n == 0;
		for (ssize_t i = 0; i < n; i++)
			if (bytes[i] != said(other, side->received + (uint64_t)i))
				fail_msg("byte %llu is wrong", (unsigned long long)side->received + (unsigned long long)i);
		side->received += n > 0 ? (uint64_t)n : 0;
	}
}

static void move(struct scene *scene)
{
	struct side *client = &scene->client, *target = &scene->target;
	struct address peer;
	if (target->fd < 0 && socket_accept(scene->target_listener, &target->fd, &peer) != 0)
		target->fd = -1;
	if (client->fd >= 0) {
		side_speak(client);
		side_listen(client, target);
	}
	if (target->fd >= 0) {
		side_speak(target);
		side_listen(target, client);
	}
}

static void take_stream(void *owner, struct stream *stream, const struct header *header)
{
	struct scene *scene = owner;
	flows_take_stream(scene->dest, stream, header);
}

static void begin_pooled(struct scene *scene, unsigned pool_size, uint64_t client_length, uint64_t target_length)
{
	*scene = (struct scene){.client = {.fd = -1, .length = client_length, .speaks = true, .listens = true, .salt = 1},
	                        .target = {.fd = -1, .length = target_length, .speaks = true, .listens = true, .salt = 2}};
	link_rig_start(&scene->rig,
	               &(struct link_rig_settings){.pool_size = pool_size, .on_header = take_stream, .owner = scene});
	assert_int_equal(address_from_ip("127.0.0.1", 0, &scene->target_address), 0);
	assert_int_equal(socket_listen(&scene->target_address, 16, &scene->target_listener), 0);
	struct service_settings services[] = {
		{.name = "echo", .port = 7, .target_host = "127.0.0.1", .connections_max = 10},
		{.name = "nobody", .port = 9, .target_host = "127.0.0.1", .target_port = 1, .connections_max = 10}};
	services[0].target_port = ntohs(scene->target_address.in4.sin_port);
	assert_int_equal(service_table_new(services, 2, NULL, &scene->table), 0);
	struct flows_settings settings = {.loop = scene->rig.loop,
	                                  .wait_ms = 15000,
	                                  .target_ms = 15000,
	                                  .pool = scene->rig.pool};
	assert_int_equal(flows_new(&settings, &scene->source), 0);
	settings.pool = NULL;
	settings.services = scene->table;
	assert_int_equal(flows_new(&settings, &scene->dest), 0);
}

static void begin(struct scene *scene, uint64_t client_length, uint64_t target_length)
{
	begin_pooled(scene, 1, client_length, target_length);
}

static void connect_client(struct scene *scene, const char *service)
{
	int pair[2];
	struct header header = {.kind = HEADER_TCP};
	struct address peer;
	snprintf(header.service, sizeof header.service, "%s", service);
	assert_int_equal(address_from_ip("192.0.2.1", 4711, &peer), 0);
	tls_rig_pair(pair, 0);
	scene->client.fd = pair[0];
	side_speak(&scene->client); // what is there goes along
	flows_take_local(scene->source, &pair[1], &peer, &header);
	assert_int_equal(pair[1], -1);
}

static void end(struct scene *scene)
{
	socket_close(&scene->client.fd);
	socket_close(&scene->target.fd);
	socket_close(&scene->target_listener);
	flows_free(&scene->source);
	flows_free(&scene->dest);
	link_rig_stop(&scene->rig);
	assert_int_equal(scene->table->services[0].load->connections, 0);
	assert_int_equal(scene->table->services[1].load->connections, 0);
	service_table_unref(&scene->table);
}

static bool flows_are_over(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	return flows_open(scene->source) == 0 && flows_open(scene->dest) == 0;
}

static bool client_is_over(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	return scene->client.ended || scene->client.reset;
}

static bool target_is_over(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	return scene->target.ended || scene->target.reset;
}

static bool target_is_there(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	return scene->target.fd >= 0;
}

// ---- in order

static void bytes_travel_both_ways_and_each_end_for_itself(void **state)
{
	(void)state;
	static const uint64_t lengths[][2] = {{0, 0}, {1, 0}, {0, 1}, {100, 5 << 20}, {5 << 20, 100}, {4 << 20, 4 << 20}};
	struct scene scene;
	for (unsigned i = 0; i < COUNT_OF(lengths); i++) {
		begin(&scene, lengths[i][0], lengths[i][1]);
		uint64_t finished = counter_read(COUNTER_FLOW_FINISHED);
		connect_client(&scene, "echo");
		link_rig_wait(&scene.rig, flows_are_over, &scene);
		link_rig_wait(&scene.rig, client_is_over, &scene);
		link_rig_wait(&scene.rig, target_is_over, &scene);
		assert_true(scene.client.ended && scene.target.ended);
		assert_int_equal(scene.target.received, lengths[i][0]);
		assert_int_equal(scene.client.received, lengths[i][1]);
		assert_int_equal(counter_read(COUNTER_FLOW_FINISHED), finished + 2);
		end(&scene);
	}
}

static bool target_has_ended(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	return scene->target.ended;
}

static void end_of_the_request_arrives_while_the_answer_is_still_to_come(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 50000, 3 << 20);
	scene.target.speaks = false;
	connect_client(&scene, "echo");
	link_rig_wait(&scene.rig, target_has_ended, &scene);
	assert_int_equal(scene.target.received, 50000);
	assert_int_equal(flows_open(scene.source), 1);
	scene.target.speaks = true;
	link_rig_wait(&scene.rig, client_is_over, &scene);
	assert_true(scene.client.ended);
	assert_int_equal(scene.client.received, 3 << 20);
	link_rig_wait(&scene.rig, flows_are_over, &scene);
	end(&scene);
}

static bool target_is_stuck(void *owner)
{
	struct scene *scene = owner;
	static uint64_t before;
	static unsigned same;
	move(scene);
	same = scene->target.sent == before && before > 0 ? same + 1 : 0;
	before = scene->target.sent;
	return same > 50;
}

static void client_that_does_not_read_stops_the_target(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 10, 64 << 20);
	scene.client.listens = false;
	connect_client(&scene, "echo");
	link_rig_wait(&scene.rig, target_is_stuck, &scene);
	assert_true(scene.target.sent < 60 << 20);
	scene.target.length = scene.target.sent;
	scene.client.listens = true;
	link_rig_wait(&scene.rig, flows_are_over, &scene);
	link_rig_wait(&scene.rig, client_is_over, &scene);
	assert_true(scene.client.ended);
	assert_int_equal(scene.client.received, scene.target.sent);
	end(&scene);
}

static void client_waits_for_a_link(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 1000, 1000);
	assert_int_equal(pool_set_link(scene.rig.pool, NULL), 0);
	connect_client(&scene, "echo");
	link_rig_turn(&scene.rig, 20);
	assert_int_equal(flows_open(scene.source), 1);
	assert_int_equal(scene.target.fd, -1);
	assert_int_equal(pool_set_link(scene.rig.pool, scene.rig.link), 0);
	flows_link_is_up(scene.source);
	link_rig_wait(&scene.rig, flows_are_over, &scene);
	link_rig_wait(&scene.rig, client_is_over, &scene);
	assert_true(scene.client.ended);
	assert_int_equal(scene.client.received, 1000);
	end(&scene);
}

#define BURST 9 // with the service's own limit of 10 out of the way

struct burst {
	struct scene *scene;
	int clients[BURST];
	uint64_t opened; // by both ends
};

static bool burst_is_in(void *owner)
{
	struct burst *burst = owner;
	const struct flows *source = burst->scene->source;
	assert_in_range(source->dialling, 0, 2);
	return counter_read(COUNTER_FLOW_OPENED) == burst->opened;
}

static void burst_keeps_to_its_dials_and_loses_nobody(void **state)
{
	(void)state;
	struct scene scene;
	begin_pooled(&scene, 0, 0, 0);
	scene.source->settings.dials_max = 2;
	struct burst burst = {.scene = &scene, .opened = counter_read(COUNTER_FLOW_OPENED) + 2 * BURST};
	for (unsigned i = 0; i < BURST; i++) {
		connect_client(&scene, "echo");
		burst.clients[i] = scene.client.fd;
	}
	scene.client.fd = -1;
	assert_int_equal(scene.source->dialling, 2);
	assert_int_equal(scene.source->waiting, BURST - 2);
	link_rig_wait(&scene.rig, burst_is_in, &burst);
	assert_int_equal(scene.source->waiting, 0);
	assert_int_equal(scene.source->dialling, 0);
	for (unsigned i = 0; i < BURST; i++)
		socket_close(&burst.clients[i]);
	end(&scene);
}

static bool one_waits(void *owner)
{
	const struct scene *scene = owner;
	return scene->source->waiting == 1;
}

static void waiting_clients_that_go_are_let_go(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 0, 0);
	assert_int_equal(pool_set_link(scene.rig.pool, NULL), 0);
	int clients[3];
	for (unsigned i = 0; i < 3; i++) {
		connect_client(&scene, "echo");
		clients[i] = scene.client.fd;
		scene.client = (struct side){.fd = -1, .speaks = true, .length = UINT64_MAX};
	}
	assert_int_equal(scene.source->waiting, 3);
	socket_reset(&clients[1]); // one that has said something and ends in order may still want its answer
	socket_close(&clients[0]);
	link_rig_wait(&scene.rig, one_waits, &scene);
	assert_ptr_equal(scene.source->first_waiting, scene.source->last_waiting);
	assert_int_equal(flows_open(scene.source), 1);
	socket_close(&clients[2]);
	end(&scene);
}

// ---- not in order

static void client_is_reset_when_there_is_no_link_in_time(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 1000, 1000);
	flows_free(&scene.source);
	struct flows_settings settings = {.loop = scene.rig.loop, .wait_ms = 30, .pool = scene.rig.pool};
	assert_int_equal(flows_new(&settings, &scene.source), 0);
	assert_int_equal(pool_set_link(scene.rig.pool, NULL), 0);
	uint64_t refused = counter_read(COUNTER_FLOW_REFUSED_NO_LINK);
	connect_client(&scene, "echo");
	link_rig_wait(&scene.rig, client_is_over, &scene);
	assert_true(scene.client.reset);
	assert_int_equal(counter_read(COUNTER_FLOW_REFUSED_NO_LINK), refused + 1);
	end(&scene);
}

static bool is_past(void *owner)
{
	return clock_ms() >= *(uint64_t *)owner;
}

static void set_dest(struct scene *scene, uint32_t target_ms, uint32_t idle_ms)
{
	struct flows_settings settings = {.target_ms = target_ms, .idle_ms = idle_ms, .services = scene->table};
	flows_set(scene->dest, &settings);
}

static void client_of_a_service_that_cannot_be_reached_is_reset(void **state)
{
	(void)state;
	static const char *const services[] = {"nobody", "unknown"};
	static const enum counter counters[] = {COUNTER_FLOW_REFUSED_TARGET, COUNTER_FLOW_REFUSED_SERVICE};
	for (unsigned i = 0; i < 2; i++) {
		struct scene scene;
		begin(&scene, 1000, 1000);
		uint64_t refused = counter_read(counters[i]), by_peer = counter_read(COUNTER_FLOW_REFUSED_PEER);
		set_dest(&scene, 50, 0);
		connect_client(&scene, services[i]);
		link_rig_wait(&scene.rig, client_is_over, &scene);
		assert_true(scene.client.reset);
		assert_int_equal(scene.client.received, 0);
		assert_int_equal(counter_read(counters[i]), refused + 1);
		assert_int_equal(counter_read(COUNTER_FLOW_REFUSED_PEER), by_peer + 1);
		link_rig_wait(&scene.rig, flows_are_over, &scene);
		end(&scene);
	}
}

static void target_that_comes_up_in_time_is_reached(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 1000, 1000);
	uint64_t refused = counter_read(COUNTER_FLOW_REFUSED_TARGET);
	socket_close(&scene.target_listener);
	connect_client(&scene, "echo");
	link_rig_turn(&scene.rig, 20);
	assert_int_equal(flows_open(scene.dest), 1);
	assert_false(client_is_over(&scene));
	assert_int_equal(socket_listen(&scene.target_address, 16, &scene.target_listener), 0);
	link_rig_wait(&scene.rig, target_is_there, &scene);
	assert_int_equal(counter_read(COUNTER_FLOW_REFUSED_TARGET), refused);
	end(&scene);
}

static void target_that_stays_down_is_given_up(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 1000, 1000);
	set_dest(&scene, 250, 0);
	uint64_t refused = counter_read(COUNTER_FLOW_REFUSED_TARGET);
	connect_client(&scene, "nobody");
	link_rig_wait(&scene.rig, client_is_over, &scene);
	assert_int_equal(counter_read(COUNTER_FLOW_REFUSED_TARGET), refused + 1);
	end(&scene);
}

static void flow_that_moves_nothing_is_ended_only_when_told_so(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, UINT64_MAX, UINT64_MAX);
	uint64_t idle = counter_read(COUNTER_FLOW_IDLE);
	connect_client(&scene, "echo");
	link_rig_wait(&scene.rig, target_is_there, &scene);
	scene.client.speaks = scene.target.speaks = false;
	uint64_t until = clock_ms() + 1200; // two looks
	link_rig_wait(&scene.rig, is_past, &until);
	assert_int_equal(flows_open(scene.dest), 1);
	set_dest(&scene, 1000, 700);
	link_rig_wait(&scene.rig, client_is_over, &scene);
	assert_true(scene.client.reset);
	assert_int_equal(counter_read(COUNTER_FLOW_IDLE), idle + 1);
	end(&scene);
}

static void flow_is_ended_at_its_age_whatever_it_does(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, UINT64_MAX, UINT64_MAX);
	struct flows_settings settings = {.loop = scene.rig.loop, .wait_ms = 15000, .pool = scene.rig.pool, .age_ms = 900};
	flows_set(scene.source, &settings);
	uint64_t old = counter_read(COUNTER_FLOW_TOO_OLD), began = clock_ms();
	connect_client(&scene, "echo");
	link_rig_wait(&scene.rig, target_is_there, &scene);
	link_rig_wait(&scene.rig, client_is_over, &scene);
	link_rig_wait(&scene.rig, target_is_over, &scene);
	assert_true(clock_ms() - began >= 900);
	assert_true(scene.client.reset && scene.target.reset);
	assert_int_equal(counter_read(COUNTER_FLOW_TOO_OLD), old + 1);
	end(&scene);
}

static bool is_asked_again(void *owner)
{
	return counter_read(COUNTER_FLOW_ASKED_AGAIN) > *(uint64_t *)owner;
}

// The link stands, but dest's door is shut for a moment: nothing of the flow has left, so it may be asked for again.
static void flow_is_asked_for_again_when_nothing_has_left(void **state)
{
	(void)state;
	struct scene scene;
	begin_pooled(&scene, 0, 5000, 100000);
	listener_close(&scene.rig.listener);
	uint64_t again = counter_read(COUNTER_FLOW_ASKED_AGAIN), refused = counter_read(COUNTER_FLOW_REFUSED_PEER);
	connect_client(&scene, "echo"); // its request and its end are there already
	link_rig_wait(&scene.rig, is_asked_again, &again);
	uint64_t until = clock_ms() + 700; // it is looked at meanwhile
	link_rig_wait(&scene.rig, is_past, &until);
	assert_int_equal(flows_open(scene.source), 1);
	assert_int_equal(listener_open(scene.rig.loop, &scene.rig.address, link_rig_accept, &scene.rig,
	                               &scene.rig.listener),
	                 0);
	link_rig_wait(&scene.rig, flows_are_over, &scene);
	link_rig_wait(&scene.rig, client_is_over, &scene);
	link_rig_wait(&scene.rig, target_is_over, &scene);
	assert_int_equal(scene.target.received, 5000);
	assert_int_equal(scene.client.received, 100000);
	assert_false(scene.client.reset || scene.target.reset);
	assert_int_equal(counter_read(COUNTER_FLOW_REFUSED_PEER), refused);
	end(&scene);
}

static void reset_of_one_end_is_a_reset_of_the_other(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct scene scene;
		begin(&scene, 1000, 1000);
		scene.client.length = scene.target.length = UINT64_MAX;
		connect_client(&scene, "echo");
		link_rig_wait(&scene.rig, target_is_there, &scene);
		link_rig_turn(&scene.rig, 20);
		socket_reset(i == 0 ? &scene.client.fd : &scene.target.fd);
		socket_close(&scene.target_listener);
		struct side *other = i == 0 ? &scene.target : &scene.client;
		link_rig_wait(&scene.rig, flows_are_over, &scene);
		link_rig_wait(&scene.rig, i == 0 ? target_is_over : client_is_over, &scene);
		assert_true(other->reset);
		assert_false(other->ended);
		end(&scene);
	}
}

// Its request has ended, the answer is large and nobody reads it: dest waits for room, and for nothing else.
static void client_that_ended_and_then_vanishes_takes_the_flow_with_it(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 10, 64 << 20);
	scene.client.listens = false;
	connect_client(&scene, "echo");
	link_rig_wait(&scene.rig, target_is_stuck, &scene);
	assert_true(scene.client.shut && scene.target.ended);
	socket_reset(&scene.client.fd);
	link_rig_wait(&scene.rig, flows_are_over, &scene);
	// Bounded work: a flow that nobody can help must not keep the loop awake either.
	link_rig_wait(&scene.rig, target_is_over, &scene);
	end(&scene);
}

static void cut_reaches_flows_that_look_at_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct scene scene;
		begin(&scene, 10, 64 << 20);
		scene.client.listens = false;
		connect_client(&scene, "echo");
		link_rig_wait(&scene.rig, target_is_stuck, &scene);
		if (i == 0) {
			stream_cut_all(scene.rig.link);
			assert_int_equal(flows_open(scene.source), 0);
		} else {
			struct link *link = registry_find(scene.rig.registry, link_id(scene.rig.link));
			stream_cut_all(link);
			link_unref(&link);
			assert_int_equal(flows_open(scene.dest), 0);
			scene.client.listens = true;
		}
		link_rig_wait(&scene.rig, flows_are_over, &scene);
		assert_false(scene.client.ended);
		end(&scene);
	}
}

// ---- no allocation

// OpenSSL takes 40 bytes for each record it seals or opens and gives them back at once (WPACKET); they stay in the
// allocator's own per-thread cache. Anything larger counts like ours.
#define LIBRARY_CRUMB_BYTES 64

static void on_library(size_t size)
{
	if (size <= LIBRARY_CRUMB_BYTES)
		atomic_fetch_sub(&allocations, 1);
}

struct course {
	struct scene *scene;
	uint64_t until;
};

static bool course_is_run(void *owner)
{
	struct course *course = owner;
	move(course->scene);
	return course->scene->client.received >= course->until && course->scene->target.received >= course->until;
}

static void joined_flow_moves_bytes_without_allocating(void **state)
{
	(void)state;
	SKIP_UNLESS_COUNTED();
	struct scene scene;
	begin_pooled(&scene, 0, UINT64_MAX, UINT64_MAX); // a pool would be filled again meanwhile
	loop_timer_disarm(scene.dest->trim);             // source and dest are never on one thread: once is enough
	connect_client(&scene, "echo");
	struct course course = {.scene = &scene, .until = 48 << 20};
	link_rig_wait(&scene.rig, course_is_run, &course);
	unsigned long before = atomic_load(&allocations);
	course.until += 64 << 20;
	link_rig_wait(&scene.rig, course_is_run, &course);
	assert_int_equal(atomic_load(&allocations) - before, 0);
	end(&scene);
}

int main(void)
{
	if (!tls_rig_watch_library(on_library))
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_travel_both_ways_and_each_end_for_itself),
		cmocka_unit_test(end_of_the_request_arrives_while_the_answer_is_still_to_come),
		cmocka_unit_test(client_that_does_not_read_stops_the_target),
		cmocka_unit_test(client_waits_for_a_link),
		cmocka_unit_test(burst_keeps_to_its_dials_and_loses_nobody),
		cmocka_unit_test(waiting_clients_that_go_are_let_go),
		cmocka_unit_test(client_is_reset_when_there_is_no_link_in_time),
		cmocka_unit_test(client_of_a_service_that_cannot_be_reached_is_reset),
		cmocka_unit_test(target_that_comes_up_in_time_is_reached),
		cmocka_unit_test(target_that_stays_down_is_given_up),
		cmocka_unit_test(flow_that_moves_nothing_is_ended_only_when_told_so),
		cmocka_unit_test(flow_is_ended_at_its_age_whatever_it_does),
		cmocka_unit_test(flow_is_asked_for_again_when_nothing_has_left),
		cmocka_unit_test(reset_of_one_end_is_a_reset_of_the_other),
		cmocka_unit_test(client_that_ended_and_then_vanishes_takes_the_flow_with_it),
		cmocka_unit_test(cut_reaches_flows_that_look_at_nothing),
		cmocka_unit_test(joined_flow_moves_bytes_without_allocating),
	};
	return cmocka_run_group_tests_name("flow", tests, link_rig_once, link_rig_end);
}
