// The exchange through a folder: NAME.csr, then NAME.crt or NAME.refused.

#include "core/log.h"
#include "node/renewer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// For file systems of which the kernel says nothing when another machine writes.
#define DROP_LOOK_MS 2000
// How soon after a change it looks.
#define DROP_SOON_MS 50
// So long a request may be gone without an answer, before it is asked again.
#define DROP_MISSING_MS 30000

static const char *name_of(const struct renewer *renewer)
{
	return renewer->settings.name;
}

static void clean(struct renewer *renewer)
{
	static const char *const endings[] = {".csr", ".crt", ".refused"};
	char ignored[DROP_PROBLEM_BYTES];

	for (size_t i = 0; i < COUNT_OF(endings); i++)
		(void)!drop_remove(renewer->drop, name_of(renewer), endings[i], ignored);
}

// Hostile: whoever may write in the folder can lay down what is no answer; it is taken away, and the wait goes on.
static bool take_answer(struct renewer *renewer, struct drop_text *text)
{
	char problem[RENEWAL_PROBLEM_BYTES], ignored[DROP_PROBLEM_BYTES];
	int r = drop_read(renewer->drop, name_of(renewer), ".crt", text, problem);

	if (r == DROP_ABSENT)
		return false;
	if (r == 0)
		r = renewal_take(&renewer->settings.files, text->bytes, text->length, problem);
	if (r == 0) {
		clean(renewer);
		renewer_done(renewer);
		return true;
	}
	(void)!drop_remove(renewer->drop, name_of(renewer), ".crt", ignored);
	if (renewer->state == RENEWER_ASKING && !renewer->has_said_bad)
		log_warn("renewer", "%s.crt is no answer to our request and is removed: %s", name_of(renewer),
		         r < 0 ? outcome_text(r) : problem);
	renewer->has_said_bad = renewer->state == RENEWER_ASKING;
	return false;
}

static bool take_refusal(struct renewer *renewer, struct drop_text *text)
{
	char problem[DROP_PROBLEM_BYTES], why[DROP_PROBLEM_BYTES];

	if (drop_read(renewer->drop, name_of(renewer), ".refused", text, problem) != 0)
		return false;
	text->bytes[strcspn(text->bytes, "\n")] = 0;
	snprintf(why, sizeof why, "the CA refuses: %.400s", text->bytes);
	clean(renewer);
	renewer_failed(renewer, why);
	return true;
}

// A CA takes the request away before it answers; one that crashes in between leaves neither.
static void look_for_request(struct renewer *renewer, struct drop_text *text)
{
	char ignored[DROP_PROBLEM_BYTES];
	uint64_t now = loop_now_ms(renewer->loop);

	if (drop_read(renewer->drop, name_of(renewer), ".csr", text, ignored) != DROP_ABSENT) {
		renewer->missing_since_ms = 0;
		return;
	}
	if (renewer->missing_since_ms == 0)
		renewer->missing_since_ms = now;
	if (now - renewer->missing_since_ms >= DROP_MISSING_MS)
		renewer_failed(renewer, "the request was taken out of the drop folder, and nothing came back");
}

void renewer_drop_look(struct renewer *renewer)
{
	renewer->looks_soon = false;
	struct drop_text *text = malloc(sizeof *text);

	if (text && !take_answer(renewer, text) && !take_refusal(renewer, text))
		look_for_request(renewer, text);
	free(text);
}

// Hostile: whoever writes there without end costs a look now and then.
static void on_change(void *owner)
{
	struct renewer *renewer = owner;
	if (renewer->state != RENEWER_ASKING || renewer->looks_soon)
		return;
	renewer->looks_soon = true;
	loop_timer_arm(renewer->timer, DROP_SOON_MS, DROP_LOOK_MS);
}

static int lay_down(struct renewer *renewer, char problem[RENEWAL_PROBLEM_BYTES])
{
	char *text = NULL;
	int r = renewal_ask(&renewer->settings.files, &text, problem);

	if (r == 0)
		r = drop_write(renewer->drop, name_of(renewer), ".csr", (struct drop_content){text, strlen(text)}, problem);
	free(text);
	return r;
}

void renewer_drop_start(struct renewer *renewer)
{
	char problem[RENEWAL_PROBLEM_BYTES] = "";
	struct drop_text *text = malloc(sizeof *text);
	int r = text ? drop_open(renewer->settings.folder, &renewer->drop, problem) : -1;

	// An answer to an earlier request, before a restart perhaps, is as good as a new one.
	if (r == 0 && take_answer(renewer, text)) {
		free(text);
		return;
	}
	free(text);
	if (r == 0) {
		clean(renewer);
		r = lay_down(renewer, problem);
	}
	if (r != 0) {
		renewer_failed(renewer, r < 0 ? "out of memory" : problem);
		return;
	}
	log_info("renewer", "asked for a renewal of our certificate: %s.csr in %s", name_of(renewer),
	         renewer->settings.folder);
	renewer->missing_since_ms = 0;
	renewer->has_said_bad = false;
	renewer_enter(renewer, RENEWER_ASKING, 0);
	renewer->looks_soon = false;
	if (loop_watch_open(renewer->loop, on_change, renewer, &renewer->watch) == 0)
		(void)!loop_watch_add(renewer->watch, renewer->settings.folder);
	loop_timer_arm(renewer->timer, 0, DROP_LOOK_MS);
}

void renewer_drop_stop(struct renewer *renewer)
{
	loop_watch_close(&renewer->watch);
	drop_close(&renewer->drop);
}
