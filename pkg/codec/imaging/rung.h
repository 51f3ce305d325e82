/* Rungs: see rung.c. */

#ifndef OPTIMIZERD_IMAGING_RUNG_H
#define OPTIMIZERD_IMAGING_RUNG_H

#include <vips/vips.h>

/* Computes an image of the given frame height into memory, without metadata except
 * the timing of an animation. Returns 0, or -1 with a message in libvips' error
 * buffer.
 */
int rung_to_memory(VipsImage *in, int frame_height, VipsImage **out);

#endif
