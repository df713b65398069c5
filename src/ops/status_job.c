#include "ops/status_job.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct status_job {
	struct loop_task task;
	struct loop *loop;
	status_fn fill;
	void *owner;
	status_job_fn on_done; // NULL once it is cancelled, its thread joined
	void *to;
	pthread_t thread;
	char *text;
};

static void on_finished(struct loop_task *task)
{
	struct status_job *job = CONTAINER_OF(task, struct status_job, task);
	if (job->on_done) {
		pthread_join(job->thread, NULL);
		job->on_done(job->to, job->text);
	} else {
		free(job->text);
	}
	free(job);
}

static void *run(void *argument)
{
	struct status_job *job = argument;
	struct status_node status = {0};
	job->fill(job->owner, &status);
	job->text = status_encode(&status);
	loop_post(job->loop, &job->task);
	return NULL;
}

int status_job_start(struct loop *loop, status_fn fill, void *owner, status_job_fn on_done, void *to,
                     struct status_job **out)
{
	struct status_job *job = calloc(1, sizeof *job);
	sigset_t all, old;
	if (!job)
		return -ENOMEM;
	*job = (struct status_job){
		.task = {.run = on_finished}, .loop = loop, .fill = fill, .owner = owner, .on_done = on_done, .to = to};
	// Signals are worker 0's.
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	// Syscalls: clone3, rseq, set_robust_list, rt_sigprocmask, madvise, exit
	int r = pthread_create(&job->thread, NULL, run, job);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0) {
		free(job);
		return -r;
	}
	*out = job;
	return 0;
}

void status_job_cancel(struct status_job **slot)
{
	struct status_job *job = *slot;
	*slot = NULL;
	if (!job)
		return;
	pthread_join(job->thread, NULL);
	// What it has posted frees it.
	job->on_done = NULL;
}
