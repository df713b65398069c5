#include "ops/status.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fill(struct status_node *status)
{
	struct tally tally = {0};
	struct tally_handshake handshake = {.version = "TLSv1.3",
	                                    .group = "X25519MLKEM768",
	                                    .signature = "mldsa65",
	                                    .signature_peer = "ecdsa_secp256r1_sha256",
	                                    .took_us = 700};
	tally_negotiated(&tally, &handshake);
	tally_outcome(&tally, TALLY_EXPIRED);
	tally_add(&tally, TALLY_OPEN, 3);
	tally_add(&tally, TALLY_SENT, 70000);
	*status = (struct status_node){
		.command = "proxy", .version = "1", .health = "Healthy", .is_proxy = true, .target_count = 2};
	status->targets = calloc(2, sizeof *status->targets);
	assert_non_null(status->targets);
	tally_read(&tally, &status->sums);
	tally_read(&tally, &status->targets[0].sums);
	snprintf(status->targets[0].name, sizeof status->targets[0].name, "db\"quote:5432");
	status->targets[0].state = "up";
	snprintf(status->targets[1].name, sizeof status->targets[1].name, "unix:/run/x");
	status->targets[1].state = "unknown";
}

static void has(const char *page, const char *line)
{
	const char *found = strstr(page, line);
	if (!found || (found != page && found[-1] != '\n'))
		fail_msg("no line \"%s\" in\n%s", line, page);
}

static void metrics_show_all_together_and_each_target(void **state)
{
	(void)state;
	struct status_node status;
	fill(&status);
	char *page = status_encode_metrics(&status);
	assert_non_null(page);
	has(page, "qanat_proxy_connections 3\n");
	has(page, "qanat_proxy_bytes_sent_total 70000\n");
	has(page, "qanat_proxy_handshakes_total{outcome=\"ok\"} 1\n");
	has(page, "qanat_proxy_handshakes_total{outcome=\"revoked\"} 0\n");
	has(page, "qanat_proxy_handshake_groups_total{group=\"X25519MLKEM768\"} 1\n");
	has(page, "qanat_proxy_handshake_signatures_total{signature=\"mldsa65\"} 1\n");
	has(page, "qanat_proxy_target_connections{target=\"db\\\"quote:5432\"} 3\n");
	has(page, "qanat_proxy_target_handshakes_total{target=\"db\\\"quote:5432\",outcome=\"expired\"} 1\n");
	has(page, "qanat_proxy_target_up{target=\"db\\\"quote:5432\"} 1\n");
	has(page, "qanat_proxy_target_connections{target=\"unix:/run/x\"} 0\n");
	assert_null(strstr(page, "qanat_proxy_target_up{target=\"unix"));
	assert_null(strstr(page, "qanat_proxy_target_handshakes_total{target=\"unix"));
	free(page);
}

static void the_histogram_is_one(void **state)
{
	(void)state;
	struct status_node status;
	fill(&status);
	char *page = status_encode_metrics(&status);
	assert_non_null(page);
	has(page, "# TYPE qanat_proxy_handshake_seconds histogram\n");
	has(page, "qanat_proxy_handshake_seconds_bucket{le=\"0.0005\"} 0\n");
	has(page, "qanat_proxy_handshake_seconds_bucket{le=\"0.001\"} 1\n");
	has(page, "qanat_proxy_handshake_seconds_bucket{le=\"10\"} 1\n");
	has(page, "qanat_proxy_handshake_seconds_bucket{le=\"+Inf\"} 1\n");
	has(page, "qanat_proxy_handshake_seconds_sum 0.000700\n");
	has(page, "qanat_proxy_handshake_seconds_count 1\n");
	has(page, "qanat_proxy_target_handshake_seconds_bucket{target=\"unix:/run/x\",le=\"+Inf\"} 0\n");
	has(page, "qanat_proxy_target_handshake_seconds_count{target=\"db\\\"quote:5432\"} 1\n");
	free(page);
}

static void status_has_it_under_proxy(void **state)
{
	(void)state;
	struct status_node status;
	fill(&status);
	char *text = status_encode(&status);
	json_t *json = text ? json_loads(text, 0, NULL) : NULL;
	const json_t *proxy = json_object_get(json, "proxy");
	assert_int_equal(json_integer_value(json_object_get(proxy, "connections")), 3);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(proxy, "handshakes"), "expired")), 1);
	const json_t *target = json_array_get(json_object_get(proxy, "targets"), 0);
	assert_string_equal(json_string_value(json_object_get(target, "name")), "db\"quote:5432");
	assert_string_equal(json_string_value(json_object_get(target, "state")), "up");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(target, "groups"), "X25519MLKEM768")), 1);
	json_decref(json);
	free(text);
}

static void a_node_that_is_no_proxy_says_nothing_of_it(void **state)
{
	(void)state;
	struct status_node status = {.command = "dest", .version = "1", .health = "Healthy"}, again = status;
	char *page = status_encode_metrics(&status), *text = status_encode(&again);
	assert_non_null(page);
	assert_null(strstr(page, "qanat_proxy_handshakes_total"));
	assert_null(strstr(text, "\"proxy\""));
	free(page);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(metrics_show_all_together_and_each_target),
		cmocka_unit_test(the_histogram_is_one),
		cmocka_unit_test(status_has_it_under_proxy),
		cmocka_unit_test(a_node_that_is_no_proxy_says_nothing_of_it),
	};
	return cmocka_run_group_tests_name("status_proxy", tests, NULL, NULL);
}
