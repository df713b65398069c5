#include "ops/status_proxy.h"

#include "core/outcome.h"
#include "ops/status_sample.h"
#include "ops/status_text.h"

#include <inttypes.h>
#include <string.h>

#define TARGETS_LISTED 1000
#define NAME_BYTES 128

static const struct number {
	const char *name, *type, *help;
} numbers[] = {
	[TALLY_OPEN] = {"connections", "gauge", "Connections that are joined now"},
	[TALLY_JOINED] = {"connections_joined_total", "counter", "Connections that were joined so far"},
	[TALLY_SENT] = {"bytes_sent_total", "counter", "Bytes sent to targets"},
	[TALLY_RECEIVED] = {"bytes_received_total", "counter", "Bytes received from targets"},
	[TALLY_UNREACHABLE] = {"dials_failed_total", "counter", "Dials that did not reach their target"},
};
_Static_assert(COUNT_OF(numbers) == TALLY_NUMBER_COUNT, "a number has no name");

static const struct family {
	const char *name, *help;
} families[] = {
	[TALLY_OUTCOME] = {"handshakes_total", "TLS handshakes by outcome"},
	[TALLY_VERSION] = {"handshake_versions_total", "Finished handshakes by protocol version"},
	[TALLY_GROUP] = {"handshake_groups_total", "Finished handshakes by key agreement group"},
	[TALLY_SIGNATURE] = {"handshake_signatures_total",
                         "Finished handshakes by the algorithm that our certificate signed "
                         "with"},
	[TALLY_SIGNATURE_PEER] = {"handshake_peer_signatures_total",
                              "Finished handshakes by the algorithm that the peer's certificate signed with"},
};
_Static_assert(COUNT_OF(families) == TALLY_FAMILY_COUNT, "a family has no name");

// ---- /metrics ------------------------------------------------------------------------------------------------------

// The tally of all targets together, or those of each: other names, so that a sum counts nothing twice.
struct shown {
	const struct status_node *status;
	size_t count; // of targets; 0: all together
	const char *prefix;
};

static const struct tally_sums *sums_of(const struct shown *shown, size_t place)
{
	return shown->count > 0 ? &shown->status->targets[place].sums : &shown->status->sums;
}

// The sample's name and its labels as far as they are the target's; `next` is what stands before another label.
static const char *put_name(FILE *out, const struct shown *shown, size_t place, const char *name)
{
	fprintf(out, "%s%s", shown->prefix, name);
	if (shown->count == 0)
		return "{";
	sample_label(out, "{", "target", shown->status->targets[place].name);
	return ",";
}

static void put_number(FILE *out, const struct shown *shown, enum tally_number number)
{
	char name[NAME_BYTES];
	snprintf(name, sizeof name, "%s%s", shown->prefix, numbers[number].name);
	sample_family(out, name, numbers[number].type, numbers[number].help);
	for (size_t i = 0; i < (shown->count ? shown->count : 1); i++) {
		const char *next = put_name(out, shown, i, numbers[number].name);
		fprintf(out, "%s %" PRIu64 "\n", *next == ',' ? "}" : "", sums_of(shown, i)->number[number]);
	}
}

static void put_words(FILE *out, const struct shown *shown, enum tally_family family)
{
	char name[NAME_BYTES];
	snprintf(name, sizeof name, "%s%s", shown->prefix, families[family].name);
	sample_family(out, name, "counter", families[family].help);
	for (size_t i = 0; i < (shown->count ? shown->count : 1); i++) {
		for (size_t word = 0; word < tally_words(family); word++) {
			uint64_t value = sums_of(shown, i)->word[family][word];
			// Of a target only what has happened: there are many targets, and many words.
			if (value == 0 && shown->count > 0)
				continue;
			const char *next = put_name(out, shown, i, families[family].name);
			sample_label(out, next, tally_label(family), tally_word(family, word));
			fprintf(out, "} %" PRIu64 "\n", value);
		}
	}
}

static void put_times(FILE *out, const struct shown *shown)
{
	char name[NAME_BYTES], bound[32];
	snprintf(name, sizeof name, "%shandshake_seconds", shown->prefix);
	sample_family(out, name, "histogram", "Time from the first byte of a handshake to its end");
	for (size_t i = 0; i < (shown->count ? shown->count : 1); i++) {
		const struct tally_sums *sums = sums_of(shown, i);
		uint64_t sum = 0;
		for (size_t bucket = 0; bucket <= TALLY_BOUNDS; bucket++) {
			sum += sums->took[bucket];
			snprintf(bound, sizeof bound, "%g", bucket < TALLY_BOUNDS ? tally_bounds_us[bucket] / 1e6 : 0);
			const char *next = put_name(out, shown, i, "handshake_seconds_bucket");
			sample_label(out, next, "le", bucket < TALLY_BOUNDS ? bound : "+Inf");
			fprintf(out, "} %" PRIu64 "\n", sum);
		}
		const char *next = put_name(out, shown, i, "handshake_seconds_sum");
		fprintf(out, "%s %.6f\n", *next == ',' ? "}" : "", (double)sums->took_us / 1e6);
		next = put_name(out, shown, i, "handshake_seconds_count");
		fprintf(out, "%s %" PRIu64 "\n", *next == ',' ? "}" : "", sum);
	}
}

static void put_all(FILE *out, const struct shown *shown)
{
	for (unsigned i = 0; i < TALLY_NUMBER_COUNT; i++)
		put_number(out, shown, (enum tally_number)i);
	for (unsigned i = 0; i < TALLY_FAMILY_COUNT; i++)
		put_words(out, shown, (enum tally_family)i);
	put_times(out, shown);
}

static void put_states(FILE *out, const struct shown *shown)
{
	sample_family(out, "qanat_proxy_target_up", "gauge", "1 when the target answers, 0 when it does not");
	for (size_t i = 0; i < shown->count; i++) {
		const char *state = shown->status->targets[i].state;
		if (strcmp(state, "unknown") == 0)
			continue;
		put_name(out, shown, i, "up");
		fprintf(out, "} %d\n", strcmp(state, "up") == 0);
	}
}

void status_put_proxy(FILE *out, const struct status_node *status)
{
	struct shown all = {.status = status, .prefix = "qanat_proxy_"};
	struct shown each = {.status = status, .prefix = "qanat_proxy_target_"};
	each.count = status->target_count < TARGETS_LISTED ? status->target_count : TARGETS_LISTED;
	if (!status->is_proxy)
		return;
	put_all(out, &all);
	if (each.count == 0)
		return;
	put_all(out, &each);
	put_states(out, &each);
}

// ---- /status -------------------------------------------------------------------------------------------------------

static json_t *describe_words(const struct tally_sums *sums, enum tally_family family, bool *bad)
{
	json_t *object = json_object();
	for (size_t word = 0; word < tally_words(family); word++)
		if (sums->word[family][word] > 0 &&
		    json_object_set_new(object, tally_word(family, word), json_integer((json_int_t)sums->word[family][word])) !=
		        0)
			*bad = true;
	return object;
}

static json_t *describe_sums(const struct tally_sums *sums, bool *bad)
{
	static const char *const names[] = {[TALLY_OUTCOME] = "handshakes",
	                                    [TALLY_VERSION] = "versions",
	                                    [TALLY_GROUP] = "groups",
	                                    [TALLY_SIGNATURE] = "signatures",
	                                    [TALLY_SIGNATURE_PEER] = "peer_signatures"};
	static const char *const counts[] = {[TALLY_OPEN] = "connections",
	                                     [TALLY_JOINED] = "connections_total",
	                                     [TALLY_SENT] = "bytes_sent",
	                                     [TALLY_RECEIVED] = "bytes_received",
	                                     [TALLY_UNREACHABLE] = "dials_failed"};
	json_t *object = json_object();
	for (unsigned i = 0; i < TALLY_NUMBER_COUNT; i++)
		if (json_object_set_new(object, counts[i], json_integer((json_int_t)sums->number[i])) != 0)
			*bad = true;
	for (unsigned i = 0; i < TALLY_FAMILY_COUNT; i++)
		if (json_object_set_new(object, names[i], describe_words(sums, (enum tally_family)i, bad)) != 0)
			*bad = true;
	return object;
}

static json_t *describe_target(const struct status_target *target, bool *bad)
{
	char name[sizeof target->name * 4];
	json_t *object = describe_sums(&target->sums, bad);
	status_text(target->name, name, sizeof name);
	if (json_object_set_new(object, "name", json_string(name)) != 0 ||
	    json_object_set_new(object, "state", json_string(target->state)) != 0)
		*bad = true;
	return object;
}

json_t *status_describe_proxy(const struct status_node *status, bool *bad)
{
	json_t *object = describe_sums(&status->sums, bad), *targets = json_array();
	for (size_t i = 0; i < status->target_count; i++)
		if (json_array_append_new(targets, describe_target(&status->targets[i], bad)) != 0)
			*bad = true;
	if (json_object_set_new(object, "targets", targets) != 0)
		*bad = true;
	return object;
}
