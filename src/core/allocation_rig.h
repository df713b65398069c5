// Counts what a test program allocates. For one file of the program: it takes malloc's place there, which the
// sanitizers that have an allocator of their own do not allow. A test that needs it begins with SKIP_UNLESS_COUNTED.

#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static _Atomic unsigned long allocations;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

#define SKIP_UNLESS_COUNTED()                                                  \
	do {                                                                       \
		print_message("skipped: the sanitizer has an allocator of its own\n"); \
		skip();                                                                \
	} while (0)

#else

#define SKIP_UNLESS_COUNTED() ((void)0)

// glibc's own, under the names it keeps for this purpose.
void *libc_malloc(size_t size) __asm__("__libc_malloc");
void *libc_calloc(size_t count, size_t size) __asm__("__libc_calloc");
void *libc_realloc(void *old, size_t size) __asm__("__libc_realloc");
void *libc_memalign(size_t alignment, size_t size) __asm__("__libc_memalign");

void *malloc(size_t size)
{
	atomic_fetch_add(&allocations, 1);
	return libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	atomic_fetch_add(&allocations, 1);
	return libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	atomic_fetch_add(&allocations, 1);
	return libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	atomic_fetch_add(&allocations, 1);
	return libc_memalign(alignment, size);
}

#endif
