#include "link/reverse.h"

#include "core/counter.h"

#include "link/link_rig.h"

// A hub and an agent in one process. What the hub's side opens is a visit; the agent's side answers each header by its
// service: "echo" says back what it hears, "no" is refused.

struct visit {
	bool granted, refused, open, broken, unsent;
	struct stream *stream;
	struct header_answer answer;
	char heard[64];
	size_t heard_length;
	const char *service;
	struct link_rig *rig;
};

struct agent {
	struct stream *streams[256];
	unsigned headers, opens;
	char origin[64];
	uint8_t token[STREAM_TOKEN_BYTES];
	bool ignores, refuses, breaks, is_sent_away;
	struct link_rig *rig;
};
static struct agent agent;

static void echo_on(void *owner, int events)
{
	(void)events;
	struct stream **slot = owner;
	uint8_t bytes[64];
	size_t got;
	int r;
	while ((r = stream_recv(*slot, bytes, sizeof bytes, &got)) == 0)
		if (stream_send(*slot, bytes, got) != 0)
			break;
	if (r == STREAM_END)
		(void)!stream_finish(*slot);
	if (r == STREAM_FAILED)
		stream_close(slot);
}

static const struct stream_ops echo_ops = {.on_ready = echo_on};

static void on_agent_header(void *owner, struct stream *stream, const struct header *header)
{
	(void)owner;
	struct stream **slot = &agent.streams[agent.headers++ % COUNT_OF(agent.streams)];
	snprintf(agent.origin, sizeof agent.origin, "%s", header->origin);
	if (strcmp(header->service, "no") == 0) {
		stream_refuse(&stream, HEADER_REFUSED_TARGET, "sshd is down");
		return;
	}
	*slot = stream;
	stream_own(stream, &echo_ops, slot);
	assert_int_equal(stream_confirm(stream), 0);
	stream_want_read(stream, true);
}

// The agent's control connection, with no data connection beside it, sends nothing any more: EPIPE. It still receives.
static void break_sending(struct link_rig *rig)
{
	unsigned broken = 0;
	for (int fd = 3; fd < 256; fd++) {
		struct sockaddr_in peer = {0};
		socklen_t length = sizeof peer;
		if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && peer.sin_port == rig->address.in4.sin_port &&
		    shutdown(fd, SHUT_WR) == 0)
			broken++;
	}
	assert_int_equal(broken, 1);
}

static void on_agent_open(void *owner, struct link *link, const struct control_open *open)
{
	struct link_rig *rig = owner;
	agent.opens++;
	memcpy(agent.token, open->token, sizeof agent.token);
	if (agent.ignores)
		return;
	if (agent.breaks)
		break_sending(rig);
	struct header_answer no = {.status = HEADER_NO_SERVICE, .reason = "not here"};
	if (agent.refuses)
		initiator_open_failed(rig->initiator, link, open->token, &no);
	else
		assert_int_equal(pool_claim(rig->pool, link, open), 0);
	if (agent.is_sent_away)
		responder_goaway(rig->responder, 1000);
}

static void visit_on(void *owner, int events)
{
	(void)events;
	struct visit *visit = owner;
	size_t got;
	int r;
	while ((r = stream_recv(visit->stream, (uint8_t *)visit->heard + visit->heard_length,
	                        sizeof visit->heard - visit->heard_length, &got)) == 0)
		visit->heard_length += got;
	visit->open = visit->open || stream_is_open(visit->stream);
	visit->broken = visit->broken || r == STREAM_FAILED;
}

static void visit_refused(void *owner, const struct header_answer *answer)
{
	struct visit *visit = owner;
	visit->refused = true;
	visit->answer = *answer;
}

static const struct stream_ops visit_ops = {.on_ready = visit_on, .on_refused = visit_refused};

static void on_stream(void *owner, unsigned index, struct stream *stream)
{
	struct visit *visit = owner;
	assert_int_equal(index, 0);
	assert_false(visit->granted || visit->refused);
	visit->granted = true;
	struct header header = {.kind = HEADER_TCP, .origin = "1000:1000:77"};
	snprintf(header.service, sizeof header.service, "%s", visit->service);
	struct stream_opening opening = {
		.header = &header, .first = (const uint8_t *)"salve", .first_length = 5, .ops = &visit_ops, .owner = visit};
	int r = stream_open_parked(stream, &opening);
	visit->unsent = r == STREAM_UNSENT;
	if (r != 0) {
		stream_close(&stream);
		return;
	}
	visit->stream = stream;
	stream_want_read(stream, true);
}

static void on_refused(void *owner, unsigned index, const struct header_answer *answer)
{
	(void)index;
	visit_refused(owner, answer);
}

static const struct reverse_ops reverse_ops = {.on_stream = on_stream, .on_refused = on_refused};

static int wish(struct link_rig *rig, struct visit *visit, const char *service, uint32_t deadline_ms)
{
	visit->service = service;
	visit->rig = rig;
	struct reverse_wish what = {.deadline_ms = deadline_ms, .ops = &reverse_ops, .owner = visit};
	snprintf(what.service, sizeof what.service, "%s", service);
	return reverse_open(rig->reverse_worker, rig->dest_link, &what);
}

static bool has_heard(void *owner)
{
	struct visit *visit = owner;
	return visit->heard_length == 5 && memcmp(visit->heard, "salve", 5) == 0;
}

static bool is_refused(void *owner)
{
	return ((struct visit *)owner)->refused;
}

static bool is_broken(void *owner)
{
	return ((struct visit *)owner)->broken;
}

static unsigned parked(struct link_rig *rig)
{
	struct reverse_state state;
	reverse_read(rig->reverse, rig->dest_link, &state);
	return state.parked;
}

static bool has_one_parked(void *owner)
{
	struct link_rig *rig = owner;
	return parked(rig) == 1;
}

static void start(struct link_rig *rig, unsigned pool_size)
{
	memset(&agent, 0, sizeof agent);
	struct link_rig_settings settings = {.pool_size = pool_size,
	                                     .on_header = on_agent_header,
	                                     .is_reverse = true,
	                                     .on_open = on_agent_open};
	link_rig_start(rig, &settings);
	agent.rig = rig;
	if (pool_size == 1)
		link_rig_wait(rig, has_one_parked, rig);
}

static void stop(struct link_rig *rig)
{
	for (unsigned i = 0; i < COUNT_OF(agent.streams); i++)
		stream_close(&agent.streams[i]);
	link_rig_stop(rig);
}

static void a_parked_connection_carries_a_stream_of_the_hub_and_is_replaced(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	uint64_t sent = counter_read(COUNTER_OPEN_SENT);
	start(&rig, 1);
	assert_int_equal(wish(&rig, &visit, "echo", 5000), 0);
	assert_false(visit.granted); // never from within the call
	link_rig_wait(&rig, has_heard, &visit);
	assert_string_equal(agent.origin, "1000:1000:77");
	assert_int_equal(counter_read(COUNTER_OPEN_SENT), sent); // no question was asked
	link_rig_wait(&rig, has_one_parked, &rig);
	stream_close(&visit.stream);
	stop(&rig);
}

static void without_a_parked_connection_the_agent_is_asked_for_one(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visits[3] = {{0}};
	uint64_t claimed = counter_read(COUNTER_OPEN_CLAIMED);
	start(&rig, 0);
	for (unsigned i = 0; i < COUNT_OF(visits); i++)
		assert_int_equal(wish(&rig, &visits[i], "echo", 5000), 0);
	for (unsigned i = 0; i < COUNT_OF(visits); i++)
		link_rig_wait(&rig, has_heard, &visits[i]);
	assert_int_equal(agent.opens, 3);
	assert_int_equal(counter_read(COUNTER_OPEN_CLAIMED), claimed + 3);
	for (unsigned i = 0; i < COUNT_OF(visits); i++)
		stream_close(&visits[i].stream);
	stop(&rig);
}

static void the_service_s_refusal_comes_with_its_reason(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	start(&rig, 1);
	assert_int_equal(wish(&rig, &visit, "no", 5000), 0);
	link_rig_wait(&rig, is_refused, &visit);
	assert_int_equal(visit.answer.status, HEADER_REFUSED_TARGET);
	assert_string_equal(visit.answer.reason, "sshd is down");
	stream_close(&visit.stream);
	stop(&rig);
}

static void an_agent_that_will_not_dial_says_why_at_once(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	start(&rig, 0);
	agent.refuses = true;
	assert_int_equal(wish(&rig, &visit, "telnet", 60000), 0);
	link_rig_wait(&rig, is_refused, &visit);
	assert_int_equal(visit.answer.status, HEADER_NO_SERVICE);
	assert_string_equal(visit.answer.reason, "not here");
	assert_false(visit.granted);
	stop(&rig);
}

static void an_agent_that_does_not_answer_is_given_up_at_the_deadline(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	uint64_t late = counter_read(COUNTER_OPEN_LATE);
	start(&rig, 0);
	agent.ignores = true;
	assert_int_equal(wish(&rig, &visit, "echo", 150), 0);
	link_rig_wait(&rig, is_refused, &visit);
	assert_int_equal(visit.answer.status, HEADER_TIMED_OUT);
	assert_int_equal(counter_read(COUNTER_OPEN_LATE), late + 1);
	stop(&rig);
}

static void an_agent_that_cannot_dial_says_so_at_once(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	start(&rig, 0);
	listener_close(&rig.listener); // nobody takes its data connection
	assert_int_equal(wish(&rig, &visit, "echo", 60000), 0);
	link_rig_wait(&rig, is_refused, &visit);
	assert_int_equal(visit.answer.status, HEADER_INTERNAL);
	assert_non_null(strstr(visit.answer.reason, "data connection failed"));
	stop(&rig);
}

static bool has_lost_a_link(void *owner)
{
	return ((struct link_rig *)owner)->downs > 0;
}

// The agent answers OPEN from within the step of its engine that has read it; its answer finds the connection broken.
static void a_refusal_that_cannot_be_sent_ends_the_link_in_order(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	start(&rig, 0);
	agent.breaks = agent.refuses = true;
	assert_int_equal(wish(&rig, &visit, "telnet", 60000), 0);
	link_rig_wait(&rig, has_lost_a_link, &rig);
	assert_int_equal(agent.opens, 1);
	link_rig_wait(&rig, is_refused, &visit);
	stop(&rig);
}

// OPEN and GOAWAY come together: the claim that is being dialled is given up within the engine's step.
static void a_claim_that_is_given_up_for_goaway_ends_a_broken_link_in_order(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	start(&rig, 0);
	agent.breaks = agent.is_sent_away = true;
	assert_int_equal(wish(&rig, &visit, "echo", 60000), 0);
	link_rig_wait(&rig, has_lost_a_link, &rig);
	assert_int_equal(agent.opens, 1);
	link_rig_wait(&rig, is_refused, &visit);
	stop(&rig);
}

// Saying that a claim is lost ends the link, and with it the pool's link: the slot of that claim goes once.
static void a_claim_that_fails_on_a_broken_link_ends_it_in_order(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	start(&rig, 0);
	listener_close(&rig.listener);
	agent.breaks = true;
	assert_int_equal(wish(&rig, &visit, "echo", 60000), 0);
	link_rig_wait(&rig, has_lost_a_link, &rig);
	link_rig_wait(&rig, is_refused, &visit);
	stop(&rig);
}

static struct stream *find_headerless(struct stream *stream)
{
	while (stream->newer)
		stream = stream->newer;
	while (stream && !(stream->entered && stream->phase == STREAM_HEADER))
		stream = stream->older;
	return stream;
}

static void a_data_connection_that_offers_nothing_has_an_end(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	struct hand hand;
	start(&rig, 1);
	assert_int_equal(wish(&rig, &visit, "echo", 5000), 0);
	link_rig_wait(&rig, has_heard, &visit);
	link_rig_wait(&rig, has_one_parked, &rig);
	hand_dial(&hand, &rig);
	link_rig_wait(&rig, hand_is_ready, &hand);
	link_rig_turn(&rig, 20);
	struct stream *stream = find_headerless(visit.stream);
	assert_non_null(stream);
	assert_non_null(stream->deadline);
	loop_timer_arm(stream->deadline, 1, 0);
	link_rig_wait(&rig, hand_is_over, &hand);
	assert_int_equal(parked(&rig), 1); // what is parked waits for the hub, on both sides
	hand_fini(&hand);
	stream_close(&visit.stream);
	stop(&rig);
}

static bool is_unknown(void *owner)
{
	return counter_read(COUNTER_CLAIM_UNKNOWN) > *(uint64_t *)owner;
}

static void claim(struct link_rig *rig, const uint8_t token[STREAM_TOKEN_BYTES])
{
	struct control_open open = {.deadline_ms = 5000};
	memcpy(open.token, token, sizeof open.token);
	assert_int_equal(pool_claim(rig->pool, rig->link, &open), 0);
}

static bool has_been_asked(void *owner)
{
	(void)owner;
	return agent.opens > 0;
}

static void a_wish_that_is_withdrawn_is_no_more_and_its_token_is_worth_nothing(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visits[2] = {{0}};
	start(&rig, 0);
	agent.ignores = true;
	uint64_t unknown = counter_read(COUNTER_CLAIM_UNKNOWN), withdrawn = counter_read(COUNTER_OPEN_WITHDRAWN);
	struct reverse_wish what = {
		.deadline_ms = 60000, .id = 7, .service = "echo", .ops = &reverse_ops, .owner = &visits[0]};
	assert_int_equal(reverse_open(rig.reverse_worker, rig.dest_link, &what), 0);
	assert_false(reverse_withdraw(rig.reverse, rig.dest_link, 7)); // on its way
	link_rig_wait(&rig, has_been_asked, NULL);
	assert_false(reverse_withdraw(rig.reverse, rig.dest_link, 8));
	assert_true(reverse_withdraw(rig.reverse, rig.dest_link, 7));
	assert_false(reverse_withdraw(rig.reverse, rig.dest_link, 7));
	assert_int_equal(counter_read(COUNTER_OPEN_WITHDRAWN), withdrawn + 1);
	claim(&rig, agent.token);
	link_rig_wait(&rig, is_unknown, &unknown);
	agent.ignores = false;
	assert_int_equal(wish(&rig, &visits[1], "echo", 5000), 0);
	link_rig_wait(&rig, has_heard, &visits[1]);
	assert_false(visits[0].granted || visits[0].refused);
	stream_close(&visits[1].stream);
	stop(&rig);
}

static void a_token_is_good_once_and_no_other_is_good(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	start(&rig, 0);
	uint64_t unknown = counter_read(COUNTER_CLAIM_UNKNOWN);
	assert_int_equal(wish(&rig, &visit, "echo", 5000), 0);
	link_rig_wait(&rig, has_heard, &visit);
	claim(&rig, agent.token);
	link_rig_wait(&rig, is_unknown, &unknown);
	unknown = counter_read(COUNTER_CLAIM_UNKNOWN);
	agent.token[15] ^= 1;
	claim(&rig, agent.token);
	link_rig_wait(&rig, is_unknown, &unknown);
	assert_int_equal(agent.headers, 1);
	stream_close(&visit.stream);
	stop(&rig);
}

static void a_link_that_ends_refuses_its_wishes_and_drops_what_is_parked(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	start(&rig, 0);
	agent.ignores = true;
	assert_int_equal(wish(&rig, &visit, "echo", 60000), 0);
	reverse_end_link(rig.reverse, rig.dest_link, CONTROL_REASON_PEER_POLICY, "kicked");
	link_rig_wait(&rig, is_refused, &visit);
	assert_int_equal(visit.answer.status, HEADER_DRAINING);
	stop(&rig);
}

static void a_stream_is_cut_with_its_link_unless_the_end_is_orderly(void **state)
{
	(void)state;
	struct link_rig rig;
	struct visit visit = {0};
	start(&rig, 1);
	assert_int_equal(wish(&rig, &visit, "echo", 5000), 0);
	link_rig_wait(&rig, has_heard, &visit);
	reverse_end_link(rig.reverse, rig.dest_link, CONTROL_REASON_SHUTDOWN, "another one took over");
	link_rig_turn(&rig, 20);
	assert_false(visit.broken);
	visit.heard_length = 0;
	assert_int_equal(stream_send(visit.stream, (const uint8_t *)"salve", 5), 0);
	link_rig_wait(&rig, has_heard, &visit);
	stream_close(&visit.stream);
	link_rig_wait(&rig, link_rig_is_up, &rig);
	link_rig_wait(&rig, has_one_parked, &rig);
	struct visit second = {0};
	assert_int_equal(wish(&rig, &second, "echo", 5000), 0);
	link_rig_wait(&rig, has_heard, &second);
	reverse_end_link(rig.reverse, rig.dest_link, CONTROL_REASON_REVOKED, "stolen");
	link_rig_wait(&rig, is_broken, &second);
	stream_close(&second.stream);
	stop(&rig);
}

#define MANY 200

static bool have_all_heard(void *owner)
{
	struct visit *visits = owner;
	for (unsigned i = 0; i < MANY; i++)
		if (!has_heard(&visits[i]))
			return false;
	return true;
}

static void more_than_may_be_asked_for_at_once_wait_for_their_turn(void **state)
{
	(void)state;
	struct link_rig rig;
	static struct visit visits[MANY];
	start(&rig, 1);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(wish(&rig, &visits[i], "echo", 30000), 0);
	link_rig_wait(&rig, have_all_heard, visits);
	for (unsigned i = 0; i < MANY; i++)
		stream_close(&visits[i].stream);
	stop(&rig);
}

static enum control_reason not_that_one(void *owner, const struct link_peer *peer, char text[LIMIT_REASON_BYTES + 1])
{
	(void)owner;
	assert_string_equal(peer->device, "011");
	snprintf(text, LIMIT_REASON_BYTES + 1, "no device of that name");
	return CONTROL_REASON_PEER_POLICY;
}

static bool has_failed(void *owner)
{
	struct initiator_state state;
	initiator_read(((struct link_rig *)owner)->initiator, &state);
	return state.errors > 0;
}

static void a_peer_that_is_refused_at_its_hello_hears_why(void **state)
{
	(void)state;
	struct link_rig rig;
	struct initiator_state seen;
	struct link_rig_settings settings = {.on_header = on_agent_header,
	                                     .is_reverse = true,
	                                     .on_open = on_agent_open,
	                                     .may_link = not_that_one,
	                                     .waits_for_nothing = true};
	link_rig_start(&rig, &settings);
	link_rig_wait(&rig, has_failed, &rig);
	initiator_read(rig.initiator, &seen);
	assert_non_null(strstr(seen.last_error, "no device of that name"));
	assert_int_equal(rig.ups, 0);
	assert_int_equal(rig.dest_ups, 0);
	link_rig_stop(&rig);
}

static void a_source_at_a_hub_is_told_so(void **state)
{
	(void)state;
	struct link_rig rig;
	struct initiator_state seen;
	struct link_rig_settings settings = {.on_header = on_agent_header,
	                                     .is_reverse = true,
	                                     .is_source = true,
	                                     .waits_for_nothing = true};
	link_rig_start(&rig, &settings);
	link_rig_wait(&rig, has_failed, &rig);
	initiator_read(rig.initiator, &seen);
	assert_non_null(strstr(seen.last_error, "an agent links with a hub"));
	link_rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_parked_connection_carries_a_stream_of_the_hub_and_is_replaced),
		cmocka_unit_test(without_a_parked_connection_the_agent_is_asked_for_one),
		cmocka_unit_test(the_service_s_refusal_comes_with_its_reason),
		cmocka_unit_test(an_agent_that_will_not_dial_says_why_at_once),
		cmocka_unit_test(an_agent_that_does_not_answer_is_given_up_at_the_deadline),
		cmocka_unit_test(an_agent_that_cannot_dial_says_so_at_once),
		cmocka_unit_test(a_refusal_that_cannot_be_sent_ends_the_link_in_order),
		cmocka_unit_test(a_claim_that_is_given_up_for_goaway_ends_a_broken_link_in_order),
		cmocka_unit_test(a_claim_that_fails_on_a_broken_link_ends_it_in_order),
		cmocka_unit_test(a_data_connection_that_offers_nothing_has_an_end),
		cmocka_unit_test(a_wish_that_is_withdrawn_is_no_more_and_its_token_is_worth_nothing),
		cmocka_unit_test(a_token_is_good_once_and_no_other_is_good),
		cmocka_unit_test(a_link_that_ends_refuses_its_wishes_and_drops_what_is_parked),
		cmocka_unit_test(a_stream_is_cut_with_its_link_unless_the_end_is_orderly),
		cmocka_unit_test(more_than_may_be_asked_for_at_once_wait_for_their_turn),
		cmocka_unit_test(a_peer_that_is_refused_at_its_hello_hears_why),
		cmocka_unit_test(a_source_at_a_hub_is_told_so),
	};
	return cmocka_run_group_tests(tests, link_rig_once, link_rig_end);
}
