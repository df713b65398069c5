// Names, looked up by libuv's own threads.

#include "core/loop_private.h"

#include <errno.h>
#include <stdlib.h>

struct loop_lookup {
	uv_getaddrinfo_t uv;
	loop_lookup_fn on_answer; // NULL once cancelled
	void *owner;
	struct loop_lookup **slot; // the owner's pointer
};

// libuv's own codes back into the resolver's.
static int eai_of(int status)
{
	switch (status) {
	case 0:
		return 0;
	case UV_EAI_ADDRFAMILY:
		return EAI_ADDRFAMILY;
	case UV_EAI_AGAIN:
		return EAI_AGAIN;
	case UV_EAI_BADFLAGS:
		return EAI_BADFLAGS;
	case UV_EAI_FAMILY:
		return EAI_FAMILY;
	case UV_EAI_MEMORY:
		return EAI_MEMORY;
	case UV_EAI_NODATA:
		return EAI_NODATA;
	case UV_EAI_NONAME:
		return EAI_NONAME;
	case UV_EAI_SERVICE:
		return EAI_SERVICE;
	case UV_EAI_SOCKTYPE:
		return EAI_SOCKTYPE;
	default:
		return EAI_FAIL;
	}
}

static void on_lookup(uv_getaddrinfo_t *uv, int status, struct addrinfo *list)
{
	struct loop_lookup *lookup = uv->data;
	if (lookup->on_answer) {
		*lookup->slot = NULL;
		lookup->on_answer(lookup->owner, eai_of(status), list);
	}
	if (list)
		uv_freeaddrinfo(list);
	free(lookup);
}

// Syscalls: openat, fstat, newfstatat, read, lseek, close, socket, connect, bind, getsockname, sendto, sendmmsg,
// recvfrom, recvmsg, poll, ioctl, uname, getpid (the resolver, on a thread of libuv's)
int loop_lookup_start(struct loop *loop, const char *host, const char *service, const struct addrinfo *hints,
                      loop_lookup_fn on_answer, void *owner, struct loop_lookup **out)
{
	struct loop_lookup *lookup = calloc(1, sizeof *lookup);
	if (!lookup)
		return -ENOMEM;
	lookup->uv.data = lookup;
	lookup->on_answer = on_answer;
	lookup->owner = owner;
	lookup->slot = out;
	int r = uv_getaddrinfo(loop_uv(loop), &lookup->uv, on_lookup, host, service, hints);
	if (r < 0)
		free(lookup);
	else
		*out = lookup;
	return r;
}

void loop_lookup_cancel(struct loop_lookup **slot)
{
	struct loop_lookup *lookup = *slot;
	*slot = NULL;
	if (!lookup)
		return;
	lookup->on_answer = NULL;
	(void)uv_cancel((uv_req_t *)&lookup->uv); // one that runs already comes back unheard
}
