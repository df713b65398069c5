// A device with a good certificate and no manners, to see what a hub bears. It does what it is told on its standard
// input, a line each:
//
//   robot CA CERT KEY HOST PORT NAME [PARKED]
//
//   opens echo|refuse|ignore    what becomes of an OPEN from now on (echo: a data connection claims it)
//   streams echo|mute|pour      what a stream of the hub's gets: its own words, no reader, or bytes without end
//   claim TOKEN COUNT           data connections that claim this token, 32 hex digits
//   forge COUNT                 data connections that claim tokens of our own making
//   fail COUNT                  OPEN_FAILED for tokens of our own making
//   park COUNT                  so many parked data connections are wanted from now on
//   idle COUNT                  data connections that finish their handshake, say nothing and stay
//   renew                       a second link, which takes over from the first
//
// Prints "up", "down", "open TOKEN SERVICE", "stream SERVICE ORIGIN", "lost TOKEN: REASON". Ends with its input.

#include "core/log.h"
#include "core/secret.h"
#include "link/hello.h"
#include "link/initiator.h"
#include "link/pool.h"
#include "node/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOKEN_TEXT_BYTES (2 * STREAM_TOKEN_BYTES + 1)

struct robot {
	struct loop *loop;
	struct initiator *initiator;
	struct pool *pool;
	struct pool_settings pool_settings;
	struct link *link;
	struct loop_io *input;
	char opens[16], streams[16];
	char line[256];
	size_t length;
};

// ---- tokens --------------------------------------------------------------------------------------------------------

static void format_token(const uint8_t token[STREAM_TOKEN_BYTES], char text[TOKEN_TEXT_BYTES])
{
	for (unsigned i = 0; i < STREAM_TOKEN_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", token[i]);
}

static void parse_token(const char *text, uint8_t token[STREAM_TOKEN_BYTES])
{
	for (unsigned i = 0; i < STREAM_TOKEN_BYTES; i++) {
		char digits[3] = {text[2 * i], text[2 * i + 1]};
		token[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
}

// ---- the link ------------------------------------------------------------------------------------------------------

static void on_up(void *owner, struct link *link)
{
	struct robot *robot = owner;
	link_unref(&robot->link);
	robot->link = link_ref(link);
	if (pool_set_link(robot->pool, link) < 0)
		abort();
	printf("up\n");
}

static void on_draining(void *owner, struct link *link)
{
	(void)owner;
	(void)link;
}

static void on_down(void *owner, struct link *link, bool cut)
{
	struct robot *robot = owner;
	if (cut)
		stream_cut_all(link);
	if (link != robot->link)
		return;
	(void)!pool_set_link(robot->pool, NULL);
	link_unref(&robot->link);
	printf("down\n");
}

static void on_given_up(void *owner, const char *reason)
{
	(void)owner;
	(void)reason;
}

static void on_open(void *owner, struct link *link, const struct control_open *open)
{
	struct robot *robot = owner;
	struct header_answer no = {.status = HEADER_NO_SERVICE, .reason = "the robot says no"};
	char token[TOKEN_TEXT_BYTES];
	format_token(open->token, token);
	printf("open %s %s\n", token, open->service);
	if (strcmp(robot->opens, "echo") == 0 && pool_claim(robot->pool, link, open) != 0)
		printf("lost %s: at once\n", token);
	if (strcmp(robot->opens, "refuse") == 0)
		initiator_open_failed(robot->initiator, link, open->token, &no);
}

static void on_claim_lost(void *owner, struct link *link, const uint8_t token[STREAM_TOKEN_BYTES],
                          const struct header_answer *answer)
{
	char text[TOKEN_TEXT_BYTES];
	(void)owner;
	(void)link;
	format_token(token, text);
	printf("lost %s: %s\n", text, answer->reason);
}

static const struct initiator_ops ops = {
	.on_up = on_up, .on_draining = on_draining, .on_down = on_down, .on_open = on_open, .on_given_up = on_given_up};

// ---- streams -------------------------------------------------------------------------------------------------------

struct visit {
	struct stream *stream;
	bool pours;
};

static int hear_and_say(struct visit *visit)
{
	static uint8_t bytes[16384];
	size_t got = sizeof bytes;
	int r = visit->pours ? 0 : STREAM_BLOCKED;
	while (stream_has_room(visit->stream)) {
		if (!visit->pours)
			r = stream_recv(visit->stream, bytes, sizeof bytes, &got);
		if (r != 0 || stream_send(visit->stream, bytes, got) != 0)
			break;
	}
	return r;
}

static void visit_on(void *owner, int events)
{
	struct visit *visit = owner;
	(void)events;
	int r = hear_and_say(visit);
	if (r != STREAM_END && r != STREAM_FAILED && !stream_is_broken(visit->stream))
		return;
	if (r == STREAM_END)
		(void)!stream_finish(visit->stream);
	stream_close(&visit->stream);
	free(visit);
}

static const struct stream_ops visit_ops = {.on_ready = visit_on};

static void on_header(void *owner, struct stream *stream, const struct header *header)
{
	struct robot *robot = owner;
	struct visit *visit = calloc(1, sizeof *visit);
	if (!visit)
		abort();
	printf("stream %s %s\n", header->service, header->origin);
	*visit = (struct visit){.stream = stream, .pours = strcmp(robot->streams, "pour") == 0};
	stream_own(stream, &visit_ops, visit);
	if (stream_confirm(stream) != 0)
		return;
	stream_want_read(stream, strcmp(robot->streams, "echo") == 0);
	if (visit->pours)
		(void)hear_and_say(visit);
}

// ---- what it is told -----------------------------------------------------------------------------------------------

static void claim(struct robot *robot, const char *token)
{
	struct control_open open = {.deadline_ms = 5000};
	if (token)
		parse_token(token, open.token);
	else
		random_bytes(open.token, sizeof open.token);
	if (robot->link && pool_claim(robot->pool, robot->link, &open) != 0)
		printf("lost: at once\n");
}

static void fail(struct robot *robot)
{
	uint8_t token[STREAM_TOKEN_BYTES];
	struct header_answer no = {.status = HEADER_INTERNAL, .reason = "because I can"};
	random_bytes(token, sizeof token);
	if (robot->link)
		initiator_open_failed(robot->initiator, robot->link, token, &no);
}

static void on_idle(void *owner, struct stream *stream, const char *problem)
{
	(void)owner;
	printf(stream ? "idle\n" : "idle no: %s\n", problem);
}

static void idle(struct robot *robot)
{
	struct tls_profile *profile;
	struct stream *stream;
	if (!robot->link || tls_profile_data(link_peer(robot->link)->tls.group, &profile) < 0)
		return;
	struct stream_dial how = {.loop = robot->loop, .profile = profile, .timeout_ms = 30000, .congestion = "auto"};
	(void)!stream_dial_parked(&how, robot->link, on_idle, robot, &stream);
	tls_profile_free(&profile);
}

static void obey(struct robot *robot, char *line)
{
	char *rest = line, *verb = strtok_r(rest, " ", &rest), *word = strtok_r(NULL, " ", &rest);
	unsigned long count = word ? strtoul(word, NULL, 10) : 0;
	if (strcmp(verb, "opens") == 0)
		snprintf(robot->opens, sizeof robot->opens, "%s", word);
	else if (strcmp(verb, "streams") == 0)
		snprintf(robot->streams, sizeof robot->streams, "%s", word);
	else if (strcmp(verb, "renew") == 0)
		initiator_renew(robot->initiator, "it was told to");
	else if (strcmp(verb, "claim") == 0)
		for (unsigned long i = strtoul(rest, NULL, 10); i > 0; i--)
			claim(robot, word);
	else if (strcmp(verb, "forge") == 0)
		while (count-- > 0)
			claim(robot, NULL);
	else if (strcmp(verb, "fail") == 0)
		while (count-- > 0)
			fail(robot);
	else if (strcmp(verb, "idle") == 0)
		while (count-- > 0)
			idle(robot);
	else if (strcmp(verb, "park") == 0) {
		robot->pool_settings.size = (unsigned)count;
		pool_set(robot->pool, &robot->pool_settings);
	} else
		abort();
}

static void on_input(void *owner, int events)
{
	struct robot *robot = owner;
	(void)events;
	ssize_t n = read(STDIN_FILENO, robot->line + robot->length, sizeof robot->line - 1 - robot->length);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		loop_io_close(&robot->input);
		loop_stop(robot->loop);
		return;
	}
	robot->length += (size_t)n;
	for (char *end; (end = memchr(robot->line, '\n', robot->length)) != NULL;) {
		*end = '\0';
		size_t used = (size_t)(end - robot->line) + 1;
		obey(robot, robot->line);
		robot->length -= used;
		memmove(robot->line, end + 1, robot->length);
	}
}

static void check(int r, const char *what)
{
	if (r == 0)
		return;
	fprintf(stderr, "robot: %s: %s\n", what, r < 0 ? outcome_text(r) : "refused");
	exit(1);
}

static struct initiator_settings settle(struct robot *robot, char **argv)
{
	struct initiator_settings settings = {.loop = robot->loop,
	                                      .pq = TLS_PQ_REQUIRE,
	                                      .host = argv[4],
	                                      .port = (uint16_t)strtoul(argv[5], NULL, 10),
	                                      .peer_name = "localhost",
	                                      .handshake_ms = 30000,
	                                      .reconnect = true,
	                                      .delay_first_ms = 50,
	                                      .delay_max_ms = 400,
	                                      .control = {.role = CONTROL_INITIATOR,
	                                                  .hello = {.version = 1,
	                                                            .features = HELLO_REVERSE,
	                                                            .legs = LEG_X25519 | LEG_MLKEM768 | LEG_MCELIECE,
	                                                            .carriers = 1,
	                                                            .heartbeat_ms = 15000,
	                                                            .rotation_s = 3600,
	                                                            .node_name = "robot"},
	                                                  .rotation_ms = 3600 * 1000,
	                                                  .heartbeat_ms = 15000,
	                                                  .heartbeat_timeout_ms = 15000,
	                                                  .missed_pongs_max = 3},
	                                      .link = {.overlap_ms = 60000, .connections_max = 1000}};
	snprintf(settings.control.hello.device, sizeof settings.control.hello.device, "%s", argv[6]);
	return settings;
}

int main(int argc, char **argv)
{
	static struct robot robot = {.opens = "echo", .streams = "echo"};
	setvbuf(stdout, NULL, _IOLBF, 0);
	log_set(LOG_ERROR, LOG_FORMAT_PLAIN, false);
	check(process_start(), "process");
	if (argc < 7)
		check(1, "usage: robot CA CERT KEY HOST PORT NAME [PARKED]");
	struct identity_files paths = {.ca_path = argv[1],
	                               .cert_path = argv[2],
	                               .key_path = argv[3],
	                               .usage = IDENTITY_CLIENT};
	char problem[IDENTITY_PROBLEM_BYTES];
	check(loop_new(&robot.loop), "loop");
	struct initiator_settings settings = settle(&robot, argv);
	int r = identity_load(&paths, &settings.identity, problem);
	check(r, r > 0 ? problem : "certificates");
	check(keycache_new(2, &settings.keycache), "keycache");
	robot.pool_settings = (struct pool_settings){.loop = robot.loop,
	                                             .size = argc > 7 ? (unsigned)strtoul(argv[7], NULL, 10) : 1,
	                                             .handshake_ms = 30000,
	                                             .on_header = on_header,
	                                             .on_claim_lost = on_claim_lost,
	                                             .owner = &robot};
	check(pool_new(&robot.pool_settings, &robot.pool), "pool");
	check(initiator_new(&settings, &ops, &robot, &robot.initiator), "initiator");
	check(loop_io_open(robot.loop, STDIN_FILENO, on_input, &robot, &robot.input), "standard input");
	loop_io_want(robot.input, LOOP_READ);
	check(loop_run(robot.loop), "loop");
	return 0;
}
