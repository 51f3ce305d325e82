/* Shrinking images: see resize.c. */

#ifndef OPTIMIZERD_IMAGING_RESIZE_H
#define OPTIMIZERD_IMAGING_RESIZE_H

#include <vips/vips.h>

/* Resizes each frame of an image of 8-bit samples, with any number of bands,
 * to width x height in memory and keeps the metadata. A streamed source is
 * read once, from top to bottom. Returns 0, or -1 with a message in libvips'
 * error buffer.
 */
int resize(VipsImage *in, int width, int height, VipsImage **out);

#endif
