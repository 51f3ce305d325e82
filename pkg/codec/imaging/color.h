/* Colors and alpha: see color.c. */

#ifndef OPTIMIZERD_IMAGING_COLOR_H
#define OPTIMIZERD_IMAGING_COLOR_H

#include <vips/vips.h>

/* Functions that return int return 0, or -1 with a message in libvips' error
 * buffer. The caller owns returned images and unrefs them.
 */

/* The identity operation. */
static inline int
color_pass(VipsImage *in, VipsImage **out)
{
	*out = in;
	g_object_ref(in);

	return 0;
}

int color_normalize(VipsImage *in, gboolean opaque, VipsImage **out);
int color_to_srgb(VipsImage *in, gboolean icc, VipsIntent intent, VipsImage **out);
gboolean color_is_srgb(VipsImage *in, gboolean icc);
int color_narrow(VipsImage *in, VipsImage **out);
int color_premultiply(VipsImage *in, VipsImage **out);
int color_unpremultiply(VipsImage *in, VipsImage **out);

#endif
