#include "ops/status.h"

#include "ops/status_rig.h"

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
		cmocka_unit_test(status_has_the_services_and_the_last_reload),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
