/* Encoding pixels that lie in memory: see encode.c. */

#ifndef OPTIMIZERD_IMAGING_ENCODE_H
#define OPTIMIZERD_IMAGING_ENCODE_H

#include <vips/vips.h>

/* Both take a picture in memory of 8-bit samples, and give a file in a buffer,
 * which is freed with g_free. They give 0, or -1 with a text in libvips' error
 * buffer.
 */

/* Lossy; sRGB, with or without alpha, not premultiplied. Effort 0 to 6. */
int encode_webp(VipsImage *in, int quality, int effort, void **buffer, size_t *length);

/* Progressive; grey or sRGB. Effort 0 or 1. */
int encode_jpeg(VipsImage *in, int quality, int effort, gboolean subsample, void **buffer, size_t *length);

#endif
