#include "config/validate_hub.h"

#include "fleet/naming.h"
#include "limits.h"
#include "net/address.h"

#include <string.h>

static struct tree_place place_of(const struct load *load, const char *path)
{
	return load_is_given(load, path) ? load_setting(load, path)->place : (struct tree_place){0};
}

static void check_mode(struct load *load)
{
	const char *mode = load->config->hub.socket_mode;
	if (mode && strspn(mode, "01234567") == strlen(mode) && (strlen(mode) == 3 || mode[0] == '0'))
		return;
	problem_add(&load->problems, place_of(load, "hub.socket_mode"), "hub.socket_mode",
	            "must be three octal digits, such as 0660");
}

static void check_services(struct load *load)
{
	const struct config_of_hub *hub = &load->config->hub;
	struct tree_place place = place_of(load, "hub.services");
	if (hub->service_count > LIMIT_DEVICE_SERVICES)
		problem_add(&load->problems, place, "hub.services", "at most %d services can have a socket of their own",
		            LIMIT_DEVICE_SERVICES);
	for (size_t i = 0; i < hub->service_count; i++) {
		// It becomes a part of a file name.
		if (!naming_is_good(hub->services[i]))
			problem_add(&load->problems, place, "hub.services",
			            "\"%s\": a name has letters, digits, '.', '_' and '-', and begins with a letter or digit",
			            hub->services[i]);
		for (size_t j = 0; j < i; j++)
			if (strcmp(hub->services[i], hub->services[j]) == 0)
				problem_add(&load->problems, place, "hub.services", "\"%s\" is listed twice", hub->services[i]);
	}
}

static void check_identity(struct load *load)
{
	const struct config_of_hub *hub = &load->config->hub;
	for (size_t i = 0; i < hub->name_rule_count; i++) {
		const char *problem = naming_rule_problem(hub->name_rules[i]);
		if (problem)
			problem_add(&load->problems, place_of(load, "hub.name_rules"), "hub.name_rules", "\"%s\": %s",
			            hub->name_rules[i], problem);
	}
	if (hub->identity == CONFIG_HUB_CLAIMED && !hub->claims_path)
		problem_add(&load->problems, place_of(load, "hub.identity"), "hub.claims_path",
		            "required with identity = \"claimed\": the names must stay with their keys over a restart");
}

static void check_access(struct load *load)
{
	const struct config_of_hub *hub = &load->config->hub;
	const struct load_setting *setting = load_setting(load, "hub.access");
	for (size_t i = 0; i < hub->access_count; i++)
		if (hub->access[i].user_count + hub->access[i].group_count == 0)
			problem_add(&load->problems, setting->item_places ? setting->item_places[i] : setting->place, "hub.access",
			            "a rule needs users or groups that it lets in");
}

// Fail closed: nobody is reachable from a network because a line was forgotten.
static void check_port(struct load *load, size_t index, struct tree_place place)
{
	const struct config_of_hub *hub = &load->config->hub;
	const struct config_hub_tcp *port = &hub->tcp[index];
	struct address address;
	if (!port->device || !port->listen)
		return; // said already
	if (!naming_is_good(port->device))
		problem_add(&load->problems, place, "hub.tcp",
		            "device \"%s\": a name has letters, digits, '.', '_' and '-', and begins with a letter or digit",
		            port->device);
	if (address_parse(port->listen, &address) != 0 || address_is_unix(&address))
		problem_add(&load->problems, place, "hub.tcp", "listen \"%s\": must be IP:PORT or [IP6]:PORT", port->listen);
	else if (!address_is_loopback(&address) && port->source_count == 0)
		problem_add(&load->problems, place, "hub.tcp",
		            "listen \"%s\" is not a loopback address: allowed_source_ips must say who may connect to device "
		            "%s there",
		            port->listen, port->device);
	for (size_t i = 0; i < index; i++)
		if (hub->tcp[i].listen && strcmp(hub->tcp[i].listen, port->listen) == 0)
			problem_add(&load->problems, place, "hub.tcp", "listen \"%s\" is there twice", port->listen);
}

static void check_tcp(struct load *load)
{
	const struct load_setting *setting = load_setting(load, "hub.tcp");
	for (size_t i = 0; i < load->config->hub.tcp_count; i++)
		check_port(load, i, setting->item_places ? setting->item_places[i] : setting->place);
}

void validate_hub(struct load *load)
{
	check_mode(load);
	check_services(load);
	check_identity(load);
	check_access(load);
	check_tcp(load);
}
