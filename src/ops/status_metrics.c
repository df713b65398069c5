// The Prometheus text exposition: one block of HELP, TYPE and samples per metric name.

#include "ops/status.h"
#include "ops/status_proxy.h"
#include "ops/status_sample.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "core/outcome.h"

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LINKS_LISTED 1000
#define SERVICES_LISTED 1000
#define SHORT_ID 8

// ---- samples -------------------------------------------------------------------------------------------------------

static void put_number(FILE *out, const char *name, const char *type, const char *help, uint64_t number)
{
	sample_family(out, name, type, help);
	fprintf(out, "%s %" PRIu64 "\n", name, number);
}

static void put_seconds(FILE *out, const char *name, const char *type, const char *help, double seconds)
{
	sample_family(out, name, type, help);
	fprintf(out, "%s %.3f\n", name, seconds);
}

// ---- the process ---------------------------------------------------------------------------------------------------

static void put_counters(FILE *out)
{
	const char *family = "";
	for (int i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_text *text = counter_text((enum counter)i);
		if (strcmp(text->name, family) != 0)
			sample_family(out, text->name, "counter", text->help);
		family = text->name;
		fprintf(out, *text->labels ? "%s{%s} %" PRIu64 "\n" : "%s%s %" PRIu64 "\n", text->name, text->labels,
		        counter_read((enum counter)i));
	}
}

// Empty when there is none.
static void read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	size_t length = file ? fread(line, 1, size - 1, file) : 0;
	if (file)
		fclose(file);
	line[length] = '\0';
}

// Syscalls: openat, read, close, newfstatat, fstat, getdents64, prlimit64 (of /proc/self)
static uint64_t resident_bytes(void)
{
	char line[256], *size_end;
	read_line("/proc/self/statm", line, sizeof line);
	(void)strtoull(line, &size_end, 10);
	return strtoull(size_end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_descriptors(void)
{
	uint64_t count = 0;
	DIR *folder = opendir("/proc/self/fd");
	if (!folder)
		return 0;
	for (struct dirent *entry; (entry = readdir(folder));)
		count += entry->d_name[0] != '.';
	closedir(folder);
	return count - 1; // the folder itself
}

static double started_s;

// The 22nd field of the line; the second one is a name in brackets that may hold anything.
static void find_start(void)
{
	char line[1024];
	struct timespec boot;
	read_line("/proc/self/stat", line, sizeof line);
	const char *at = strrchr(line, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at || clock_gettime(CLOCK_BOOTTIME, &boot) != 0)
		return;
	unsigned long long ticks = strtoull(at, NULL, 10);
	double up = (double)boot.tv_sec + (double)boot.tv_nsec / 1e9 - (double)ticks / (double)sysconf(_SC_CLK_TCK);
	started_s = (double)clock_wall_ms() / 1000 - up;
}

static void put_process(FILE *out)
{
	// Found once: a clock that is set would move it, and a moved start looks like a restart.
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct rlimit files = {0};
	pthread_once(&once, find_start);
	(void)getrlimit(RLIMIT_NOFILE, &files);
	put_seconds(out, "process_cpu_seconds_total", "counter", "CPU time used, user and system", clock_cpu_s());
	put_number(out, "process_resident_memory_bytes", "gauge", "Resident memory", resident_bytes());
	put_number(out, "process_open_fds", "gauge", "Open file descriptors", open_descriptors());
	put_number(out, "process_max_fds", "gauge", "Most file descriptors this process may open", files.rlim_cur);
	put_seconds(out, "process_start_time_seconds", "gauge", "Start of the process, Unix time", started_s);
}

static void put_node(FILE *out, const struct status_node *status)
{
	sample_family(out, "qanat_info", "gauge", "What runs here");
	sample_label(out, "qanat_info{", "command", status->command);
	sample_label(out, ",", "version", status->version);
	sample_label(out, ",", "name", status->name);
	fputs("} 1\n", out);
	put_number(out, "qanat_ready", "gauge", "1 when the node can carry traffic", status->ready);
	put_seconds(out, "qanat_uptime_seconds", "gauge", "Time since the node started", (double)status->uptime_ms / 1000);
	put_number(out, "qanat_flows_open", "gauge", "Flows being carried", status->flows_open);
	put_number(out, "qanat_associations_open", "gauge", "UDP associations being carried", status->associations_open);
	if (status->has_devices) {
		put_number(out, "qanat_devices_online", "gauge", "Devices that have a link", status->devices_online);
		put_number(out, "qanat_devices_expiring", "gauge",
		           "Those of them whose certificate is within expiry.notice_days of its end", status->devices_expiring);
	}
	put_number(out, "qanat_workers", "gauge", "Worker threads", status->workers);
	put_number(out, "qanat_links", "gauge", "Links, also those beyond the 1000 that are listed", status->link_count);
	put_number(out, "qanat_log_lines_lost_total", "counter", "Log lines that standard error did not take", log_lost());
}

static void put_expiry(FILE *out, const struct status_node *status)
{
	sample_family(out, "qanat_certificate_expiry_seconds", "gauge",
	              "Expiry of our own certificate, and of the first CA certificate, intermediate and revocation list to "
	              "end, Unix time");
	for (size_t i = 0; i < status->certificate_count; i++) {
		const struct status_certificate *certificate = &status->certificates[i];
		fprintf(out, "qanat_certificate_expiry_seconds{which=\"%s", certificate->role);
		if (certificate->number > 1)
			fprintf(out, "-%u", certificate->number);
		fprintf(out, "\"} %" PRId64 "\n", certificate->not_after);
	}
	if (status->certificate_count > 0)
		return;
	if (status->own_not_after)
		fprintf(out, "qanat_certificate_expiry_seconds{which=\"own\"} %" PRId64 "\n", status->own_not_after);
	if (status->ca_not_after)
		fprintf(out, "qanat_certificate_expiry_seconds{which=\"ca\"} %" PRId64 "\n", status->ca_not_after);
}

static void put_last_reload(FILE *out, const struct status_node *status)
{
	if (status->reload_age_ms < 0)
		return;
	put_number(out, "qanat_last_reload_successful", "gauge", "1 when the last reload was carried out",
	           status->reload_ok);
	put_seconds(out, "qanat_last_reload_age_seconds", "gauge", "Time since the last reload",
	            (double)status->reload_age_ms / 1000);
}

// ---- services ------------------------------------------------------------------------------------------------------

static const struct service_family {
	const char *name, *type, *help;
	size_t offset;
} service_families[] = {
	{"qanat_service_connections", "gauge", "Flows to the service now", offsetof(struct status_service, connections)},
	{"qanat_service_connections_total", "counter", "Flows to the service so far",
     offsetof(struct status_service, connections_total)},
	{"qanat_service_bytes_sent", "counter", "Bytes sent to the service's target",
     offsetof(struct status_service, bytes_sent)},
	{"qanat_service_bytes_received", "counter", "Bytes received from the service's target",
     offsetof(struct status_service, bytes_received)},
	{"qanat_service_errors", "counter", "Flows that did not reach the service's target, or that broke",
     offsetof(struct status_service, errors)},
};

// Names are unique: the configuration sees to it.
static void put_services(FILE *out, const struct status_node *status)
{
	size_t count = status->service_count < SERVICES_LISTED ? status->service_count : SERVICES_LISTED;
	for (size_t f = 0; count > 0 && f < COUNT_OF(service_families); f++) {
		const struct service_family *family = &service_families[f];
		sample_family(out, family->name, family->type, family->help);
		for (size_t i = 0; i < count; i++) {
			uint64_t value;
			memcpy(&value, (const char *)&status->services[i] + family->offset, sizeof value);
			fputs(family->name, out);
			sample_label(out, "{", "service", status->services[i].name);
			fprintf(out, "} %" PRIu64 "\n", value);
		}
	}
}

// ---- links ---------------------------------------------------------------------------------------------------------

// A link as it is labelled: the first digits of its id, or all of them when another link's begin with the same ones.
// One label set twice would make a scraper refuse the whole page.
struct listed {
	const struct status_link *link;
	int digits; // 0: not listed
};

static void label_links(struct listed *listed, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strncmp(listed[i].link->id, listed[j].link->id, SHORT_ID) != 0)
				continue;
			bool same = strcmp(listed[i].link->id, listed[j].link->id) == 0;
			listed[i].digits = same ? 0 : (int)sizeof listed[i].link->id;
			if (!same && listed[j].digits > 0)
				listed[j].digits = (int)sizeof listed[j].link->id;
			if (same)
				break;
		}
	}
}

static void put_link_labels(FILE *out, const char *name, const struct listed *listed)
{
	char id[sizeof listed->link->id];
	snprintf(id, sizeof id, "%.*s", listed->digits, listed->link->id);
	fputs(name, out);
	sample_label(out, "{", "link", id);
	sample_label(out, ",", "peer", listed->link->peer_name);
}

static void put_link_info(FILE *out, const struct listed *listed)
{
	const struct status_link *link = listed->link;
	put_link_labels(out, "qanat_link_info", listed);
	sample_label(out, ",", "role", link->role);
	sample_label(out, ",", "state", link->state);
	sample_label(out, ",", "carrier", link->carrier);
	sample_label(out, ",", "address", link->peer_address);
	sample_label(out, ",", "subject", link->subject);
	sample_label(out, ",", "tls_version", link->tls_version);
	sample_label(out, ",", "tls_group", link->tls_group);
	sample_label(out, ",", "tls_cipher", link->tls_cipher);
	sample_label(out, ",", "kem_mode", link->kem_mode);
	sample_label(out, ",", "kem_legs", link->kem_legs);
	sample_label(out, ",", "signature", link->signature_peer);
	sample_label(out, ",", "signature_own", link->signature_own);
	fputs("} 1\n", out);
}

static void put_link_bytes(FILE *out, const struct listed *listed)
{
	put_link_labels(out, "qanat_link_bytes_total", listed);
	fprintf(out, ",direction=\"outward\"} %" PRIu64 "\n", listed->link->bytes_outward);
	put_link_labels(out, "qanat_link_bytes_total", listed);
	fprintf(out, ",direction=\"inward\"} %" PRIu64 "\n", listed->link->bytes_inward);
}

// What is not known has no sample.
static bool link_up(const struct status_link *link, double *value)
{
	*value = link->state && strcmp(link->state, "up") == 0;
	return true;
}

static bool link_epoch(const struct status_link *link, double *value)
{
	*value = link->epoch;
	return true;
}

static bool link_epoch_age(const struct status_link *link, double *value)
{
	*value = (double)link->epoch_age_ms / 1000;
	return link->epoch > 0;
}

static bool link_streams_open(const struct status_link *link, double *value)
{
	*value = (double)link->streams_open;
	return true;
}

static bool link_streams_total(const struct status_link *link, double *value)
{
	*value = (double)link->streams_total;
	return true;
}

static bool link_rtt(const struct status_link *link, double *value)
{
	*value = (double)link->rtt_us / 1e6;
	return link->rtt_us > 0;
}

static bool link_expiry(const struct status_link *link, double *value)
{
	*value = (double)link->not_after;
	return link->not_after != 0;
}

static const struct link_family {
	const char *name, *type, *help;
	bool (*read)(const struct status_link *link, double *value);
	int decimals;
} link_families[] = {
	{"qanat_link_up", "gauge", "1 when the link can carry streams", link_up, 0},
	{"qanat_link_epoch", "gauge", "Number of the current key epoch", link_epoch, 0},
	{"qanat_link_epoch_age_seconds", "gauge", "Age of the current key epoch", link_epoch_age, 3},
	{"qanat_link_streams_open", "gauge", "Streams open now", link_streams_open, 0},
	{"qanat_link_streams_total", "counter", "Streams opened so far", link_streams_total, 0},
	{"qanat_link_rtt_seconds", "gauge", "Round trip of the last answered ping", link_rtt, 6},
	{"qanat_link_certificate_expiry_seconds", "gauge", "Expiry of the peer's certificate, Unix time", link_expiry, 0},
};

static void put_links(FILE *out, const struct listed *listed, size_t count)
{
	double value;
	for (size_t f = 0; f < COUNT_OF(link_families); f++) {
		const struct link_family *family = &link_families[f];
		sample_family(out, family->name, family->type, family->help);
		for (size_t i = 0; i < count; i++) {
			if (listed[i].digits == 0 || !family->read(listed[i].link, &value))
				continue;
			put_link_labels(out, family->name, &listed[i]);
			fprintf(out, "} %.*f\n", family->decimals, value);
		}
	}
	sample_family(out, "qanat_link_bytes_total", "counter", "Payload bytes carried by the link");
	for (size_t i = 0; i < count; i++)
		if (listed[i].digits > 0)
			put_link_bytes(out, &listed[i]);
	sample_family(out, "qanat_link_info", "gauge", "What was negotiated with the peer");
	for (size_t i = 0; i < count; i++)
		if (listed[i].digits > 0)
			put_link_info(out, &listed[i]);
}

// ---- the page ------------------------------------------------------------------------------------------------------

static bool put_page(FILE *out, const struct status_node *status)
{
	size_t count = status->link_count < LINKS_LISTED ? status->link_count : LINKS_LISTED;
	struct listed *listed = calloc(count + 1, sizeof *listed);
	if (!listed)
		return false;
	for (size_t i = 0; i < count; i++)
		listed[i] = (struct listed){.link = &status->links[i], .digits = SHORT_ID};
	label_links(listed, count);
	put_node(out, status);
	put_expiry(out, status);
	put_last_reload(out, status);
	put_services(out, status);
	status_put_proxy(out, status);
	put_links(out, listed, count);
	put_counters(out);
	put_process(out);
	free(listed);
	return true;
}

char *status_encode_metrics(struct status_node *status)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	bool whole = out && put_page(out, status) && !ferror(out);
	if (out && fclose(out) != 0)
		whole = false;
	status_release(status);
	if (!whole) {
		free(text);
		text = NULL;
	}
	return text;
}
