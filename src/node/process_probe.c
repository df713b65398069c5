#include "node/process_probe.h"

#include "core/secret.h"
#include "limits.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

// Fewer descriptors than this are worth a line: each flow takes two.
#define DESCRIPTORS_WANTED 4096
// No clock that is right shows a time before this program was written: 2026-01-01.
#define CLOCK_EARLIEST 1767225600

// ---- limits

static void probe_descriptors(struct findings *findings)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	unsigned long long most = limit.rlim_max;
	if (most < DESCRIPTORS_WANTED)
		finding_add(findings, FINDING_WARNING, "descriptors", "raise LimitNOFILE= of the service, or ulimit -Hn",
		            "%llu at most: about %llu flows at once", most, most / 2);
	else
		finding_add(findings, FINDING_OK, "descriptors", NULL, "%llu at most: about %llu flows at once", most,
		            most / 2);
}

static void probe_locked_memory(struct findings *findings)
{
	const unsigned long long wanted = (unsigned long long)LIMIT_SECRETS * SECRET_MAX_BYTES;
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
		return;
	if (limit.rlim_cur == RLIM_INFINITY)
		finding_add(findings, FINDING_OK, "locked memory", NULL, "without a limit; keys want %llu KiB", wanted / 1024);
	else if (limit.rlim_cur < wanted && geteuid() != 0)
		finding_add(findings, FINDING_WARNING, "locked memory",
		            "raise LimitMEMLOCK= of the service, or ulimit -l: keys may otherwise reach the swap",
		            "%llu KiB, less than the %llu KiB that keys want", (unsigned long long)limit.rlim_cur / 1024,
		            wanted / 1024);
	else
		finding_add(findings, FINDING_OK, "locked memory", NULL, "%llu KiB; keys want %llu KiB",
		            (unsigned long long)limit.rlim_cur / 1024, wanted / 1024);
}

static void probe_cores(struct findings *findings)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof set, &set) == 0)
		finding_add(findings, FINDING_OK, "processors", NULL, "%d: as many workers by default", CPU_COUNT(&set));
}

void process_probe_limits(struct findings *findings)
{
	probe_descriptors(findings);
	probe_locked_memory(findings);
	probe_cores(findings);
}

// ---- capabilities

static bool read_effective(unsigned long long *effective)
{
	char line[256];
	FILE *file = fopen("/proc/self/status", "re");
	bool is_found = false;

	while (file && !is_found && fgets(line, sizeof line, file)) {
		is_found = strncmp(line, "CapEff:", 7) == 0;
		if (is_found)
			*effective = strtoull(line + 7, NULL, 16);
	}
	if (file)
		fclose(file);
	return is_found;
}

void process_probe_capabilities(struct findings *findings)
{
	static const struct {
		int number;
		const char *name;
	} wanted[] = {{CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"},
	              {CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	              {CAP_IPC_LOCK, "CAP_IPC_LOCK"}};
	unsigned long long effective = 0;
	char has[128] = "", lacks[128] = "";

	if (!read_effective(&effective)) {
		finding_add(findings, FINDING_NOTE, "capabilities", "mount /proc", "/proc/self/status cannot be read");
		return;
	}
	for (size_t i = 0; i < COUNT_OF(wanted); i++) {
		char *list = effective & (1ULL << wanted[i].number) ? has : lacks;
		size_t length = strlen(list);
		snprintf(list + length, sizeof has - length, "%s%s", length ? ", " : "", wanted[i].name);
	}
	if (geteuid() == 0)
		finding_add(
			findings, FINDING_NOTE, "capabilities",
			"source and dest need no root: run them as a user of their own, with CAP_NET_BIND_SERVICE for ports "
			"below 1024",
			"this runs as root, with %s", has[0] ? has : "none of those that matter here");
	else
		finding_add(findings, FINDING_OK, "capabilities", NULL,
		            "has %s; lacks %s (ports below 1024, layer-3 tunnels, locked memory without a limit)",
		            has[0] ? has : "none", lacks[0] ? lacks : "none");
}

// ---- clock

void process_probe_clock(struct findings *findings)
{
	struct timex state = {0};
	time_t now = time(NULL);
	int answer = adjtimex(&state);
	char text[40] = "";
	struct tm parts;

	if (gmtime_r(&now, &parts))
		(void)!strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
	if (now < CLOCK_EARLIEST)
		finding_add(findings, FINDING_ERROR, "clock", "set it: certificates are valid from one time to another",
		            "it shows %s, which cannot be", text);
	else if (answer == TIME_ERROR || (answer >= 0 && (state.status & STA_UNSYNC)))
		finding_add(findings, FINDING_NOTE, "clock",
		            "run a time service (chrony, systemd-timesyncd), unless the host of this machine does",
		            "it shows %s; the kernel knows of no time service that keeps it right", text);
	else
		finding_add(findings, FINDING_OK, "clock", NULL, "it shows %s%s", text,
		            answer < 0 ? "" : ", kept right by a time service");
}
