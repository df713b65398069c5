#include "node/sandbox_probe.h"

#include <errno.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void probe_landlock(struct findings *findings)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (version > 0)
		finding_add(findings, FINDING_OK, "Landlock", NULL, "the kernel has version %ld", version);
	else
		finding_add(findings, FINDING_NOTE, "Landlock", "to have it: lsm=landlock on the kernel's command line",
		            "the kernel does not offer it (%s)", outcome_text(-errno));
}

static void probe_seccomp(struct findings *findings)
{
	unsigned action = SECCOMP_RET_KILL_PROCESS;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
		finding_add(findings, FINDING_OK, "seccomp", NULL, "the kernel has filters%s",
		            prctl(PR_GET_SECCOMP) == 2 ? " (one confines this process already)" : "");
	else
		finding_add(findings, FINDING_NOTE, "seccomp", "to have them: a kernel with CONFIG_SECCOMP_FILTER",
		            "the kernel offers no filters (%s)", outcome_text(-errno));
}

void sandbox_probe(struct findings *findings)
{
	probe_landlock(findings);
	probe_seccomp(findings);
}
