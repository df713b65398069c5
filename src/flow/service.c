#include "flow/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- tables --------------------------------------------------------------------------------------------------------

static struct service_load *load_of(const struct service_table *old, const char *name)
{
	for (size_t i = 0; old && i < old->count; i++) {
		if (strcmp(old->services[i].name, name) != 0)
			continue;
		atomic_fetch_add(&old->services[i].load->references, 1);
		return old->services[i].load;
	}
	struct service_load *load = calloc(1, sizeof *load);
	if (load)
		load->references = 1;
	return load;
}

static int copy_clients(struct service *service, const struct service_settings *from)
{
	service->clients = calloc(from->client_count + 1, sizeof *service->clients);
	for (size_t i = 0; service->clients && i < from->client_count; i++) {
		service->clients[i] = strdup(from->clients[i]);
		if (!service->clients[i])
			return -ENOMEM;
		service->client_count = i + 1;
	}
	return service->clients ? 0 : -ENOMEM;
}

static int fill(struct service *service, const struct service_settings *from, const struct service_table *old)
{
	if (copy_clients(service, from) < 0)
		return -ENOMEM;
	service->introduces = from->introduces;
	service->name = strdup(from->name);
	service->target_host = strdup(from->target_host);
	service->load = service->name ? load_of(old, service->name) : NULL;
	service->port = from->port;
	service->target_port = from->target_port;
	service->connections_max = from->connections_max;
	service->protocol = from->protocol;
	return service->name && service->target_host && service->load ? 0 : -ENOMEM;
}

int service_table_new(const struct service_settings *list, size_t count, const struct service_table *old,
                      struct service_table **out)
{
	struct service_table *table = calloc(1, sizeof *table + count * sizeof *table->services);
	if (!table)
		return -ENOMEM;
	table->references = 1;
	int r = 0;
	for (size_t i = 0; i < count && r == 0; i++) {
		table->count = i + 1;
		r = fill(&table->services[i], &list[i], old);
	}
	if (r < 0)
		service_table_unref(&table);
	else
		*out = table;
	return r;
}

struct service_table *service_table_ref(struct service_table *table)
{
	atomic_fetch_add(&table->references, 1);
	return table;
}

void service_table_unref(struct service_table **slot)
{
	struct service_table *table = *slot;
	*slot = NULL;
	if (!table || atomic_fetch_sub(&table->references, 1) != 1)
		return;
	for (size_t i = 0; i < table->count; i++) {
		struct service *service = &table->services[i];
		if (service->load && atomic_fetch_sub(&service->load->references, 1) == 1)
			free(service->load);
		for (size_t k = 0; k < service->client_count; k++)
			free(service->clients[k]);
		free(service->clients);
		free(service->name);
		free(service->target_host);
	}
	free(table);
}

// ---- questions -----------------------------------------------------------------------------------------------------

static bool carries(const struct service *service, enum header_kind kind)
{
	return service->protocol == SERVICE_BOTH || (service->protocol == SERVICE_UDP) == (kind == HEADER_UDP);
}

static bool is_meant(const struct service *service, const struct header *header)
{
	bool by_name = header->service[0] != '\0' && strcmp(header->service, SERVICE_DEFAULT) != 0;
	return by_name ? strcmp(service->name, header->service) == 0 : service->port == header->port;
}

struct service *service_find(struct service_table *table, const struct header *header)
{
	for (size_t i = 0; i < table->count; i++) {
		struct service *service = &table->services[i];
		if (is_meant(service, header) && carries(service, header->kind))
			return service;
	}
	bool any = strcmp(header->service, SERVICE_DEFAULT) == 0;
	return any && table->count == 1 && carries(&table->services[0], header->kind) ? &table->services[0] : NULL;
}

const char *service_missing(const struct service_table *table, const struct header *header)
{
	for (size_t i = 0; i < table->count; i++)
		if (is_meant(&table->services[i], header))
			return header->kind == HEADER_UDP ? "the service is exposed here for tcp only"
			                                  : "the service is exposed here for udp only";
	return "no such service is exposed here";
}

bool service_admits(const struct service *service, X509 *certificate)
{
	for (size_t i = 0; certificate && i < service->client_count; i++)
		if (identity_matches(certificate, service->clients[i]))
			return true;
	return service->client_count == 0;
}

bool service_enter(struct service *service)
{
	if (atomic_fetch_add(&service->load->connections, 1) < service->connections_max) {
		atomic_fetch_add_explicit(&service->load->connections_total, 1, memory_order_relaxed);
		return true;
	}
	atomic_fetch_sub(&service->load->connections, 1);
	return false;
}

void service_leave(struct service *service)
{
	atomic_fetch_sub(&service->load->connections, 1);
}

void service_count_bytes(struct service *service, size_t sent, size_t received)
{
	if (sent > 0)
		atomic_fetch_add_explicit(&service->load->bytes_sent, sent, memory_order_relaxed);
	if (received > 0)
		atomic_fetch_add_explicit(&service->load->bytes_received, received, memory_order_relaxed);
}

void service_count_error(struct service *service)
{
	atomic_fetch_add_explicit(&service->load->errors, 1, memory_order_relaxed);
}

bool service_begin_probe(struct service *service)
{
	return !atomic_exchange(&service->load->probed, true);
}

void service_end_probe(struct service *service)
{
	atomic_store(&service->load->probed, false);
}

void service_list(const struct service_table *table, char *text, size_t size)
{
	size_t at = 0;
	text[0] = '\0';
	for (size_t i = 0; i < table->count; i++) {
		const struct service *service = &table->services[i];
		if (service->client_count > 0)
			continue;
		int n = snprintf(text + at, size - at, "%s%s:%u", at ? "," : "", service->name, service->port);
		if (n < 0 || (size_t)n >= size - at) {
			text[at] = '\0';
			return;
		}
		at += (size_t)n;
	}
}
