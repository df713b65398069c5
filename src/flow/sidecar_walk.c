#include "flow/sidecar_walk.h"

#include "flow/sidecar_internal.h"

void sidecar_walk_begin(struct sidecars *all)
{
	struct sidecar_walk *walk = &all->judged;
	if (walk->is_on)
		walk->is_again = true;
	else
		*walk = (struct sidecar_walk){.next = all->joined.oldest, .is_on = true};
}

struct sidecar *sidecar_walk_step(struct sidecars *all)
{
	struct sidecar_walk *walk = &all->judged;
	if (!walk->next && walk->is_again)
		*walk = (struct sidecar_walk){.next = all->joined.oldest, .is_on = true};
	struct sidecar *found = walk->next;
	walk->next = found ? found->newer : NULL;
	walk->is_on = found;
	return found;
}
