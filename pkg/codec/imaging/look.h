/* Checks of encoded files: see look.c. */

#ifndef OPTIMIZERD_IMAGING_LOOK_H
#define OPTIMIZERD_IMAGING_LOOK_H

#include <vips/vips.h>

typedef struct {
	int left;
	int top;
	int width;
	int height;
} Part;

/* The mean color and alpha of a part of an in-memory rung, 0 to 255, as it is:
 * premultiplied.
 */
void look_rung(VipsImage *rung, const Part *part, double mean[4]);

/* The same for a still WebP and an AVIF in memory, and their size. They return
 * 0, or -1 with a message in libvips' error buffer. A part without pixels is
 * not decoded. A WebP is decoded only down to the end of the part, an AVIF completely.
 */
int look_webp(const void *file, size_t length, const Part *part, int *width, int *height, double mean[4]);
int look_avif(const void *file, size_t length, const Part *part, int *width, int *height, double mean[4]);

#endif
