/* Frames decoded in Go arrive as pixels, one at a time, and are shrunk into the
 * top rung of the animation.
 */

#include "frames.h"
#include "kernel.h"

#include <string.h>

int
frames_new(int width, int height, int frames, VipsImage **out)
{
	VipsImage *image = vips_image_new_memory();

	vips_image_init_fields(image, width, height * frames, 4,
		VIPS_FORMAT_UCHAR, VIPS_CODING_NONE, VIPS_INTERPRETATION_sRGB, 1, 1);
	if (vips_image_pipelinev(image, VIPS_DEMAND_STYLE_ANY, NULL) ||
		vips_image_write_prepare(image)) {
		g_object_unref(image);
		return -1;
	}
	vips_image_set_int(image, VIPS_META_PAGE_HEIGHT, height);
	*out = image;

	return 0;
}

int
frames_set(VipsImage *frames, int frame, void *pixels, int width, int height)
{
	int frame_height = vips_image_get_page_height(frames);
	size_t length = VIPS_IMAGE_SIZEOF_LINE(frames) * (size_t) frame_height;
	VipsPel *to = VIPS_IMAGE_ADDR(frames, 0, 0) + frame * length;
	VipsImage *canvas, *small;

	if (width == frames->Xsize && height == frame_height) {
		memcpy(to, pixels, length);
		return 0;
	}
	if (!(canvas = vips_image_new_from_memory(pixels, (size_t) width * height * 4,
			  width, height, 4, VIPS_FORMAT_UCHAR)))
		return -1;
	canvas->Type = VIPS_INTERPRETATION_sRGB;
	if (kernel_shrink(canvas, frames->Xsize, frame_height, &small)) {
		g_object_unref(canvas);
		return -1;
	}
	memcpy(to, VIPS_IMAGE_ADDR(small, 0, 0), length);
	g_object_unref(small);
	g_object_unref(canvas);

	return 0;
}

int
frames_finish(VipsImage *frames, int height, const int *delays, int loop, VipsImage **out)
{
	int count = frames->Ysize / height;

	if (count > 1) {
		vips_image_set_array_int(frames, "delay", delays, count);
		vips_image_set_int(frames, "loop", loop);
	}
	return kernel_finish(frames, out);
}
