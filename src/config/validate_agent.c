#include "config/validate_agent.h"

#include "config/dests.h"
#include "config/target.h"
#include "config/text.h"
#include "limits.h"

#include <string.h>

#define AGENT_METRICS_PORT 9091

static struct tree_place place_of(const struct load *load, const char *path)
{
	return load_is_given(load, path) ? load_setting(load, path)->place : (struct tree_place){0};
}

static struct tree_place place_of_item(const struct load *load, const char *path, size_t index)
{
	const struct load_setting *setting = load_setting(load, path);
	return setting->item_places ? setting->item_places[index] : setting->place;
}

bool validate_is_device_name(const char *name)
{
	static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t length = strlen(name);
	return length > 0 && length <= LIMIT_DEVICE_NAME_BYTES && strchr(first, name[0]) &&
	       strspn(name + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == length - 1;
}

void validate_agent_complete(struct load *load)
{
	// Beside a hub on the same machine, where people try both.
	if (!load_is_given(load, "metrics.metrics_port"))
		load->config->metrics.metrics_port = AGENT_METRICS_PORT;
	struct config_of_agent *agent = &load->config->agent;
	if (!agent->local_host && agent->local_port > 0)
		agent->local_host = text_copy("127.0.0.1");
}

static void check_hubs(struct load *load)
{
	const struct config_of_agent *agent = &load->config->agent;
	char host[DESTS_HOST_BYTES];
	uint16_t port;
	if (!agent->hub_host && agent->hub_count == 0)
		problem_add(&load->problems, (struct tree_place){.name = load->has_file ? load->file : NULL}, "agent.hub_host",
		            "required, but not given: \"hub_host\" in [agent], flag --rhost, or --hub HOST:PORT");
	if (agent->hub_host && agent->hub_port == 0)
		problem_add(&load->problems, place_of(load, "agent.hub_host"), "agent.hub_port",
		            "required with hub_host: \"hub_port\" in [agent] or flag --rport");
	if (!agent->hub_host && agent->hub_port > 0)
		problem_add(&load->problems, place_of(load, "agent.hub_port"), "agent.hub_port",
		            "is of use with hub_host only; hubs have their ports in the list");
	for (size_t i = 0; i < agent->hub_count; i++) {
		const char *fault = dests_parse(agent->hubs[i], host, &port);
		if (fault)
			problem_add(&load->problems, place_of_item(load, "agent.hubs", i), "agent.hubs", "\"%s\" %s",
			            agent->hubs[i], fault);
	}
	if (agent->hub_count + (agent->hub_host ? 1 : 0) > LIMIT_DESTS)
		problem_add(&load->problems, place_of(load, "agent.hubs"), "agent.hubs", "at most %d hubs can be listed",
		            LIMIT_DESTS);
}

static void check_local(struct load *load)
{
	const struct config_of_agent *agent = &load->config->agent;
	bool has_path = agent->local_host && strncmp(agent->local_host, "unix:", 5) == 0;
	if (has_path && agent->local_port > 0)
		problem_add(&load->problems, place_of(load, "agent.local_port"), "agent.local_port",
		            "a Unix socket has no port");
	if (agent->local_host && !has_path && agent->local_port == 0)
		problem_add(&load->problems, place_of(load, "agent.local_host"), "agent.local_port",
		            "required with local_host: \"local_port\" in [agent] or flag --lport");
	if (!agent->local_host && agent->service_count == 0)
		problem_add(&load->problems, (struct tree_place){.name = load->has_file ? load->file : NULL}, "agent.services",
		            "nothing could be reached here: [[agent.services]], flag --service NAME=TARGET, or --lhost and "
		            "--lport");
}

static void check_services(struct load *load)
{
	const struct config_of_agent *agent = &load->config->agent;
	char host[TARGET_HOST_BYTES];
	uint16_t port;
	for (size_t i = 0; i < agent->service_count; i++) {
		const struct config_agent_service *service = &agent->services[i];
		struct tree_place place = place_of_item(load, "agent.services", i);
		const char *fault = target_split(service->target, host, &port);
		if (fault)
			problem_add(&load->problems, place, "agent.services", "service \"%s\": target \"%s\" %s", service->name,
			            service->target, fault);
		if (!validate_is_device_name(service->name))
			problem_add(&load->problems, place, "agent.services",
			            "\"%s\": a name is letters, digits, '.', '_' and '-', the first a letter or a digit",
			            service->name);
		bool is_double = agent->local_host && strcmp(service->name, "default") == 0;
		for (size_t k = 0; k < i && !is_double; k++)
			is_double = strcmp(service->name, agent->services[k].name) == 0;
		if (is_double)
			problem_add(&load->problems, place, "agent.services", "the name \"%s\" is given to two services",
			            service->name);
	}
}

void validate_agent(struct load *load)
{
	const struct config_of_agent *agent = &load->config->agent;
	check_hubs(load);
	check_local(load);
	check_services(load);
	if (agent->name && !validate_is_device_name(agent->name))
		problem_add(&load->problems, place_of(load, "agent.name"), "agent.name",
		            "\"%s\": a device's name is letters, digits, '.', '_' and '-', the first a letter or a digit",
		            agent->name);
	if (agent->initial_reconnect_delay_ms > agent->max_reconnect_delay_ms)
		problem_add(&load->problems, place_of(load, "agent.initial_reconnect_delay_ms"),
		            "agent.initial_reconnect_delay_ms", "is longer than agent.max_reconnect_delay_ms");
}
