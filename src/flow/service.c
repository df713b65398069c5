#include "flow/service.h"

#include <stdio.h>
#include <string.h>

struct service *service_find(struct service_table *table, const struct header *header)
{
	bool by_name = header->service[0] != '\0' && strcmp(header->service, SERVICE_DEFAULT) != 0;
	for (size_t i = 0; i < table->count; i++) {
		struct service *service = &table->services[i];
		if (by_name ? strcmp(service->name, header->service) == 0 : service->port == header->port)
			return service;
	}
	bool any = strcmp(header->service, SERVICE_DEFAULT) == 0;
	return any && table->count == 1 ? &table->services[0] : NULL;
}

bool service_enter(struct service *service)
{
	if (atomic_fetch_add(&service->connections, 1) < service->connections_max)
		return true;
	atomic_fetch_sub(&service->connections, 1);
	return false;
}

void service_leave(struct service *service)
{
	atomic_fetch_sub(&service->connections, 1);
}

void service_list(const struct service_table *table, char *text, size_t size)
{
	size_t at = 0;
	text[0] = '\0';
	for (size_t i = 0; i < table->count; i++) {
		const struct service *service = &table->services[i];
		int n = snprintf(text + at, size - at, "%s%s:%u", at ? "," : "", service->name, service->port);
		if (n < 0 || (size_t)n >= size - at) {
			text[at] = '\0';
			return;
		}
		at += (size_t)n;
	}
}
