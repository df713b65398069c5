#include "cmd/status.h"

#include "cmd/ask.h"
#include "core/outcome.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char usage[] = "usage: qanat status [--json] [--control-socket PATH] [-c FILE]\n\n"
							"Shows what a running node does.\n\n"
							"  --json                 as the node says it (what GET /status answers)\n"
							"  --control-socket PATH  of the node; environment: QANAT_CONTROL_SOCKET\n"
							"  -c, --config FILE      take control.socket from this file\n\n"
							"Exit status: 0 the node is ready, 1 it is not, or there is none, 2 wrong command line.\n";

// ---- values --------------------------------------------------------------------------------------------------------

#define VALUE_BYTES 64

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));
	return value && *value ? value : "-";
}

static int64_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *show_time(int64_t seconds, char out[VALUE_BYTES])
{
	if (seconds < 60)
		snprintf(out, VALUE_BYTES, "%" PRId64 "s", seconds);
	else if (seconds < 3600)
		snprintf(out, VALUE_BYTES, "%" PRId64 "m%02" PRId64 "s", seconds / 60, seconds % 60);
	else if (seconds < 86400)
		snprintf(out, VALUE_BYTES, "%" PRId64 "h%02" PRId64 "m", seconds / 3600, seconds % 3600 / 60);
	else
		snprintf(out, VALUE_BYTES, "%" PRId64 "d%02" PRId64 "h", seconds / 86400, seconds % 86400 / 3600);
	return out;
}

static const char *show_bytes(int64_t bytes, char out[VALUE_BYTES])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes;
	unsigned unit = 0;
	while (value >= 1024 && unit < 4) {
		value /= 1024;
		unit++;
	}
	snprintf(out, VALUE_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return out;
}

static const char *show_date(int64_t when, char out[VALUE_BYTES])
{
	time_t seconds = when, now = time(NULL);
	struct tm tm;
	char left[VALUE_BYTES], date[16];
	if (when <= 0 || !gmtime_r(&seconds, &tm))
		return "-";
	strftime(date, sizeof date, "%Y-%m-%d", &tm);
	if (when <= now)
		snprintf(out, VALUE_BYTES, "%s, EXPIRED", date);
	else
		snprintf(out, VALUE_BYTES, "%s, in %s", date, show_time(when - now, left));
	return out;
}

static const char *show_rtt(const json_t *link, char out[VALUE_BYTES])
{
	int64_t us = number(link, "rtt_us");
	snprintf(out, VALUE_BYTES, us > 0 ? "%.2f ms" : "not measured", (double)us / 1000);
	return out;
}

// ---- the page ------------------------------------------------------------------------------------------------------

static void print_datagrams(const json_t *link)
{
	int64_t out = number(link, "datagrams_outward"), in = number(link, "datagrams_inward"), dropped = 0;
	const char *reason;
	json_t *count;
	json_object_foreach(json_object_get(link, "datagrams_dropped"), reason, count)
		dropped += json_integer_value(count);
	if (out + in + dropped > 0)
		printf("  datagrams    %" PRId64 " out, %" PRId64 " in, %" PRId64 " dropped\n", out, in, dropped);
}

static void print_link(const json_t *link)
{
	char a[VALUE_BYTES], b[VALUE_BYTES];
	printf("\nlink %.8s  %s, %s\n", text(link, "id"), text(link, "state"), text(link, "role"));
	if (strcmp(text(link, "id"), "-") != 0) {
		printf("  peer         %s at %s, up %s\n", text(link, "peer_name"), text(link, "peer_address"),
		       show_time(number(link, "up_ms") / 1000, a));
		printf("  certificate  %s (expires %s)\n", text(link, "subject"), show_date(number(link, "not_after"), a));
		printf("  keys         %s, %s, signed with %s\n", text(link, "tls_group"), text(link, "kem_legs"),
		       text(link, "signature_peer"));
		printf("  epoch        %" PRId64 ", %s old\n", number(link, "epoch"),
		       show_time(number(link, "epoch_age_ms") / 1000, a));
		printf("  round trip   %s\n", show_rtt(link, a));
		printf("  streams      %" PRId64 " open, %" PRId64 " in all\n", number(link, "streams_open"),
		       number(link, "streams_total"));
		printf("  bytes        %s out, %s in\n", show_bytes(number(link, "bytes_outward"), a),
		       show_bytes(number(link, "bytes_inward"), b));
		print_datagrams(link);
	}
	if (strcmp(text(link, "last_error"), "-") != 0)
		printf("  last error   %s\n", text(link, "last_error"));
}

static void print_services(const json_t *services)
{
	size_t index;
	json_t *service;
	char a[VALUE_BYTES], b[VALUE_BYTES];
	json_array_foreach(services, index, service) {
		if (index == 0)
			puts("\nservice                   open    errors          sent      received");
		printf("%-22s %7" PRId64 " %9" PRId64 " %13s %13s\n", text(service, "name"), number(service, "connections"),
		       number(service, "errors"), show_bytes(number(service, "bytes_sent"), a),
		       show_bytes(number(service, "bytes_received"), b));
	}
}

// "ok 12, timeout 1", or "-".
static void print_words(const json_t *words)
{
	const char *word, *before = "";
	json_t *count;
	json_object_foreach((json_t *)words, word, count) {
		printf("%s%s %" JSON_INTEGER_FORMAT, before, word, json_integer_value(count));
		before = ", ";
	}
	puts(*before ? "" : "-");
}

static void print_proxy(const json_t *proxy)
{
	static const char *const families[] = {"handshakes", "versions", "groups", "signatures", "peer_signatures"};
	size_t index;
	json_t *target;
	char a[VALUE_BYTES], b[VALUE_BYTES];
	if (!json_is_object(proxy))
		return;
	puts("");
	for (size_t i = 0; i < COUNT_OF(families); i++) {
		printf("%-15s ", families[i]);
		print_words(json_object_get(proxy, families[i]));
	}
	puts("\ntarget                 state      open    errors          sent      received");
	json_array_foreach(json_object_get(proxy, "targets"), index, target)
		printf("%-22s %-7s %7" PRId64 " %9" PRId64 " %13s %13s\n", text(target, "name"), text(target, "state"),
		       number(target, "connections"), number(target, "dials_failed"),
		       show_bytes(number(target, "bytes_sent"), a), show_bytes(number(target, "bytes_received"), b));
}

static void print_reload(const json_t *reload)
{
	char a[VALUE_BYTES];
	if (json_is_object(reload))
		printf("last reload    %s, %s ago\n", text(reload, "outcome"), show_time(number(reload, "age_ms") / 1000, a));
}

static void print_status(const json_t *status)
{
	size_t index;
	json_t *link;
	char a[VALUE_BYTES];
	printf("%s %s, qanat %s\n", text(status, "command"), text(status, "name"), text(status, "version"));
	printf("health         %s: %s\n", text(status, "health"), text(status, "message"));
	printf("uptime         %s, %" PRId64 " workers\n", show_time(number(status, "uptime_ms") / 1000, a),
	       number(status, "workers"));
	printf("flows          %" PRId64 " open\n", number(status, "flows_open"));
	printf("certificate    own expires %s\n", show_date(number(status, "own_not_after"), a));
	printf("               CA expires %s\n", show_date(number(status, "ca_not_after"), a));
	print_reload(json_object_get(status, "last_reload"));
	print_services(json_object_get(status, "services"));
	print_proxy(json_object_get(status, "proxy"));
	json_array_foreach(json_object_get(status, "links"), index, link)
		print_link(link);
}

int status_command(int argc, char **argv)
{
	struct ask_words words;
	char path[PLACES_PATH_BYTES];
	if (!ask_words_read(argc, argv, ASK_MAY_JSON, &words))
		return 2;
	if (words.help) {
		fputs(usage, stdout);
		return 0;
	}
	if (!ask_find(&words, "status", path))
		return 1;
	json_t *answer = ask(path, "status", NULL);
	const json_t *status = json_object_get(answer, "status");
	bool ready = json_is_true(json_object_get(status, "ready"));
	if (!answer)
		return 1;
	ask_print_problems("status", answer);
	if (status && words.json) {
		json_dumpf(status, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
		fputc('\n', stdout);
	} else if (status) {
		print_status(status);
	}
	json_decref(answer);
	return ready ? 0 : 1;
}
