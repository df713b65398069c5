#include "cmd/devices.h"

#include "cmd/ask.h"
#include "fleet/naming.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char devices_usage[] =
	"usage: qanat devices [--json] [--control-socket PATH] [-c FILE]\n\n"
	"Lists the devices of a running hub, or the clients of a vpn server that assigns addresses: whether they are there,\n"
	"when they were last heard, the round trip, where they come from, what they have carried, and when their\n"
	"certificates expire.\n\n"
	"  --json                 one JSON object a line, as the hub says it\n"
	"  --control-socket PATH  of the hub; environment: QANAT_CONTROL_SOCKET\n"
	"  -c, --config FILE      take control.socket from this file\n\n"
	"Exit status: 0 done, 1 no hub, 2 wrong command line.\n";

static const char kick_usage[] =
	"usage: qanat kick NAME [--control-socket PATH] [-c FILE]\n\n"
	"Ends the link of a device with a running hub, or of a client with a vpn server, and everything that runs over\n"
	"it. The device may come back: to\n"
	"keep it away, name it in hub.deny_path and reload.\n\n"
	"Exit status: 0 done, 1 no hub or no such device, 2 wrong command line.\n";

static int64_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));
	return value && *value ? value : "-";
}

#define CELL_BYTES 32

static const char *show_age(int64_t ms, char out[CELL_BYTES])
{
	int64_t s = ms / 1000;
	if (s < 120)
		snprintf(out, CELL_BYTES, "%" PRId64 "s", s);
	else if (s < 7200)
		snprintf(out, CELL_BYTES, "%" PRId64 "m", s / 60);
	else
		snprintf(out, CELL_BYTES, "%" PRId64 "h", s / 3600);
	return out;
}

static const char *show_date(int64_t when, char out[CELL_BYTES])
{
	time_t seconds = (time_t)when;
	struct tm tm;
	if (when <= 0 || !gmtime_r(&seconds, &tm) || strftime(out, CELL_BYTES, "%Y-%m-%d", &tm) == 0)
		return "-";
	return out;
}

// A '!' behind the date: it is near.
static const char *show_expiry(const json_t *device, char out[CELL_BYTES])
{
	char date[CELL_BYTES];
	const char *stage = text(device, "certificate");
	bool is_near = strcmp(stage, "-") != 0 && strcmp(stage, "valid") != 0;
	snprintf(out, CELL_BYTES, "%.20s%s", show_date(number(device, "not_after"), date), is_near ? "!" : "");
	return out;
}

static void print_device(const json_t *device)
{
	char seen[CELL_BYTES], date[CELL_BYTES], rtt[CELL_BYTES] = "-";
	bool online = json_is_true(json_object_get(device, "online"));
	if (number(device, "rtt_us") > 0)
		snprintf(rtt, sizeof rtt, "%.1fms", (double)number(device, "rtt_us") / 1000);
	printf("%-24s %-8s %6s %9s %5" PRId64 " %12" PRId64 " %12" PRId64 " %-11s %s\n", text(device, "name"),
	       online                                             ? "online"
	       : json_is_true(json_object_get(device, "resting")) ? "resting"
	                                                          : "away",
	       show_age(number(device, "last_seen_ms"), seen), rtt, number(device, "channels"),
	       number(device, "bytes_sent"), number(device, "bytes_received"), show_expiry(device, date),
	       text(device, "address"));
}

static void print_json(json_t *device)
{
	json_dumpf(device, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
}

// Page after page, so neither side holds more than one. False: a problem was printed.
static bool print_pages(const char *path, bool as_json)
{
	char after[NAMING_BYTES] = "";
	int64_t left = 1;
	if (!as_json)
		printf("%-24s %-8s %6s %9s %5s %12s %12s %-11s %s\n", "device", "state", "heard", "rtt", "open", "sent",
		       "received", "expires", "address");
	while (left > 0) {
		size_t index;
		json_t *device, *answer = ask_device(path, "devices", after);
		if (!answer)
			return false;
		ask_print_problems("devices", answer);
		bool ok = json_is_true(json_object_get(answer, "ok"));
		left = ok ? number(answer, "left") : 0;
		json_array_foreach(json_object_get(answer, "devices"), index, device) {
			if (as_json)
				print_json(device);
			else
				print_device(device);
			snprintf(after, sizeof after, "%s", text(device, "name"));
		}
		json_decref(answer);
		if (!ok)
			return false;
	}
	return true;
}

int devices_command(int argc, char **argv)
{
	struct ask_words words;
	char path[PLACES_PATH_BYTES];
	if (!ask_words_read(argc, argv, ASK_MAY_JSON, &words))
		return 2;
	if (words.help) {
		fputs(devices_usage, stdout);
		return 0;
	}
	return ask_find(&words, "devices", path) && print_pages(path, words.json) ? 0 : 1;
}

int kick_command(int argc, char **argv)
{
	struct ask_words words;
	char path[PLACES_PATH_BYTES];
	if (!ask_words_read(argc, argv, ASK_MAY_NAME, &words))
		return 2;
	if (words.help || !words.name || words.directory || !naming_is_good(words.name)) {
		fputs(kick_usage, words.help ? stdout : stderr);
		return words.help ? 0 : 2;
	}
	if (!ask_find(&words, "kick", path))
		return 1;
	json_t *answer = ask_device(path, "kick", words.name);
	if (!answer)
		return 1;
	bool ok = json_is_true(json_object_get(answer, "ok"));
	ask_print_problems("kick", answer);
	json_decref(answer);
	return ok ? 0 : 1;
}
