/* Color conversion with matrix profiles: see shaper.c. */

#ifndef OPTIMIZERD_IMAGING_SHAPER_H
#define OPTIMIZERD_IMAGING_SHAPER_H

#include <stdint.h>
#include <vips/vips.h>

#define SHAPER_ONE 16384 /* 1.0 in fixed point */

typedef struct {
	int32_t linear[3][256]; /* linear light of each value of a band, 0 to 1 */
	int32_t matrix[3][3];   /* from the profile's primaries to sRGB's */
} Shaper;

/* Must be called once before any other function. */
void shaper_start(void);

/* Converts an in-memory image to sRGB in place; three bands of 8 bits. */
void shaper_apply(const Shaper *shaper, VipsImage *image);

#endif
