#include "flow/route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct name {
	char *service;
	bool tcp, udp;
};

struct route_table {
	_Atomic uint32_t references;
	char **dest_hosts; // without a final dot
	size_t dest_host_count;
	struct cidr *outbound;
	size_t outbound_count;
	struct route_port *ports;
	size_t port_count;
	struct name *names;
	size_t name_count;
};

// ---- tables --------------------------------------------------------------------------------------------------------

static void *copy_list(const void *list, size_t count, size_t size)
{
	void *copy = calloc(count + 1, size);
	if (copy && count > 0)
		memcpy(copy, list, count * size);
	return copy;
}

static size_t host_length(const char *host)
{
	size_t length = strlen(host);
	return length > 1 && host[length - 1] == '.' ? length - 1 : length;
}

static bool copy_hosts(struct route_table *table, const struct route_settings *settings)
{
	table->dest_hosts = calloc(settings->dest_host_count + 1, sizeof *table->dest_hosts);
	for (size_t i = 0; table->dest_hosts && i < settings->dest_host_count; i++) {
		const char *host = settings->dest_hosts[i];
		table->dest_hosts[i] = strndup(host, host_length(host));
		table->dest_host_count = i + 1;
		if (!table->dest_hosts[i])
			return false;
	}
	return table->dest_hosts != NULL;
}

static bool copy_names(struct route_table *table, const struct route_settings *settings)
{
	table->names = calloc(settings->name_count + 1, sizeof *table->names);
	for (size_t i = 0; table->names && i < settings->name_count; i++) {
		const struct route_name *from = &settings->names[i];
		table->names[i] = (struct name){.service = strdup(from->service), .tcp = from->tcp, .udp = from->udp};
		table->name_count = i + 1;
		if (!table->names[i].service)
			return false;
	}
	return table->names != NULL;
}

int route_table_new(const struct route_settings *settings, struct route_table **out)
{
	struct route_table *table = calloc(1, sizeof *table);
	if (!table)
		return -ENOMEM;
	table->references = 1;
	table->outbound = copy_list(settings->outbound, settings->outbound_count, sizeof *table->outbound);
	table->outbound_count = settings->outbound_count;
	table->ports = copy_list(settings->ports, settings->port_count, sizeof *table->ports);
	table->port_count = settings->port_count;
	if (!copy_names(table, settings) || !copy_hosts(table, settings) || !table->outbound || !table->ports) {
		route_table_unref(&table);
		return -ENOMEM;
	}
	*out = table;
	return 0;
}

struct route_table *route_table_ref(struct route_table *table)
{
	atomic_fetch_add(&table->references, 1);
	return table;
}

void route_table_unref(struct route_table **slot)
{
	struct route_table *table = *slot;
	*slot = NULL;
	if (!table || atomic_fetch_sub(&table->references, 1) != 1)
		return;
	for (size_t i = 0; i < table->name_count; i++)
		free(table->names[i].service);
	for (size_t i = 0; i < table->dest_host_count; i++)
		free(table->dest_hosts[i]);
	free(table->dest_hosts);
	free(table->names);
	free(table->ports);
	free(table->outbound);
	free(table);
}

// ---- questions -----------------------------------------------------------------------------------------------------

// False: not an IP literal.
static bool read_literal(const char *host, struct sockaddr_in6 *storage)
{
	struct sockaddr_in ip4 = {.sin_family = AF_INET};
	*storage = (struct sockaddr_in6){.sin6_family = AF_INET6};
	if (inet_pton(AF_INET6, host, &storage->sin6_addr) == 1)
		return true;
	if (inet_pton(AF_INET, host, &ip4.sin_addr) != 1)
		return false;
	memcpy(storage, &ip4, sizeof ip4);
	return true;
}

static bool is_host(const char *host, const char *wanted)
{
	size_t length = host_length(host);
	return length == strlen(wanted) && strncasecmp(host, wanted, length) == 0;
}

static bool is_dest(const struct route_table *table, const char *host)
{
	for (size_t i = 0; i < table->dest_host_count; i++)
		if (is_host(host, table->dest_hosts[i]))
			return true;
	return is_host(host, "localhost");
}

static bool is_port_exposed(const struct route_table *table, uint16_t port, bool udp)
{
	for (size_t i = 0; i < table->port_count; i++)
		if (table->ports[i].port == port && (udp ? table->ports[i].udp : table->ports[i].tcp))
			return true;
	return false;
}

static bool is_name_exposed(const struct route_table *table, const char *name, bool udp)
{
	for (size_t i = 0; i < table->name_count; i++)
		if (strcmp(table->names[i].service, name) == 0 && (udp ? table->names[i].udp : table->names[i].tcp))
			return true;
	return false;
}

int route_find(const struct route_table *table, const struct request *request, struct header *header)
{
	struct sockaddr_in6 literal;
	bool is_literal = read_literal(request->host, &literal), udp = header->kind == HEADER_UDP;
	bool is_open = table->port_count + table->name_count == 0;
	if (is_literal && !cidr_list_allows(table->outbound, table->outbound_count, (const struct sockaddr *)&literal))
		return ROUTE_NOT_OUTBOUND;
	header->service[0] = '\0';
	header->port = 0;
	if (is_literal || is_dest(table, request->host)) {
		if (request->port == 0 || (!is_open && !is_port_exposed(table, request->port, udp)))
			return ROUTE_NOT_EXPOSED;
		header->port = request->port;
		return 0;
	}
	// A name that no service can have is none that is exposed. SERVICE_DEFAULT ("*") is no name either.
	size_t length = strlen(request->host);
	if (length > LIMIT_SERVICE_NAME_BYTES || strcmp(request->host, "*") == 0 ||
	    (!is_open && !is_name_exposed(table, request->host, udp)))
		return ROUTE_NOT_EXPOSED;
	memcpy(header->service, request->host, length + 1);
	return 0;
}
