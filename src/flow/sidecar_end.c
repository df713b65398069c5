// How a connection ends, and what is said of it.

#include "core/log.h"
#include "flow/sidecar_internal.h"
#include "net/socket.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How loud the end of a connection is: what was asked for is said at info, and what strangers can cause at will has a
// tighter brake.
enum loudness { QUIET, LINE, REFUSAL };

static const struct {
	const char *why;
	enum counter counter;
	enum loudness loudness;
} ends[] = {
	[SIDECAR_FINISHED] = {"finished", COUNTER_SIDECAR_FINISHED, LINE},
	[SIDECAR_CLIENT_BROKE] = {"the client broke it off", COUNTER_SIDECAR_CLIENT_BROKE, LINE},
	[SIDECAR_TARGET_BROKE] = {"the target broke it off", COUNTER_SIDECAR_TARGET_BROKE, LINE},
	[SIDECAR_IDLE] = {"nothing moved for too long", COUNTER_SIDECAR_IDLE, LINE},
	[SIDECAR_HALF_CLOSED] = {"nothing moved for too long after one side had ended", COUNTER_SIDECAR_HALF_CLOSED, LINE},
	[SIDECAR_TOO_OLD] = {"it has lived as long as it may", COUNTER_SIDECAR_TOO_OLD, LINE},
	[SIDECAR_NOT_ALLOWED] = {"the peer is not allowed any more", COUNTER_SIDECAR_NOT_ALLOWED, REFUSAL},
	[SIDECAR_STOPPED] = {"qanat stops", COUNTER_SIDECAR_STOPPED, LINE},
	[SIDECAR_SILENT] = {"gone before it said anything", COUNTER_SIDECAR_SILENT, QUIET},
	[SIDECAR_TIMED_OUT] = {"the handshake took too long", COUNTER_SIDECAR_TIMED_OUT, REFUSAL},
	[SIDECAR_BAD_HEADER] = {"no good PROXY header", COUNTER_SIDECAR_BAD_HEADER, REFUSAL},
	[SIDECAR_BAD_HANDSHAKE] = {"the handshake failed", COUNTER_SIDECAR_BAD_HANDSHAKE, REFUSAL},
	[SIDECAR_LIMIT] = {"there are as many connections as may be", COUNTER_SIDECAR_LIMIT, REFUSAL},
	[SIDECAR_CLIENT_LIMIT] = {"this client has as many connections as it may", COUNTER_SIDECAR_CLIENT_LIMIT, REFUSAL},
	[SIDECAR_RATE] = {"this client begins too many handshakes", COUNTER_SIDECAR_RATE, REFUSAL},
	[SIDECAR_CROWDED_OUT] = {"too many connections have yet to prove something", COUNTER_SIDECAR_CROWDED_OUT, REFUSAL},
	[SIDECAR_NO_TARGET] = {"no target", COUNTER_SIDECAR_NO_TARGET, REFUSAL},
	[SIDECAR_UNREACHABLE] = {"the target was not reached", COUNTER_SIDECAR_UNREACHABLE, REFUSAL},
	[SIDECAR_NO_DESCRIPTOR] = {"no file descriptor is left: raise the limit (ulimit -n, LimitNOFILE=)",
                               COUNTER_SIDECAR_NO_DESCRIPTOR, REFUSAL},
	[SIDECAR_NO_MEMORY] = {"out of memory", COUNTER_SIDECAR_NO_MEMORY, REFUSAL},
};
_Static_assert(COUNT_OF(ends) == SIDECAR_END_COUNT, "an end has no text");

// ---- the line ------------------------------------------------------------------------------------------------------

// What the peer of the TLS connection is and what was agreed on with it: "" without one.
static void describe_tls(const struct sidecar *sidecar, char *text, size_t size)
{
	struct tls_text tls;
	struct identity_text peer = {0};
	if (!sidecar->is_proved) {
		snprintf(text, size, "%s", "");
		return;
	}
	tls_conn_describe(sidecar->tls, &tls);
	X509 *certificate = tls_conn_peer_certificate(sidecar->tls);
	if (certificate)
		identity_describe(certificate, &peer);
	snprintf(text, size, ", %s, %s, %s, %s", certificate ? peer.subject : "no certificate", tls.version,
	         *tls.group ? tls.group : "no group", tls.cipher);
}

static void say(const struct sidecar *sidecar, enum sidecar_end end, const char *detail)
{
	char client[ADDRESS_TEXT_BYTES], through[ADDRESS_TEXT_BYTES], tls[512];
	const char *name = sidecar->tls && !sidecar->all->settings.is_client ? tls_sidecar_sni(sidecar->tls) : "";
	uint64_t now = loop_now_ms(sidecar->all->settings.loop);
	address_format(sidecar_client(sidecar), client);
	address_format(&sidecar->peer, through);
	describe_tls(sidecar, tls, sizeof tls);
	log_write(ends[end].loudness == REFUSAL ? LOG_WARN
	          : ends[end].loudness == LINE  ? LOG_INFO
	                                        : LOG_DEBUG,
	          "sidecar",
	          "connection %llu from %s%s%s%s%s%s%s%s: %llu bytes to it, %llu from it, %llu.%03llu s: %s%s%s%s",
	          (unsigned long long)sidecar->id, client, sidecar->told ? " through " : "", sidecar->told ? through : "",
	          *name ? " for " : "", name, tls, *sidecar_target_name(sidecar) ? ", target " : "",
	          sidecar_target_name(sidecar), (unsigned long long)sidecar->sent, (unsigned long long)sidecar->received,
	          (unsigned long long)((now - sidecar->begun_ms) / 1000),
	          (unsigned long long)((now - sidecar->begun_ms) % 1000), ends[end].why, detail && *detail ? " (" : "",
	          detail ? detail : "", detail && *detail ? ")" : "");
}

static void report(struct sidecar *sidecar, enum sidecar_end end, const char *detail)
{
	struct sidecars *all = sidecar->all;
	struct brake *brake = ends[end].loudness == REFUSAL ? &all->refusals : &all->lines;
	counter_add(ends[end].counter, 1);
	if (ends[end].loudness == QUIET ? log_is_on(LOG_DEBUG) : brake_passes(brake, loop_now_ms(all->settings.loop)))
		say(sidecar, end, detail);
}

// ---- letting go ----------------------------------------------------------------------------------------------------

static void unlist(struct sidecar *sidecar)
{
	struct sidecar_chain *chain = sidecar->chain;
	if (!chain)
		return;
	if (sidecar->all->judged.next == sidecar)
		sidecar->all->judged.next = sidecar->newer;
	*(sidecar->newer ? &sidecar->newer->older : &chain->newest) = sidecar->older;
	*(sidecar->older ? &sidecar->older->newer : &chain->oldest) = sidecar->newer;
	chain->count--;
	sidecar->newer = sidecar->older = NULL;
	sidecar->chain = NULL;
}

void sidecar_enlist(struct sidecar *sidecar, struct sidecar_chain *chain)
{
	unlist(sidecar);
	if (chain != &sidecar->all->strangers && sidecar->begun) {
		sidecar_share_end(sidecar->all->settings.shares);
		sidecar->begun = false;
	}
	sidecar->chain = chain;
	sidecar->older = chain->newest;
	*(chain->newest ? &chain->newest->newer : &chain->oldest) = sidecar;
	chain->newest = sidecar;
	chain->count++;
}

static void give_places_back(struct sidecar *sidecar)
{
	struct sidecar_shares *shares = sidecar->all->settings.shares;
	if (sidecar->begun)
		sidecar_share_end(shares);
	if (sidecar->charged)
		sidecar_share_discharge(shares, &sidecar->key);
	if (sidecar->entered)
		sidecar_share_leave(shares);
	if (sidecar->joined_counted) {
		tally_take_off(sidecar->all->total, TALLY_OPEN, 1);
		if (sidecar->tally)
			tally_take_off(sidecar->tally, TALLY_OPEN, 1);
	}
	sidecar->begun = sidecar->charged = sidecar->entered = sidecar->joined_counted = false;
}

static void let_go(struct sidecar *sidecar)
{
	struct sidecars *all = sidecar->all;
	sidecar->closed = true;
	unlist(sidecar);
	give_places_back(sidecar);
	sidecar_forget_target(sidecar);
	atomic_fetch_sub_explicit(&all->open, 1, memory_order_relaxed);
	loop_io_close(&sidecar->tls_io);
	loop_io_close(&sidecar->plain_io);
	tls_conn_free(&sidecar->tls);
	joint_fini(&sidecar->joint);
	socket_reset(&sidecar->fd);
	free(sidecar->told);
	free(sidecar->partial);
	sidecar->told = NULL;
	sidecar->partial = NULL;
	loop_defer(all->settings.loop, &sidecar->release);
}

void sidecar_close(struct sidecar *sidecar, enum sidecar_end end, const char *detail)
{
	if (sidecar->closed)
		return;
	report(sidecar, end, detail);
	let_go(sidecar);
}

// Syscalls: fcntl
void sidecar_part(struct sidecar *sidecar, enum sidecar_end end, const char *detail, struct sidecar_words words)
{
	bool is_server = !sidecar->all->settings.is_client;
	int fd = -1;
	if (sidecar->closed)
		return;
	// A socket that is closed with unread bytes in it is reset, and a reset may overtake the words.
	if (is_server && sidecar->tls)
		fd = fcntl(tls_conn_fd(sidecar->tls), F_DUPFD_CLOEXEC, 0);
	report(sidecar, end, detail);
	if (is_server && !sidecar->tls) {
		fd = sidecar->fd;
		sidecar->fd = -1;
	}
	let_go(sidecar);
	if (fd >= 0)
		farewell_say(sidecar->all->farewells, &fd, words.bytes, words.length);
}
