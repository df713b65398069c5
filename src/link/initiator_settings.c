// The initiator's own copy of its settings: whoever gave them may change or free them at once.

#include "link/initiator_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fini(struct initiator_settings *settings)
{
	for (size_t i = 0; i < settings->allowed_count; i++)
		free((char *)settings->allowed_peers[i]);
	free((void *)settings->allowed_peers);
	free((void *)settings->outbound);
	free((char *)settings->peer_name);
	if (settings->identity)
		identity_unref(&settings->identity);
	*settings = (struct initiator_settings){0};
}

static int copy_patterns(const struct initiator_settings *from, struct initiator_settings *to)
{
	char **patterns = calloc(from->allowed_count + 1, sizeof *patterns);
	if (!patterns)
		return -ENOMEM;
	to->allowed_peers = (const char *const *)patterns;
	for (to->allowed_count = 0; to->allowed_count < from->allowed_count; to->allowed_count++) {
		patterns[to->allowed_count] = strdup(from->allowed_peers[to->allowed_count]);
		if (!patterns[to->allowed_count])
			return -ENOMEM;
	}
	return 0;
}

static int copy(const struct initiator_settings *from, struct initiator_settings *to)
{
	*to = *from;
	to->identity = identity_ref(from->identity);
	to->host = to->congestion = NULL; // kept elsewhere
	to->dests = NULL;
	to->peer_name = from->peer_name ? strdup(from->peer_name) : NULL;
	to->allowed_peers = NULL;
	to->allowed_count = 0;
	struct cidr *outbound = calloc(from->outbound_count + 1, sizeof *outbound);
	to->outbound = outbound;
	for (size_t i = 0; outbound && i < from->outbound_count; i++)
		outbound[i] = from->outbound[i];
	int r = copy_patterns(from, to);
	return !outbound || (from->peer_name && !to->peer_name) ? -ENOMEM : r;
}

static int take_dests(struct initiator *initiator, const struct initiator_settings *settings)
{
	struct destination list[LIMIT_DESTS];
	size_t count = 0;
	if (settings->host) {
		snprintf(list[0].host, sizeof list[0].host, "%s", settings->host);
		list[0].port = settings->port;
		count = 1;
	}
	if (count + settings->dest_count == 0 || count + settings->dest_count > LIMIT_DESTS)
		return -EINVAL;
	for (size_t i = 0; i < settings->dest_count; i++)
		list[count++] = settings->dests[i];
	destinations_set(&initiator->dests, list, count, settings->order);
	return 0;
}

int initiator_settings_take(struct initiator *initiator, const struct initiator_settings *settings)
{
	struct initiator_settings fresh;
	struct tls_profile *profile = NULL;
	uint8_t digest[DIGEST_BYTES];
	int r = copy(settings, &fresh);
	if (r == 0)
		r = identity_digest(identity_certificate(settings->identity), digest);
	if (r == 0)
		r = tls_profile_control(settings->identity, settings->pq, &profile);
	if (r == 0)
		r = take_dests(initiator, settings);
	if (r < 0) {
		tls_profile_free(&profile);
		fini(&fresh);
		return r;
	}
	if (initiator->settings.identity) {
		fresh.loop = initiator->settings.loop;
		fresh.keycache = initiator->settings.keycache;
	}
	initiator_settings_drop(initiator);
	initiator->settings = fresh;
	initiator->profile = profile;
	memcpy(initiator->own_digest, digest, sizeof digest);
	snprintf(initiator->congestion, sizeof initiator->congestion, "%s",
	         settings->congestion ? settings->congestion : "auto");
	return 0;
}

void initiator_settings_drop(struct initiator *initiator)
{
	tls_profile_free(&initiator->profile);
	fini(&initiator->settings);
}
