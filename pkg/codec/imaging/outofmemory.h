/* Whether memory ran out: see outofmemory.c. */

#ifndef OPTIMIZERD_IMAGING_OUTOFMEMORY_H
#define OPTIMIZERD_IMAGING_OUTOFMEMORY_H

#include <glib.h>

/* The number of allocations that were refused since the process started. */
gint memory_refusals(void);

/* For tests: lets that many allocations of at least that many bytes succeed and
 * refuses the next one; -1 refuses none. GLib's do not count.
 */
void memory_refuse(gint after, gsize least);

#endif
