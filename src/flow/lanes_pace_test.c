// A peer with a limit, and a far end by hand: who has moved too much rests, whichever connection it takes next.

#include "flow/lanes.h"

#include "flow/lanes_rig.h"

#define COUNT 1

static struct link_rig rig;
static struct tun device;
static struct lanes *lanes;
static uint8_t packet[RIG_PACKET_BYTES];

static void on_gone(void *owner)
{
	(void)owner;
	fail();
}

static void on_refused(void *owner, struct link *link, const char *reason)
{
	(void)owner;
	(void)link;
	(void)reason;
	fail();
}

static bool as_many_are_there(void *owner)
{
	const unsigned *wanted = owner;
	return far_count == *wanted && lanes_up(lanes) == COUNT && lanes_of(lanes, 0) == *wanted;
}

static void wait_for(unsigned count)
{
	link_rig_wait(&rig, as_many_are_there, &count);
}

static void start(uint64_t limit)
{
	static const struct lanes_ops ops = {.on_gone = on_gone, .on_refused = on_refused};
	struct link_rig_settings how = {.on_header = far_on_header,
	                                .terms = {.is_given = true, .streams = COUNT, .mtu = 1500}};
	link_rig_start(&rig, &how);
	device_open(&device, 1);
	device.refuses_super = true; // nothing is joined
	struct lanes_settings settings = {.tun = &device,
	                                  .workers = 1,
	                                  .count = COUNT,
	                                  .dialling = {.handshake_ms = 10000}};
	assert_int_equal(lanes_new(&settings, &ops, NULL, &lanes), 0);
	lanes_peer_set_limit(lanes_only(lanes), limit);
	assert_int_equal(lanes_open(lanes, 0, rig.loop), 0);
	assert_int_equal(lanes_set_link(lanes, 0, rig.link), 0);
	wait_for(1);
}

static void stop(void)
{
	lanes_close(lanes, 0);
	far_fini();
	link_rig_turn(&rig, 2);
	link_rig_stop(&rig);
	lanes_free(&lanes);
	device_close(&device);
}

static bool has_room(void *owner)
{
	return stream_has_room(((struct far *)owner)->stream);
}

static void say(unsigned far)
{
	link_rig_wait(&rig, has_room, &fars[far]);
	far_say(&fars[far], false, NULL, packet,
	        rig_build(&(struct rig_flow){.version = 4, .protocol = 17}, 1400, 0, packet));
}

static void wait_written(unsigned count)
{
	for (unsigned tries = 0; device.written < count && tries < 5000; tries++)
		link_rig_turn(&rig, 1);
	assert_int_equal(device.written, count);
}

static void a_new_connection_owes_what_its_peer_does_until_there_is_another_limit(void **state)
{
	(void)state;
	start(1); // a byte a second: 1400 of them are owed for long
	say(0);
	wait_written(1);
	lanes_set_dialling(lanes, 0, &(struct lanes_dialling){.handshake_ms = 9000});
	wait_for(2); // the one before is not read to its end either
	say(1);
	say(0);
	link_rig_turn(&rig, 50);
	assert_int_equal(device.written, 1);
	lanes_peer_set_limit(lanes_only(lanes), 1000000);
	wait_written(3);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_connection_owes_what_its_peer_does_until_there_is_another_limit),
	};
	return cmocka_run_group_tests(tests, link_rig_once, link_rig_end);
}
