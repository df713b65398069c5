#include "ops/status.h"

#include "ops/status_text.h"

#include "core/counter.h"
#include "core/outcome.h"

#include <ctype.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define HOSTILE "a\"b\\c\nqanat_ready 7\n{}\x1b[2J\x7f\xc3\xa9"
#define HOSTILE_SHOWN "a\"b\\c\\x0aqanat_ready 7\\x0a{}\\x1b[2J\\x7f\\xc3\\xa9"

static const struct status_link sample_link = {
	.id = "a1b2c3d4e5f60718293a4b5c6d7e8f90",
	.role = "initiator",
	.state = "up",
	.peer_name = "far",
	.peer_address = "192.0.2.1:4433",
	.subject = "CN=far",
	.fingerprint = "00ff",
	.issuer = "CN=ca",
	.not_after = 1800000000,
	.carrier = "tls",
	.tls_version = "TLSv1.3",
	.tls_group = "X25519MLKEM768",
	.tls_cipher = "TLS_AES_256_GCM_SHA384",
	.signature_peer = "mldsa65",
	.signature_own = "ed25519",
	.kem_mode = "hybrid",
	.kem_legs = "X25519+ML-KEM-768",
	.epoch = 7,
	.epoch_age_ms = 61500,
	.streams_open = 3,
	.streams_total = 5000000000,
	.bytes_outward = 9007199254740993,
	.bytes_inward = 12,
	.datagrams_outward = 13,
	.datagrams_inward = 14,
	.datagrams_congested = 15,
	.datagrams_refused = 16,
	.datagrams_broken = 17,
	.datagrams_malformed = 18,
	.datagrams_undelivered = 19,
	.rtt_us = 1500,
	.up_ms = 99,
	.last_error = "connection refused",
};

static void fill(struct status_node *status, size_t links)
{
	*status = (struct status_node){
		.command = "source",
		.version = "0.1.0",
		.name = "near",
		.uptime_ms = 3725500,
		.ready = true,
		.health = "Healthy",
		.message = "All systems operational",
		.tunnel_established = true,
		.last_successful_operation_s = 4,
		.error_count = 2,
		.missed_pongs = 1,
		.average_rtt_us = 1500,
		.reconnection_attempts = 6,
		.flows_open = 11,
		.associations_open = 12,
		.workers = 2,
		.startup_complete = true,
		.own_not_after = 1800000001,
		.ca_not_after = 1800000002,
		.certificates = {{"own", 1, "CN=near", 1700000001, 1800000001, "valid"},
	                     {"own", 2, "CN=second", 1700000002, 1800000003, "expires soon"},
	                     {"ca", 1, "CN=CA", 1700000003, 1800000002, "valid"}},
		.certificate_count = 3,
		.renewal = {.method = "drop", .state = "asked the CA", .due = 1790000000, .next = 1790000001},
		.reload_age_ms = -1,
		.links = calloc(links ? links : 1, sizeof(struct status_link)),
		.link_count = links,
	};
	assert_non_null(status->links);
	for (size_t i = 0; i < links; i++) {
		status->links[i] = sample_link;
		snprintf(status->links[i].id, sizeof status->links[i].id, "%08x%s", (unsigned)i, sample_link.id + 8);
	}
}

static json_t *parse(char *text)
{
	json_error_t error;
	assert_non_null(text);
	for (const char *at = text; *at; at++)
		assert_true(*at == '\n' || (*at >= 0x20 && *at <= 0x7e));
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	if (!json)
		print_message("%s\n%s\n", error.text, text);
	assert_non_null(json);
	free(text);
	return json;
}

static void assert_text(const json_t *json, const char *key, const char *expected)
{
	const char *text = json_string_value(json_object_get(json, key));
	if (!text)
		fail_msg("no text %s", key);
	assert_string_equal(text, expected);
}

static void assert_number(const json_t *json, const char *key, int64_t expected)
{
	const json_t *number = json_object_get(json, key);
	if (!json_is_integer(number) || json_integer_value(number) != expected)
		fail_msg("%s is not %lld", key, (long long)expected);
}

static void assert_null_value(const json_t *json, const char *key)
{
	if (!json_is_null(json_object_get(json, key)))
		fail_msg("%s is not null", key);
}

// ---- /status and /health

static void status_has_every_field_of_the_node_under_its_name(void **state)
{
	struct status_node status;
	(void)state;
	fill(&status, 0);
	json_t *json = parse(status_encode(&status));
	assert_text(json, "command", "source");
	assert_text(json, "version", "0.1.0");
	assert_text(json, "name", "near");
	assert_number(json, "uptime_ms", 3725500);
	assert_true(json_is_true(json_object_get(json, "ready")));
	assert_text(json, "health", "Healthy");
	assert_text(json, "message", "All systems operational");
	assert_true(json_is_true(json_object_get(json, "tunnel_established")));
	assert_number(json, "last_successful_operation_s", 4);
	assert_number(json, "error_count", 2);
	assert_number(json, "missed_pongs", 1);
	assert_number(json, "average_rtt_us", 1500);
	assert_number(json, "reconnection_attempts", 6);
	assert_number(json, "flows_open", 11);
	assert_number(json, "associations_open", 12);
	assert_number(json, "workers", 2);
	assert_number(json, "link_count", 0);
	assert_int_equal(json_array_size(json_object_get(json, "links")), 0);
	assert_true(json_is_array(json_object_get(json, "links")));
	assert_true(json_is_true(json_object_get(json, "startup_complete")));
	assert_number(json, "own_not_after", 1800000001);
	assert_number(json, "ca_not_after", 1800000002);
	assert_null_value(json, "last_reload");
	assert_int_equal(json_array_size(json_object_get(json, "services")), 0);
	assert_int_equal(json_object_size(json_object_get(json, "counters")), COUNTER_COUNT);
	const json_t *certificates = json_object_get(json, "certificates");
	assert_int_equal(json_array_size(certificates), 3);
	assert_text(json_array_get(certificates, 1), "role", "own");
	assert_number(json_array_get(certificates, 1), "number", 2);
	assert_text(json_array_get(certificates, 1), "subject", "CN=second");
	assert_number(json_array_get(certificates, 1), "not_before", 1700000002);
	assert_number(json_array_get(certificates, 1), "not_after", 1800000003);
	assert_text(json_array_get(certificates, 1), "state", "expires soon");
	const json_t *renewal = json_object_get(json, "renewal");
	assert_text(renewal, "method", "drop");
	assert_text(renewal, "state", "asked the CA");
	assert_number(renewal, "due", 1790000000);
	assert_number(renewal, "next", 1790000001);
	assert_text(renewal, "last_error", "");
	assert_int_equal(json_object_size(json), 26);
	json_decref(json);
}

static void fill_services(struct status_node *status)
{
	fill(status, 0);
	status->reload_age_ms = 1500;
	status->services = calloc(2, sizeof *status->services);
	assert_non_null(status->services);
	status->service_count = 2;
	status->services[0] = (struct status_service){"ssh", 1, 20, 300, 4000, 5};
	status->services[1] = (struct status_service){.name = "we\"b"};
}

static void status_has_the_services_and_the_last_reload(void **state)
{
	struct status_node status;
	(void)state;
	fill_services(&status);
	json_t *json = parse(status_encode(&status));
	assert_null(status.services);
	const json_t *reload = json_object_get(json, "last_reload");
	assert_text(reload, "outcome", "refused");
	assert_number(reload, "age_ms", 1500);
	const json_t *service = json_array_get(json_object_get(json, "services"), 0);
	assert_text(service, "name", "ssh");
	assert_number(service, "connections", 1);
	assert_number(service, "connections_total", 20);
	assert_number(service, "bytes_sent", 300);
	assert_number(service, "bytes_received", 4000);
	assert_number(service, "errors", 5);
	json_decref(json);
}

static void status_has_every_field_of_a_link_under_its_name(void **state)
{
	struct status_node status;
	(void)state;
	fill(&status, 2);
	json_t *json = parse(status_encode(&status));
	assert_number(json, "link_count", 2);
	assert_int_equal(json_array_size(json_object_get(json, "links")), 2);
	json_t *link = json_array_get(json_object_get(json, "links"), 1);
	assert_text(link, "id", "00000001e5f60718293a4b5c6d7e8f90");
	assert_text(link, "role", "initiator");
	assert_text(link, "state", "up");
	assert_text(link, "peer_name", "far");
	assert_text(link, "peer_address", "192.0.2.1:4433");
	assert_text(link, "subject", "CN=far");
	assert_text(link, "fingerprint", "00ff");
	assert_text(link, "issuer", "CN=ca");
	assert_number(link, "not_after", 1800000000);
	assert_text(link, "carrier", "tls");
	assert_text(link, "tls_version", "TLSv1.3");
	assert_text(link, "tls_group", "X25519MLKEM768");
	assert_text(link, "tls_cipher", "TLS_AES_256_GCM_SHA384");
	assert_text(link, "signature_peer", "mldsa65");
	assert_text(link, "signature_own", "ed25519");
	assert_text(link, "kem_mode", "hybrid");
	assert_text(link, "kem_legs", "X25519+ML-KEM-768");
	assert_number(link, "epoch", 7);
	assert_number(link, "epoch_age_ms", 61500);
	assert_number(link, "streams_open", 3);
	assert_number(link, "streams_total", 5000000000);
	assert_number(link, "bytes_outward", 9007199254740993);
	assert_number(link, "bytes_inward", 12);
	assert_number(link, "datagrams_outward", 13);
	assert_number(link, "datagrams_inward", 14);
	const json_t *dropped = json_object_get(link, "datagrams_dropped");
	assert_number(dropped, "congested", 15);
	assert_number(dropped, "refused_by_peer", 16);
	assert_number(dropped, "broken", 17);
	assert_number(dropped, "malformed", 18);
	assert_number(dropped, "undelivered", 19);
	assert_number(link, "rtt_us", 1500);
	assert_number(link, "up_ms", 99);
	assert_text(link, "last_error", "connection refused");
	assert_int_equal(json_object_size(link), 29);
	json_decref(json);
}

static void health_has_the_keys_of_the_seed_and_no_others(void **state)
{
	struct status_node status;
	(void)state;
	fill(&status, 1);
	json_t *json = parse(status_encode_health(&status));
	assert_text(json, "status", "Healthy");
	assert_number(json, "uptime_seconds", 3725);
	assert_number(json, "last_successful_operation", 4);
	assert_number(json, "error_count", 2);
	assert_true(json_is_true(json_object_get(json, "tunnel_established")));
	assert_text(json, "message", "All systems operational");
	assert_number(json, "consecutive_missed_pongs", 1);
	assert_number(json, "average_rtt_us", 1500);
	assert_number(json, "reconnection_attempts", 6);
	assert_int_equal(json_object_size(json), 9);
	json_decref(json);
}

static void what_is_not_known_is_null(void **state)
{
	struct status_node status;
	(void)state;
	fill(&status, 0);
	status.last_successful_operation_s = status.missed_pongs = status.average_rtt_us = status.reconnection_attempts =
		-1;
	struct status_node again = status;
	again.links = NULL;
	json_t *json = parse(status_encode_health(&status));
	assert_null_value(json, "last_successful_operation");
	assert_null_value(json, "consecutive_missed_pongs");
	assert_null_value(json, "average_rtt_us");
	assert_null_value(json, "reconnection_attempts");
	json_decref(json);
	json = parse(status_encode(&again));
	assert_null_value(json, "last_successful_operation_s");
	assert_null_value(json, "missed_pongs");
	assert_null_value(json, "average_rtt_us");
	assert_null_value(json, "reconnection_attempts");
	json_decref(json);
}

// A leak would be the address sanitizer's finding.
static void every_encoder_releases_the_links(void **state)
{
	typedef char *encode_fn(struct status_node * status);
	static encode_fn *const encoders[] = {status_encode, status_encode_health, status_encode_metrics};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(encoders); i++) {
		struct status_node status;
		fill(&status, 3);
		char *text = encoders[i](&status);
		assert_non_null(text);
		assert_null(status.links);
		assert_int_equal(status.link_count, 0);
		free(text);
	}
}

static void an_empty_status_is_encoded_too(void **state)
{
	struct status_node status = {0};
	struct status_link link = {0};
	(void)state;
	json_t *json = parse(status_encode(&status));
	assert_text(json, "command", "");
	json_decref(json);
	json_decref(parse(status_encode_health(&status)));
	status.links = malloc(sizeof link);
	assert_non_null(status.links);
	*status.links = link;
	status.link_count = 1;
	char *text = status_encode_metrics(&status);
	assert_non_null(text);
	assert_non_null(strstr(text, "qanat_link_up{link=\"\",peer=\"\"} 0\n"));
	free(text);
}

static void texts_are_printable_ascii_whatever_a_peer_called_itself(void **state)
{
	struct status_node status;
	(void)state;
	fill(&status, 1);
	snprintf(status.message, sizeof status.message, "%s", HOSTILE);
	snprintf(status.links->peer_name, sizeof status.links->peer_name, "%s", HOSTILE);
	memset(status.links->last_error, 0xff, sizeof status.links->last_error - 1);
	json_t *json = parse(status_encode(&status));
	assert_text(json, "message", HOSTILE_SHOWN);
	json_t *link = json_array_get(json_object_get(json, "links"), 0);
	assert_text(link, "peer_name", HOSTILE_SHOWN);
	assert_int_equal(json_string_length(json_object_get(link, "last_error")), 255 * 4);
	json_decref(json);
}

static void a_printable_text_is_cut_before_an_escape_that_does_not_fit(void **state)
{
	char out[8];
	(void)state;
	status_text("abcd\n", out, sizeof out);
	assert_string_equal(out, "abcd");
	status_text("abc\n", out, sizeof out);
	assert_string_equal(out, "abc\\x0a");
	status_text("abcdefgh", out, sizeof out);
	assert_string_equal(out, "abcdefg");
	status_text("x", out, 1);
	assert_string_equal(out, "");
	status_text(NULL, out, sizeof out);
	assert_string_equal(out, "");
}

// ---- /metrics: a reader as strict as a scraper's

struct sample {
	char series[2048]; // name and labels
	double value;
};

struct page {
	struct sample *samples;
	size_t count;
	char families[256][128];
	size_t family_count;
};

static const char *skip_name(const char *at)
{
	assert_true(isalpha((unsigned char)*at) || *at == '_');
	while (isalnum((unsigned char)*at) || *at == '_')
		at++;
	return at;
}

static const char *skip_labels(const char *at)
{
	assert_int_equal(*at, '{');
	do {
		at = skip_name(at + 1);
		assert_int_equal(strncmp(at, "=\"", 2), 0);
		size_t length = 0;
		for (at += 2; *at != '"'; at++, length++) {
			assert_true(*at >= 0x20 && *at <= 0x7e);
			if (*at == '\\') {
				at++;
				assert_true(*at == '\\' || *at == '"' || *at == 'n');
			}
		}
		assert_true(length <= 128);
		at++;
	} while (*at == ',');
	assert_int_equal(*at, '}');
	return at + 1;
}

static void read_sample(struct page *page, const char *line)
{
	const char *family = page->families[page->family_count - 1];
	const char *name_end = skip_name(line);
	const char *end = *name_end == '{' ? skip_labels(name_end) : name_end;
	struct sample *sample = &page->samples[page->count++];
	char *rest;
	assert_int_equal(strlen(family), name_end - line);
	assert_memory_equal(line, family, strlen(family));
	assert_true((size_t)(end - line) < sizeof sample->series);
	memcpy(sample->series, line, (size_t)(end - line));
	sample->series[end - line] = '\0';
	assert_int_equal(*end, ' ');
	sample->value = strtod(end + 1, &rest);
	assert_true(rest != end + 1 && *rest == '\0');
}

static void read_family(struct page *page, const char *help, const char *type)
{
	char name[128], of_type[128], word[16];
	assert_int_equal(sscanf(help, "# HELP %127s ", name), 1);
	assert_int_equal(sscanf(type, "# TYPE %127s %15s", of_type, word), 2);
	assert_string_equal(name, of_type);
	assert_true(strcmp(word, "gauge") == 0 || strcmp(word, "counter") == 0);
	size_t length = strlen(name);
	bool total = length > 6 && strcmp(name + length - 6, "_total") == 0;
	// The names of services' counters are those that the seed's guide promises.
	bool promised = strncmp(name, "qanat_service_", 14) == 0;
	assert_true(strcmp(word, "counter") == 0 ? total || promised : !total);
	for (size_t i = 0; i < page->family_count; i++)
		assert_string_not_equal(page->families[i], name);
	assert_true(page->family_count < COUNT_OF(page->families));
	snprintf(page->families[page->family_count++], sizeof page->families[0], "%s", name);
}

static int by_series(const void *a, const void *b)
{
	return strcmp(((const struct sample *)a)->series, ((const struct sample *)b)->series);
}

static size_t count_lines(const char *text)
{
	size_t lines = 0;
	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

static void read_page(struct page *page, char *text)
{
	assert_non_null(text);
	assert_int_equal(text[strlen(text) - 1], '\n');
	*page = (struct page){.samples = calloc(count_lines(text), sizeof(struct sample))};
	assert_non_null(page->samples);
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		if (strncmp(line, "# HELP", 6) == 0) {
			char *type = end + 1;
			end = strchr(type, '\n');
			assert_non_null(end);
			*end = '\0';
			read_family(page, line, type);
		} else {
			read_sample(page, line);
		}
	}
	free(text);
	qsort(page->samples, page->count, sizeof *page->samples, by_series);
	for (size_t i = 1; i < page->count; i++)
		assert_string_not_equal(page->samples[i - 1].series, page->samples[i].series);
}

static const struct sample *find(const struct page *page, const char *series)
{
	struct sample wanted;
	snprintf(wanted.series, sizeof wanted.series, "%s", series);
	return bsearch(&wanted, page->samples, page->count, sizeof wanted, by_series);
}

static double value_of(const struct page *page, const char *series)
{
	const struct sample *sample = find(page, series);
	if (!sample)
		fail_msg("no sample %s", series);
	return sample->value;
}

static void encode(struct status_node *status, struct page *page)
{
	read_page(page, status_encode_metrics(status));
}

static void metrics_show_the_node(void **state)
{
	struct status_node status;
	struct page page;
	(void)state;
	fill(&status, 0);
	encode(&status, &page);
	assert_true(value_of(&page, "qanat_ready") == 1);
	assert_true(value_of(&page, "qanat_uptime_seconds") == 3725.5);
	assert_true(value_of(&page, "qanat_flows_open") == 11);
	assert_true(value_of(&page, "qanat_associations_open") == 12);
	assert_true(value_of(&page, "qanat_workers") == 2);
	assert_true(value_of(&page, "qanat_links") == 0);
	assert_true(value_of(&page, "qanat_log_lines_lost_total") == 0);
	assert_true(value_of(&page, "qanat_info{command=\"source\",version=\"0.1.0\",name=\"near\"}") == 1);
	free(page.samples);
}

static void metrics_show_services_expiry_and_reloads(void **state)
{
	struct status_node status;
	struct page page;
	(void)state;
	fill_services(&status);
	encode(&status, &page);
	assert_true(value_of(&page, "qanat_service_connections{service=\"ssh\"}") == 1);
	assert_true(value_of(&page, "qanat_service_connections_total{service=\"ssh\"}") == 20);
	assert_true(value_of(&page, "qanat_service_bytes_sent{service=\"ssh\"}") == 300);
	assert_true(value_of(&page, "qanat_service_bytes_received{service=\"ssh\"}") == 4000);
	assert_true(value_of(&page, "qanat_service_errors{service=\"ssh\"}") == 5);
	assert_true(value_of(&page, "qanat_service_errors{service=\"we\\\"b\"}") == 0);
	assert_true(value_of(&page, "qanat_certificate_expiry_seconds{which=\"own\"}") == 1800000001);
	assert_true(value_of(&page, "qanat_certificate_expiry_seconds{which=\"own-2\"}") == 1800000003);
	assert_true(value_of(&page, "qanat_certificate_expiry_seconds{which=\"ca\"}") == 1800000002);
	assert_true(value_of(&page, "qanat_last_reload_successful") == 0);
	assert_true(value_of(&page, "qanat_last_reload_age_seconds") == 1.5);
	free(page.samples);
}

static void metrics_show_every_counter(void **state)
{
	struct status_node status;
	struct page page;
	(void)state;
	counter_add(COUNTER_BYTES_OUTWARD, 4096);
	fill(&status, 0);
	encode(&status, &page);
	for (int i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_text *text = counter_text((enum counter)i);
		char series[512];
		snprintf(series, sizeof series, *text->labels ? "%s{%s}" : "%s%s", text->name, text->labels);
		assert_true(value_of(&page, series) == (double)counter_read((enum counter)i));
	}
	assert_true(value_of(&page, "qanat_bytes_total{direction=\"outward\"}") >= 4096);
	free(page.samples);
}

static void metrics_show_the_process(void **state)
{
	struct status_node status;
	struct page page, again;
	(void)state;
	int fd = dup(1);
	fill(&status, 0);
	encode(&status, &page);
	close(fd);
	fill(&status, 0);
	encode(&status, &again);
	assert_true(value_of(&page, "process_cpu_seconds_total") <= value_of(&again, "process_cpu_seconds_total"));
	assert_true(value_of(&page, "process_resident_memory_bytes") > 100000);
	assert_true(value_of(&page, "process_open_fds") == value_of(&again, "process_open_fds") + 1);
	assert_true(value_of(&page, "process_max_fds") > value_of(&page, "process_open_fds"));
	double start = value_of(&page, "process_start_time_seconds"), now = (double)time(NULL);
	assert_true(start > now - 3600 && start <= now + 1);
	assert_true(start == value_of(&again, "process_start_time_seconds"));
	free(page.samples);
	free(again.samples);
}

#define OF_LINK(name) name "{link=\"00000000\",peer=\"far\"}"

static void metrics_show_each_link(void **state)
{
	struct status_node status;
	struct page page;
	(void)state;
	fill(&status, 2);
	encode(&status, &page);
	assert_true(value_of(&page, OF_LINK("qanat_link_up")) == 1);
	assert_true(value_of(&page, OF_LINK("qanat_link_epoch")) == 7);
	assert_true(value_of(&page, OF_LINK("qanat_link_epoch_age_seconds")) == 61.5);
	assert_true(value_of(&page, OF_LINK("qanat_link_streams_open")) == 3);
	assert_true(value_of(&page, OF_LINK("qanat_link_streams_total")) == 5000000000);
	assert_true(value_of(&page, OF_LINK("qanat_link_rtt_seconds")) == 0.0015);
	assert_true(value_of(&page, OF_LINK("qanat_link_certificate_expiry_seconds")) == 1800000000);
	assert_true(value_of(&page, "qanat_link_bytes_total{link=\"00000001\",peer=\"far\",direction=\"inward\"}") == 12);
	assert_true(value_of(&page, "qanat_link_bytes_total{link=\"00000001\",peer=\"far\",direction=\"outward\"}") > 9e15);
	assert_true(value_of(&page,
	                     "qanat_link_info{link=\"00000001\",peer=\"far\",role=\"initiator\",state=\"up\","
	                     "carrier=\"tls\",address=\"192.0.2.1:4433\",subject=\"CN=far\","
	                     "tls_version=\"TLSv1.3\",tls_group=\"X25519MLKEM768\","
	                     "tls_cipher=\"TLS_AES_256_GCM_SHA384\",kem_mode=\"hybrid\","
	                     "kem_legs=\"X25519+ML-KEM-768\",signature=\"mldsa65\",signature_own=\"ed25519\"}") == 1);
	free(page.samples);
}

static void what_is_not_known_of_a_link_has_no_sample(void **state)
{
	struct status_node status;
	struct page page;
	(void)state;
	fill(&status, 1);
	status.links->rtt_us = 0;
	status.links->epoch = 0;
	status.links->not_after = 0;
	status.links->state = "connecting";
	encode(&status, &page);
	assert_null(find(&page, OF_LINK("qanat_link_rtt_seconds")));
	assert_null(find(&page, OF_LINK("qanat_link_epoch_age_seconds")));
	assert_null(find(&page, OF_LINK("qanat_link_certificate_expiry_seconds")));
	assert_true(value_of(&page, OF_LINK("qanat_link_up")) == 0);
	free(page.samples);
}

// read_page would meet the made-up sample or the broken label.
static void a_peer_cannot_write_samples_with_its_name(void **state)
{
	struct status_node status;
	struct page page;
	(void)state;
	fill(&status, 1);
	status.ready = false;
	snprintf(status.links->peer_name, sizeof status.links->peer_name, "%s", HOSTILE);
	snprintf(status.links->subject, sizeof status.links->subject, "%s", "\\\"} 1\nqanat_ready 1\n");
	encode(&status, &page);
	assert_true(value_of(&page, "qanat_ready") == 0);
	assert_true(value_of(&page, "qanat_link_up{link=\"00000000\",peer=\"a\\\"b\\\\c\\\\x0aqanat_ready 7\\\\x0a{}"
	                            "\\\\x1b[2J\\\\x7f\\\\xc3\\\\xa9\"}") == 1);
	free(page.samples);
}

static void labels_are_cut_to_128_bytes(void **state)
{
	struct status_node status;
	struct page page;
	char series[256] = "qanat_link_up{link=\"00000000\",peer=\"";
	(void)state;
	fill(&status, 1);
	memset(status.links->peer_name, 'p', sizeof status.links->peer_name - 1);
	memset(status.links->subject, 's', sizeof status.links->subject - 1);
	memset(status.links->subject, '\n', 3);
	size_t length = strlen(series);
	memset(series + length, 'p', 128);
	snprintf(series + length + 128, sizeof series - length - 128, "\"}");
	encode(&status, &page);
	assert_true(value_of(&page, series) == 1);
	free(page.samples);
}

static size_t count_of(const struct page *page, const char *prefix)
{
	size_t count = 0;
	for (size_t i = 0; i < page->count; i++)
		count += strncmp(page->samples[i].series, prefix, strlen(prefix)) == 0;
	return count;
}

static void at_most_1000_links_are_listed_and_all_are_counted(void **state)
{
	struct status_node status;
	struct page page;
	(void)state;
	for (size_t links = 999; links <= 1001; links++) {
		fill(&status, links);
		encode(&status, &page);
		assert_int_equal(count_of(&page, "qanat_link_up{"), links < 1000 ? links : 1000);
		assert_int_equal(count_of(&page, "qanat_link_info{"), links < 1000 ? links : 1000);
		assert_true(value_of(&page, "qanat_links") == (double)links);
		free(page.samples);
	}
}

// read_page refuses two samples of one series, as a scraper refuses the whole page.
static void links_whose_ids_begin_alike_are_told_apart(void **state)
{
	struct status_node status;
	struct page page;
	(void)state;
	fill(&status, 4);
	snprintf(status.links[1].id, sizeof status.links[1].id, "000000020123456789abcdef01234567");
	snprintf(status.links[3].id, sizeof status.links[3].id, "%s", status.links[0].id);
	encode(&status, &page);
	assert_int_equal(count_of(&page, "qanat_link_up{"), 3);
	assert_non_null(find(&page, OF_LINK("qanat_link_up")));
	assert_non_null(find(&page, "qanat_link_up{link=\"000000020123456789abcdef01234567\",peer=\"far\"}"));
	assert_non_null(find(&page, "qanat_link_up{link=\"00000002e5f60718293a4b5c6d7e8f90\",peer=\"far\"}"));
	free(page.samples);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_has_every_field_of_the_node_under_its_name),
		cmocka_unit_test(status_has_every_field_of_a_link_under_its_name),
		cmocka_unit_test(health_has_the_keys_of_the_seed_and_no_others),
		cmocka_unit_test(what_is_not_known_is_null),
		cmocka_unit_test(every_encoder_releases_the_links),
		cmocka_unit_test(an_empty_status_is_encoded_too),
		cmocka_unit_test(texts_are_printable_ascii_whatever_a_peer_called_itself),
		cmocka_unit_test(a_printable_text_is_cut_before_an_escape_that_does_not_fit),
		cmocka_unit_test(metrics_show_the_node),
		cmocka_unit_test(status_has_the_services_and_the_last_reload),
		cmocka_unit_test(metrics_show_services_expiry_and_reloads),
		cmocka_unit_test(metrics_show_every_counter),
		cmocka_unit_test(metrics_show_the_process),
		cmocka_unit_test(metrics_show_each_link),
		cmocka_unit_test(what_is_not_known_of_a_link_has_no_sample),
		cmocka_unit_test(a_peer_cannot_write_samples_with_its_name),
		cmocka_unit_test(labels_are_cut_to_128_bytes),
		cmocka_unit_test(at_most_1000_links_are_listed_and_all_are_counted),
		cmocka_unit_test(links_whose_ids_begin_alike_are_told_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
