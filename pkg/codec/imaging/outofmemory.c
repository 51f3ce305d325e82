/* Wraps the allocator of the C library. When a decoder or an encoder fails, the
 * only reliable sign that it lacked memory is that an allocation, or the stack of a
 * thread, was refused: libraries report this in different ways, often not at all,
 * and sometimes as a damaged image.
 *
 * These functions replace the C library's for all libraries of the process. They
 * call glibc's own, by its internal names, or AddressSanitizer's.
 */

#define _GNU_SOURCE /* RTLD_NEXT */
#include "outofmemory.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define REAL(function) __interceptor_##function
#else
#define REAL(function) __libc_##function
#endif

extern void *REAL(malloc)(size_t);
extern void *REAL(calloc)(size_t, size_t);
extern void *REAL(realloc)(void *, size_t);
extern void *REAL(memalign)(size_t, size_t);

static gint refusals;
static gint left = -1; /* allocations until one is refused; -1 for never */
static gsize least_size;

gint
memory_refusals(void)
{
	return g_atomic_int_get(&refusals);
}

void
memory_refuse(gint after, gsize least)
{
	least_size = least;
	g_atomic_int_set(&left, after);
}

/* Not inlined: AddressSanitizer would instrument the variable in malloc, which is
 * called before the sanitizer has started.
 */
static G_NO_INLINE int
is_of_glib(const void *caller)
{
	Dl_info library;

	return dladdr(caller, &library) && strstr(library.dli_fname, "/libglib-");
}

/* GLib is never refused: it would abort the process. */
static int
refused_by_test(size_t size, const void *caller)
{
	if (G_LIKELY(g_atomic_int_get(&left) < 0) || size < least_size || is_of_glib(caller))
		return 0;
	return g_atomic_int_add(&left, -1) == 0;
}

static void *
watched(void *memory, size_t size)
{
	if (G_UNLIKELY(!memory) && size > 0)
		g_atomic_int_inc(&refusals);
	return memory;
}

static void *
refusal(void)
{
	errno = ENOMEM;
	g_atomic_int_inc(&refusals);
	return NULL;
}

void *
malloc(size_t size)
{
	return refused_by_test(size, __builtin_return_address(0)) ? refusal() : watched(REAL(malloc)(size), size);
}

void *
calloc(size_t n, size_t size)
{
	return refused_by_test(n * size, __builtin_return_address(0)) ? refusal() : watched(REAL(calloc)(n, size), n && size);
}

void *
realloc(void *memory, size_t size)
{
	return refused_by_test(size, __builtin_return_address(0)) ? refusal() : watched(REAL(realloc)(memory, size), size);
}

void *
memalign(size_t alignment, size_t size)
{
	return refused_by_test(size, __builtin_return_address(0)) ? refusal() : watched(REAL(memalign)(alignment, size), size);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int
posix_memalign(void **memory, size_t alignment, size_t size)
{
	void *aligned;

	if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0)
		return EINVAL;
	if (!(aligned = memalign(alignment, size)) && size > 0)
		return ENOMEM;
	*memory = aligned;

	return 0;
}

/* A thread fails to start if there is no memory for its stack. */
int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *data)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*) (void *), void *);
	int result;

	if (!g_atomic_pointer_get(&real))
		g_atomic_pointer_set(&real, dlsym(RTLD_NEXT, "pthread_create"));
	if ((result = real(thread, attributes, start, data)) != 0)
		g_atomic_int_inc(&refusals);
	return result;
}
