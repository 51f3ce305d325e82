/* The stack of a thread counts toward the memory limit as a whole, used or not. */

#define _GNU_SOURCE

#include <pthread.h>

/* What libvips takes for the least. */
#define STACK_SIZE (2 << 20)

/* Before main, since Go's threads are to have such stacks, too. A failure leaves
 * the system's default, of 8 MiB.
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
