/* Color conversion with a profile of three primaries and three curves, the
 * kind in photos from phones. lcms, which handles all others, took a twentieth
 * of the ladder of such a photo for the same pixels, up to 1 of 255.
 */

#include "shaper.h"

#include <math.h>

/* Maps linear light to 8 bits of sRGB. */
static uint8_t encoded[SHAPER_ONE + 1];

void
shaper_start(void)
{
	int i;

	for (i = 0; i <= SHAPER_ONE; i++) {
		double linear = (double) i / SHAPER_ONE;
		double value = linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055;

		encoded[i] = (uint8_t) (255 * value + 0.5);
	}
}

static inline uint8_t
encode(const int32_t row[3], int32_t r, int32_t g, int32_t b)
{
	int32_t linear = (row[0] * r + row[1] * g + row[2] * b + SHAPER_ONE / 2) / SHAPER_ONE;

	return encoded[VIPS_CLIP(0, linear, SHAPER_ONE)];
}

void
shaper_apply(const Shaper *shaper, VipsImage *image)
{
	uint8_t *p = VIPS_IMAGE_ADDR(image, 0, 0);
	uint8_t *end = p + VIPS_IMAGE_SIZEOF_IMAGE(image);

	for (; p < end; p += 3) {
		int32_t r = shaper->linear[0][p[0]];
		int32_t g = shaper->linear[1][p[1]];
		int32_t b = shaper->linear[2][p[2]];

		p[0] = encode(shaper->matrix[0], r, g, b);
		p[1] = encode(shaper->matrix[1], r, g, b);
		p[2] = encode(shaper->matrix[2], r, g, b);
	}
}
