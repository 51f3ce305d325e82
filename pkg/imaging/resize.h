/* Making a picture smaller: see resize.c. */

#ifndef OPTIMIZERD_IMAGING_RESIZE_H
#define OPTIMIZERD_IMAGING_RESIZE_H

#include <vips/vips.h>

/* Resizes each frame of a picture of 8-bit samples, in any number of bands, to
 * width x height, into memory; the metadata stay. A source that is decoded as
 * it is read is read once, from top to bottom. Gives 0, or -1 with a text in
 * libvips' error buffer.
 */
int resize(VipsImage *in, int width, int height, VipsImage **out);

#endif
