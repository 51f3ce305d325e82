/* Colours by a profile of three primaries and three curves: see shaper.c. */

#ifndef OPTIMIZERD_IMAGING_SHAPER_H
#define OPTIMIZERD_IMAGING_SHAPER_H

#include <stdint.h>
#include <vips/vips.h>

#define SHAPER_ONE 16384 /* 1, in whole numbers */

typedef struct {
	int32_t linear[3][256]; /* the linear light of each value of a band, 0 to 1 */
	int32_t matrix[3][3];   /* from its primaries to those of sRGB */
} Shaper;

/* Once, before any other call. */
void shaper_start(void);

/* Converts a picture in memory to sRGB, in place; three bands of 8 bits. */
void shaper_apply(const Shaper *shaper, VipsImage *image);

#endif
