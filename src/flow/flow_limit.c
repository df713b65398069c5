// How many flows a client may have, and how many lines its refusals may take.

#include "flow/flow_internal.h"

bool flow_may_log(struct flows *flows)
{
	return brake_passes(&flows->refusals, loop_now_ms(flows->settings.loop));
}

static bool charge(struct flows *flows, const struct quota_key *key, bool *charged)
{
	const struct flows_settings *settings = &flows->settings;
	if (*charged || settings->client_max == 0 || !settings->clients)
		return true;
	*charged = quota_enter(settings->clients, key, settings->client_max) == 0;
	return *charged;
}

bool flow_charge(struct flow *flow, const struct quota_key *key)
{
	flow->charge = *key;
	return charge(flow->flows, key, &flow->charged);
}

bool flows_charge(struct flows *flows, const struct address *client, bool *charged)
{
	struct quota_key key;
	quota_key_of_address(&client->any, &key);
	return charge(flows, &key, charged);
}

void flows_discharge(struct flows *flows, const struct address *client)
{
	struct quota_key key;
	quota_key_of_address(&client->any, &key);
	quota_leave(flows->settings.clients, &key);
}
