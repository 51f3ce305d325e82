/* The complete stack of a thread counts toward the memory limit, used or not. */

#define _GNU_SOURCE

#include <pthread.h>

/* The minimum accepted by libvips. */
#define STACK_SIZE (2 << 20)

/* Runs before main, so that it applies to Go's threads, too. A failure leaves the
 * system's default of 8 MiB.
 */
__attribute__((constructor)) static void
limit_stacks(void)
{
	pthread_attr_t attr;
	size_t size;

	if (pthread_getattr_default_np(&attr))
		return;
	if (!pthread_attr_getstacksize(&attr, &size) && size > STACK_SIZE &&
		!pthread_attr_setstacksize(&attr, STACK_SIZE))
		pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
}
