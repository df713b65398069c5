#include "flow/entry.h"

#include "flow/flow_internal.h"
#include "flow/udp_flow.h"
#include "link/link_rig.h"

#include <errno.h>

// A client at source's entry, the link, dest's flows and a target, all on one loop; client and target by hand.

struct scene {
	struct link_rig rig;
	struct flows *source, *dest;
	struct udp_shares *shares, *dest_shares;
	struct udp_flows *source_udp, *dest_udp;
	struct datagram_socket udp_target; // answers with what it hears
	struct entries *entries;
	struct quota *clients, *peers;
	struct service_table *table;
	int target_listener, client, target;
	char heard[2048], target_heard[2048]; // what has come, as text
	size_t heard_length, target_length;
	bool client_over, client_reset, target_over;
};

static void take_stream(void *owner, struct stream *stream, const struct header *header)
{
	struct scene *scene = owner;
	if (header->kind == HEADER_UDP)
		udp_flows_take_stream(scene->dest_udp, stream, header);
	else
		flows_take_stream(scene->dest, stream, header);
}

static void make_services(struct scene *scene)
{
	static const char *const no[] = {"CN=nobody"}, *const yes[] = {"CN=nobody", "*"};
	struct address address;
	assert_int_equal(address_from_ip("127.0.0.1", 0, &address), 0);
	assert_int_equal(socket_listen(&address, 16, &scene->target_listener), 0);
	uint16_t port = ntohs(address.in4.sin_port);
	assert_int_equal(address_from_ip("127.0.0.1", 0, &address), 0);
	assert_int_equal(datagram_bind(&address, DATAGRAM_ALONE, &scene->udp_target), 0);
	uint16_t udp_port = ntohs(address.in4.sin_port);
	struct service_settings services[] = {
		{.name = "open", .port = 1, .target_host = "127.0.0.1", .target_port = port, .connections_max = 10},
		{.name = "introduced",
	     .port = 2,
	     .target_host = "127.0.0.1",
	     .target_port = port,
	     .connections_max = 10,
	     .introduces = true},
		{.name = "ours",
	     .port = 3,
	     .target_host = "127.0.0.1",
	     .target_port = port,
	     .connections_max = 10,
	     .clients = yes,
	     .client_count = 2},
		{.name = "theirs",
	     .port = 4,
	     .target_host = "127.0.0.1",
	     .target_port = port,
	     .connections_max = 10,
	     .clients = no,
	     .client_count = 1},
		{.name = "dgrams",
	     .port = 5,
	     .protocol = SERVICE_UDP,
	     .target_host = "127.0.0.1",
	     .target_port = udp_port,
	     .connections_max = 10},
	};
	assert_int_equal(service_table_new(services, COUNT_OF(services), NULL, &scene->table), 0);
}

static void begin_udp(struct scene *scene)
{
	assert_int_equal(udp_shares_new(1, &scene->shares), 0);
	assert_int_equal(udp_shares_new(1, &scene->dest_shares), 0);
	struct udp_flows_settings settings = {.loop = scene->rig.loop,
	                                      .shares = scene->shares,
	                                      .idle_ms = 60000,
	                                      .associations_max = 100,
	                                      .client_max = 100,
	                                      .pool = scene->rig.pool,
	                                      .answer_ms = 15000,
	                                      .target_ms = 15000};
	assert_int_equal(udp_flows_new(&settings, &scene->source_udp), 0);
	settings.pool = NULL;
	settings.shares = scene->dest_shares;
	settings.services = scene->table;
	settings.peers = scene->peers;
	assert_int_equal(udp_flows_new(&settings, &scene->dest_udp), 0);
}

static void begin(struct scene *scene, uint32_t client_max)
{
	*scene = (struct scene){.client = -1, .target = -1};
	link_rig_start(&scene->rig, &(struct link_rig_settings){.pool_size = 1, .on_header = take_stream, .owner = scene});
	make_services(scene);
	assert_int_equal(quota_new(16, 1, &scene->clients), 0);
	assert_int_equal(quota_new(16, 1, &scene->peers), 0);
	struct flows_settings settings = {.loop = scene->rig.loop,
	                                  .keepalive_ms = 30000,
	                                  .wait_ms = 15000,
	                                  .target_ms = 15000,
	                                  .pool = scene->rig.pool,
	                                  .clients = scene->clients,
	                                  .client_max = client_max};
	assert_int_equal(flows_new(&settings, &scene->source), 0);
	settings.pool = NULL;
	settings.services = scene->table;
	settings.clients = scene->peers;
	assert_int_equal(flows_new(&settings, &scene->dest), 0);
	struct route_table *routes;
	static const char *const hosts[] = {"dest"};
	struct route_settings everything = {.dest_hosts = hosts, .dest_host_count = 1};
	assert_int_equal(route_table_new(&everything, &routes), 0);
	begin_udp(scene);
	assert_int_equal(entries_new(scene->rig.loop, scene->source, scene->source_udp, &scene->entries), 0);
	entries_set(scene->entries, routes);
	route_table_unref(&routes);
}

static void end(struct scene *scene)
{
	socket_close(&scene->client);
	socket_close(&scene->target);
	socket_close(&scene->target_listener);
	entries_free(&scene->entries);
	udp_flows_free(&scene->source_udp);
	udp_flows_free(&scene->dest_udp);
	assert_int_equal(udp_shares_open(scene->shares), 0);
	udp_shares_free(&scene->shares);
	udp_shares_free(&scene->dest_shares);
	datagram_close(&scene->udp_target);
	flows_free(&scene->source);
	flows_free(&scene->dest);
	assert_int_equal(quota_keys(scene->clients), 0);
	assert_int_equal(quota_keys(scene->peers), 0);
	quota_free(&scene->clients);
	quota_free(&scene->peers);
	link_rig_stop(&scene->rig);
	for (size_t i = 0; i < scene->table->count; i++)
		assert_int_equal(scene->table->services[i].load->connections, 0);
	service_table_unref(&scene->table);
}

static void come_from(struct scene *scene, const char *ip)
{
	int pair[2];
	struct address peer;
	assert_int_equal(address_from_ip(ip, 4711, &peer), 0);
	tls_rig_pair(pair, 0);
	scene->client = pair[0];
	entries_take(scene->entries, &pair[1], &peer);
	assert_int_equal(pair[1], -1);
}

static void come(struct scene *scene)
{
	come_from(scene, "192.0.2.1");
}

static void tell(struct scene *scene, const void *bytes, size_t length)
{
	assert_int_equal(send(scene->client, bytes, length, MSG_NOSIGNAL), length);
}
#define TELL(scene, text) tell(scene, text, sizeof(text) - 1)

static bool hear(int fd, char *text, size_t room, size_t *length, bool *over)
{
	ssize_t n = fd >= 0 ? recv(fd, text + *length, room - *length, MSG_DONTWAIT) : 1;
	if (fd < 0 || (n < 0 && errno == EAGAIN))
		return false;
	*over = n <= 0;
	*length += n > 0 ? (size_t)n : 0;
	return n < 0;
}

static void move(struct scene *scene)
{
	struct address peer;
	if (scene->target < 0 && socket_accept(scene->target_listener, &scene->target, &peer) != 0)
		scene->target = -1;
	if (!scene->client_over)
		scene->client_reset = hear(scene->client, scene->heard, sizeof scene->heard, &scene->heard_length,
		                           &scene->client_over);
	if (!scene->target_over)
		(void)hear(scene->target, scene->target_heard, sizeof scene->target_heard, &scene->target_length,
		           &scene->target_over);
}

static bool client_is_over(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	return scene->client_over;
}

static bool client_has_heard_much(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	return scene->heard_length >= 12;
}

static bool target_has_heard(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	return scene->target_length > 0;
}

static bool all_is_over(void *owner)
{
	struct scene *scene = owner;
	move(scene);
	return flows_open(scene->source) == 0 && flows_open(scene->dest) == 0 && entries_open(scene->entries) == 0;
}

static void assert_heard(const struct scene *scene, const void *bytes, size_t length)
{
	assert_int_equal(scene->heard_length, length);
	assert_memory_equal(scene->heard, bytes, length);
}

// ---- requests

#define GREETING "\x05\x01\x00"
#define METHOD "\x05\x00"
#define OPEN "\x05\x01\x00\x03\x04open\x00\x00"
#define OK "\x05\x00\x00\x01\0\0\0\0\0\0"

static void a_request_becomes_a_flow_that_carries_what_was_said_behind_it(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 0);
	come(&scene);
	TELL(&scene, GREETING OPEN "question");
	link_rig_wait(&scene.rig, target_has_heard, &scene);
	assert_memory_equal(scene.target_heard, "question", 8);
	link_rig_wait(&scene.rig, client_has_heard_much, &scene);
	assert_heard(&scene, METHOD OK, 12);
	assert_int_equal(entries_open(scene.entries), 0);
	assert_int_equal(flows_open(scene.source), 1);
	end(&scene);
}

static void bytes_may_come_one_by_one(void **state)
{
	(void)state;
	struct scene scene;
	const char request[] = "CONNECT dest:1 HTTP/1.0\r\n\r\nx";
	begin(&scene, 0);
	come(&scene);
	for (size_t i = 0; i < sizeof request - 1; i++) {
		tell(&scene, request + i, 1);
		link_rig_turn(&scene.rig, 2);
	}
	link_rig_wait(&scene.rig, target_has_heard, &scene);
	link_rig_wait(&scene.rig, client_has_heard_much, &scene);
	assert_memory_equal(scene.heard, "HTTP/1.1 200 ", 13);
	assert_memory_equal(scene.target_heard, "x", 1);
	end(&scene);
}

static void a_refusal_of_dest_is_told_and_ends_in_order(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 0);
	come(&scene);
	TELL(&scene, GREETING "\x05\x01\x00\x03\x07nowhere\x00\x00"
	                      "unread bytes");
	link_rig_wait(&scene.rig, client_is_over, &scene);
	assert_heard(&scene,
	             METHOD "\x05\x02"
	                    "\x00\x01\0\0\0\0\0\0",
	             12);
	assert_false(scene.client_reset);
	link_rig_wait(&scene.rig, all_is_over, &scene);
	end(&scene);
}

static void noise_and_a_closed_entry_are_reset(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 1);
	come(&scene);
	TELL(&scene, "\x16\x03\x01");
	link_rig_wait(&scene.rig, client_is_over, &scene);
	assert_true(scene.client_reset);
	socket_close(&scene.client);
	entries_set(scene.entries, NULL);
	scene.client_over = false;
	come(&scene);
	link_rig_wait(&scene.rig, client_is_over, &scene);
	assert_true(scene.client_reset);
	end(&scene);
}

static void negotiations_end_when_the_entry_closes(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 5);
	come(&scene);
	TELL(&scene, "\x05");
	link_rig_turn(&scene.rig, 5);
	assert_int_equal(entries_open(scene.entries), 1);
	assert_int_equal(quota_keys(scene.clients), 1);
	entries_drain(scene.entries);
	assert_int_equal(entries_open(scene.entries), 0);
	assert_int_equal(quota_keys(scene.clients), 0);
	end(&scene);
}

// ---- UDP ASSOCIATE

// What the relay says to the client, echoed by the target.
static bool answer_has_come(void *owner)
{
	struct scene *scene = owner;
	char bytes[256];
	struct sockaddr_storage peer;
	socklen_t length = sizeof peer;
	ssize_t n = recvfrom(scene->udp_target.fd, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&peer, &length);
	if (n >= 0)
		assert_int_equal(sendto(scene->udp_target.fd, bytes, (size_t)n, 0, (struct sockaddr *)&peer, length), n);
	n = recv(scene->target, scene->target_heard, sizeof scene->target_heard, MSG_DONTWAIT);
	scene->target_length = n > 0 ? (size_t)n : 0;
	return n > 0;
}

static bool relay_is_gone(void *owner)
{
	struct scene *scene = owner;
	return (send(scene->target, "x", 1, 0) < 0 && errno == ECONNREFUSED) ||
	       (recv(scene->target, scene->target_heard, 1, MSG_DONTWAIT) < 0 && errno == ECONNREFUSED);
}

// The other end of our client's connection, which is in this process too.
static int far_end(const struct scene *scene)
{
	struct address ours = {.length = sizeof ours.storage};
	assert_int_equal(getsockname(scene->client, &ours.any, &ours.length), 0);
	for (int fd = 3; fd < 1024; fd++) {
		struct address peer = {.length = sizeof peer.storage};
		if (fd != scene->client && getpeername(fd, &peer.any, &peer.length) == 0 && peer.any.sa_family == AF_INET &&
		    peer.in4.sin_port == ours.in4.sin_port)
			return fd;
	}
	fail_msg("no descriptor is connected with the client");
	return -1;
}

static void a_control_connection_finds_out_that_its_client_is_gone(void **state)
{
	(void)state;
	struct scene scene;
	int alive = 0;
	socklen_t length = sizeof alive;
	begin(&scene, 0);
	come_from(&scene, "127.0.0.1");
	TELL(&scene, GREETING "\x05\x03\x00\x01\0\0\0\0\0\0");
	link_rig_wait(&scene.rig, client_has_heard_much, &scene);
	assert_int_equal(getsockopt(far_end(&scene), SOL_SOCKET, SO_KEEPALIVE, &alive, &length), 0);
	assert_int_equal(alive, 1);
	end(&scene);
}

static bool is_not_exposed(void *owner)
{
	uint64_t *before = owner;
	return counter_read(COUNTER_DATAGRAM_NOT_EXPOSED) > *before;
}

static void new_routes_hold_for_relays_that_are_open(void **state)
{
	(void)state;
	struct scene scene;
	struct address relay;
	static const struct route_port ports[] = {{.port = 1, .tcp = true}};
	struct route_settings less = {.ports = ports, .port_count = 1};
	struct route_table *routes;
	uint64_t before = counter_read(COUNTER_DATAGRAM_NOT_EXPOSED);
	begin(&scene, 0);
	come_from(&scene, "127.0.0.1");
	TELL(&scene, GREETING "\x05\x03\x00\x01\0\0\0\0\0\0");
	link_rig_wait(&scene.rig, client_has_heard_much, &scene);
	uint16_t port = (uint16_t)((uint8_t)scene.heard[10] << 8 | (uint8_t)scene.heard[11]);
	assert_int_equal(address_from_ip("127.0.0.1", port, &relay), 0);
	assert_int_equal(route_table_new(&less, &routes), 0);
	entries_set(scene.entries, routes);
	route_table_unref(&routes);
	scene.target = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(scene.target, &relay.any, relay.length), 0);
	const char datagram[] = "\0\0\0\x03\x06"
							"dgrams\0\0question";
	assert_int_equal(send(scene.target, datagram, sizeof datagram - 1, 0), sizeof datagram - 1);
	link_rig_wait(&scene.rig, is_not_exposed, &before);
	scene.rig.waiting = NULL; // `before` goes
	assert_int_equal(udp_shares_open(scene.shares), 0);
	end(&scene);
}

static void a_relay_lives_as_long_as_its_control_connection(void **state)
{
	(void)state;
	struct scene scene;
	struct address relay, here;
	begin(&scene, 1);
	come_from(&scene, "127.0.0.1");
	TELL(&scene, GREETING "\x05\x03\x00\x01\0\0\0\0\0\0");
	link_rig_wait(&scene.rig, client_has_heard_much, &scene);
	assert_int_equal(scene.heard_length, 12);
	assert_memory_equal(scene.heard, METHOD "\x05\x00\x00\x01\x7f\0\0\x01", 10);
	uint16_t port = (uint16_t)((uint8_t)scene.heard[10] << 8 | (uint8_t)scene.heard[11]);
	assert_int_equal(address_from_ip("127.0.0.1", port, &relay), 0);
	assert_int_equal(address_from_ip("127.0.0.1", 0, &here), 0);
	scene.target = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(scene.target, &here.any, here.length), 0);
	assert_int_equal(connect(scene.target, &relay.any, relay.length), 0);
	const char datagram[] = "\0\0\0\x03\x06"
							"dgrams\0\0question";
	assert_int_equal(send(scene.target, datagram, sizeof datagram - 1, 0), sizeof datagram - 1);
	link_rig_wait(&scene.rig, answer_has_come, &scene);
	assert_int_equal(scene.target_length, sizeof datagram - 1);
	assert_memory_equal(scene.target_heard, datagram, sizeof datagram - 1);
	assert_int_equal(entries_open(scene.entries), 1);
	assert_int_equal(udp_shares_open(scene.shares), 1);
	// Closing the entry leaves it alone; the end of the control connection does not.
	entries_set(scene.entries, NULL);
	link_rig_turn(&scene.rig, 5);
	assert_int_equal(entries_open(scene.entries), 1);
	socket_close(&scene.client);
	link_rig_wait(&scene.rig, relay_is_gone, &scene);
	assert_int_equal(entries_open(scene.entries), 0);
	assert_int_equal(udp_shares_open(scene.shares), 0);
	assert_int_equal(quota_keys(scene.clients), 0);
	end(&scene);
}

// ---- access

static void one_place_is_held_from_accept_to_the_end_of_the_flow(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 1);
	come(&scene);
	TELL(&scene, GREETING OPEN "question");
	link_rig_wait(&scene.rig, target_has_heard, &scene);
	int first = scene.client;
	scene.heard_length = 0;
	come(&scene); // refused: it has its one
	link_rig_wait(&scene.rig, client_is_over, &scene);
	assert_true(scene.client_reset);
	socket_close(&scene.client);
	socket_reset(&first);
	link_rig_wait(&scene.rig, all_is_over, &scene);
	assert_int_equal(quota_keys(scene.clients), 0);
	assert_int_equal(quota_keys(scene.peers), 0);
	end(&scene);
}

static void ask_for(struct scene *scene, const char *service)
{
	char request[128];
	int length = snprintf(request, sizeof request, "CONNECT %s:1 HTTP/1.0\r\n\r\n", service);
	come(scene);
	tell(scene, request, (size_t)length);
}

static void a_service_for_others_looks_like_none(void **state)
{
	(void)state;
	struct scene scene;
	char first[sizeof scene.heard];
	const char *const asked[] = {"theirs", "nothing"};
	begin(&scene, 0);
	for (size_t i = 0; i < COUNT_OF(asked); i++) {
		scene.heard_length = 0;
		scene.client_over = false;
		ask_for(&scene, asked[i]);
		link_rig_wait(&scene.rig, client_is_over, &scene);
		assert_memory_equal(scene.heard, "HTTP/1.1 404 ", 13);
		if (i == 0)
			memcpy(first, scene.heard, scene.heard_length);
		else
			assert_memory_equal(first, scene.heard, scene.heard_length);
		socket_close(&scene.client);
		link_rig_wait(&scene.rig, all_is_over, &scene);
	}
	scene.heard_length = 0;
	scene.client_over = false;
	ask_for(&scene, "ours");
	link_rig_wait(&scene.rig, client_has_heard_much, &scene);
	assert_memory_equal(scene.heard, "HTTP/1.1 200 ", 13);
	end(&scene);
}

static void the_target_is_told_whose_connection_it_is(void **state)
{
	(void)state;
	struct scene scene;
	begin(&scene, 0);
	ask_for(&scene, "introduced");
	link_rig_wait(&scene.rig, target_has_heard, &scene);
	assert_memory_equal(scene.target_heard, "\r\n\r\n\0\r\nQUIT\n\x21\x11", 14);
	assert_memory_equal(scene.target_heard + 16, "\xc0\x00\x02\x01\x7f\x00\x00\x01", 8); // 192.0.2.1 to 127.0.0.1
	assert_memory_equal(scene.target_heard + 24, "\x12\x67", 2);                         // port 4711
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_becomes_a_flow_that_carries_what_was_said_behind_it),
		cmocka_unit_test(bytes_may_come_one_by_one),
		cmocka_unit_test(a_refusal_of_dest_is_told_and_ends_in_order),
		cmocka_unit_test(noise_and_a_closed_entry_are_reset),
		cmocka_unit_test(negotiations_end_when_the_entry_closes),
		cmocka_unit_test(a_relay_lives_as_long_as_its_control_connection),
		cmocka_unit_test(new_routes_hold_for_relays_that_are_open),
		cmocka_unit_test(a_control_connection_finds_out_that_its_client_is_gone),
		cmocka_unit_test(one_place_is_held_from_accept_to_the_end_of_the_flow),
		cmocka_unit_test(a_service_for_others_looks_like_none),
		cmocka_unit_test(the_target_is_told_whose_connection_it_is),
	};
	return cmocka_run_group_tests(tests, link_rig_once, link_rig_end);
}
