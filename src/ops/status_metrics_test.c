// /metrics, read as strictly as a scraper does.

#include "ops/status_rig.h"

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
		cmocka_unit_test(metrics_show_the_node),
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
