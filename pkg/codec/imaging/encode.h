/* Encoders for pixels in memory: see encode.c. */

#ifndef OPTIMIZERD_IMAGING_ENCODE_H
#define OPTIMIZERD_IMAGING_ENCODE_H

#include <vips/vips.h>

/* Both encode an in-memory image of 8-bit samples into a buffer, which the
 * caller frees with g_free. They return 0, or -1 with a message in libvips'
 * error buffer.
 */

/* Lossy WebP; sRGB, with or without straight alpha. Effort 0 to 6. */
int encode_webp(VipsImage *in, int quality, int effort, void **buffer, size_t *length);

/* Progressive JPEG; gray or sRGB. Effort 0 or 1. */
int encode_jpeg(VipsImage *in, int quality, int effort, gboolean subsample, void **buffer, size_t *length);

#endif
