#include "config/dests.h"
#include "config/value_text.h"
#include "limits.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *dests_parse(const char *text, char host[DESTS_HOST_BYTES], uint16_t *port)
{
	const char *colon = strrchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;
	if (length == 0 || length >= DESTS_HOST_BYTES)
		return "must be HOST:PORT or [IP6]:PORT";
	char *end;
	unsigned long number = strtoul(colon + 1, &end, 10);
	if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || number < 1 || number > 65535)
		return "needs a port from 1 to 65535 behind the last ':'";
	bool is_bracketed = text[0] == '[' && length > 2 && text[length - 1] == ']';
	if (is_bracketed)
		length -= 2;
	memcpy(host, text + (is_bracketed ? 1 : 0), length);
	host[length] = '\0';
	*port = (uint16_t)number;
	if (!is_bracketed && strchr(host, ':'))
		return "needs brackets around its IPv6 address: [::1]:8443";
	return value_text_fault(schema_find("source.dest_host", CONFIG_SOURCE), host);
}

size_t dests_count(const struct config *config)
{
	return config->source.dest_count + (config->source.dest_host ? 1 : 0);
}

void dests_get(const struct config *config, size_t index, char host[DESTS_HOST_BYTES], uint16_t *port)
{
	assert(index < dests_count(config));
	if (config->source.dest_host && index == 0) {
		size_t length = strnlen(config->source.dest_host, DESTS_HOST_BYTES - 1);
		memcpy(host, config->source.dest_host, length);
		host[length] = '\0';
		*port = config->source.dest_tunnel_port;
		return;
	}
	const char *fault = dests_parse(config->source.dests[index - (config->source.dest_host ? 1 : 0)], host, port);
	assert(!fault);
	(void)fault;
}

static bool is_double(const struct config *config, size_t index)
{
	char host[DESTS_HOST_BYTES], other[DESTS_HOST_BYTES];
	uint16_t port, other_port;
	dests_get(config, index, host, &port);
	for (size_t i = 0; i < index; i++) {
		dests_get(config, i, other, &other_port);
		if (port == other_port && strcasecmp(host, other) == 0)
			return true;
	}
	return false;
}

void dests_check(struct load *load)
{
	const struct config *config = load->config;
	const struct load_setting *setting = load_setting(load, "source.dests");
	char host[DESTS_HOST_BYTES];
	uint16_t port;
	size_t before = load->problems.count;
	for (size_t i = 0; i < config->source.dest_count; i++) {
		const char *fault = dests_parse(config->source.dests[i], host, &port);
		if (fault)
			problem_add(&load->problems, setting->item_places ? setting->item_places[i] : setting->place,
			            "source.dests", "\"%s\" %s", config->source.dests[i], fault);
	}
	if (load->problems.count > before)
		return;
	if (dests_count(config) > LIMIT_DESTS)
		problem_add(&load->problems, setting->place, "source.dests", "at most %d dests can be listed", LIMIT_DESTS);
	size_t shift = config->source.dest_host ? 1 : 0;
	for (size_t i = 0; i < config->source.dest_count; i++)
		if (is_double(config, i + shift))
			problem_add(&load->problems, setting->item_places ? setting->item_places[i] : setting->place,
			            "source.dests", "\"%s\" is listed twice", config->source.dests[i]);
}

bool dests_replace(const struct load *load, const char *path)
{
	bool is_first = strcmp(path, "source.dest_host") == 0 || strcmp(path, "source.dest_tunnel_port") == 0;
	return is_first && load->config->source.dest_count > 0 && !load_is_given(load, "source.dest_host") &&
	       !load_is_given(load, "source.dest_tunnel_port");
}
