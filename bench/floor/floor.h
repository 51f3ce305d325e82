/* The parts of a ladder that nothing can leave out, one by one. Functions that
 * return int give 0, or -1 with a text in libvips' error buffer.
 */
#include <vips/vips.h>

typedef enum {
	FLOOR_JPEG,
	FLOOR_WEBP,
	FLOOR_AVIF,
} FloorFormat;

int floor_start(void);
int floor_width(const char *path, int *width);
int floor_decode(const char *path, int shrink);
int floor_pixels(const char *path, int width, VipsImage **out);
int floor_encode(VipsImage *pixels, FloorFormat format, int quality, int effort,
	void **buffer, size_t *length);
