/* Rungs: decoded and shrunk into memory. See kernel.h for the functions, and
 * kernel.c for the form of a rung.
 */

#include "rung.h"

#include "color.h"
#include "kernel.h"
#include "resize.h"

#include <string.h>

/* Removes all metadata except the timing of an animation, so that no encoder
 * can write any.
 */
static void
remove_metadata(VipsImage *image)
{
	char **names = vips_image_get_fields(image);
	char **name;

	for (name = names; *name; name++)
		if (strcmp(*name, "delay") != 0 && strcmp(*name, "loop") != 0)
			vips_image_remove(image, *name);
	g_strfreev(names);
}

/* Turns an in-memory image with a rung's pixels into a rung. */
static void
become_rung(VipsImage *memory, int frame_height)
{
	remove_metadata(memory);
	if (memory->Ysize > frame_height)
		vips_image_set_int(memory, VIPS_META_PAGE_HEIGHT, frame_height);
}

int
rung_to_memory(VipsImage *in, int frame_height, VipsImage **out)
{
	VipsImage *memory = vips_image_new_memory();

	if (vips_image_write(in, memory)) {
		g_object_unref(memory);
		return -1;
	}
	become_rung(memory, frame_height);
	*out = memory;

	return 0;
}

/* Resizes an image of 8-bit samples into memory. For large factors, whole
 * blocks of pixels are averaged first, so that the filter needs only a few
 * rows at a time.
 */
static int
shrink(VipsImage *in, int width, int height, VipsImage **out)
{
	VipsImage *blocks;
	int across = in->Xsize / (2 * width);
	int down = in->Ysize / (2 * height);
	int result;

	if (vips_image_get_page_height(in) < in->Ysize || (across < 2 && down < 2))
		return resize(in, width, height, out);
	if (vips_shrink(in, &blocks, VIPS_MAX(1, across), VIPS_MAX(1, down), NULL))
		return -1;
	result = resize(blocks, width, height, out);
	g_object_unref(blocks);

	return result;
}

/* Makes a rung of width x height from a larger one, or from a stream of the
 * same pixels.
 */
int
kernel_shrink(VipsImage *in, int width, int height, VipsImage **out)
{
	if (in->Xsize == width && vips_image_get_page_height(in) == height)
		return rung_to_memory(in, height, out);
	if (shrink(in, width, height, out))
		return -1;
	become_rung(*out, height);

	return 0;
}

/* Rotates a rung by an EXIF orientation. */
int
kernel_upright(VipsImage *rung, int orientation, VipsImage **out)
{
	VipsImage *turned;
	int result;

	vips_image_set_int(rung, VIPS_META_ORIENTATION, orientation);
	if (vips_autorot(rung, &turned, NULL))
		return -1;
	result = rung_to_memory(turned, turned->Ysize, out);
	g_object_unref(turned);

	return result;
}

/* Drops an alpha channel without transparent pixels. */
static int
drop_opaque_alpha(VipsImage *in, VipsImage **out)
{
	VipsImage *scope = vips_image_new();
	VipsImage **t = (VipsImage **) vips_object_local_array(VIPS_OBJECT(scope), 2);
	int last = in->Bands - 1;
	double least;
	int result = -1;

	if (vips_extract_band(in, &t[0], last, NULL) ||
		vips_min(t[0], &least, NULL))
		goto done;
	if (least < 255) {
		result = color_pass(in, out);
		goto done;
	}
	if (vips_extract_band(in, &t[1], 0, "n", last, NULL))
		goto done;
	result = rung_to_memory(t[1], vips_image_get_page_height(in), out);

done:
	g_object_unref(scope);
	return result;
}

/* Decodes an opened image into the top rung, in stored orientation. Colors are
 * converted after shrinking, when there are fewer pixels, except where converting
 * deeper samples as 8 bits would cause banding and they are not premultiplied yet.
 */
int
kernel_decode(VipsImage *in, const KernelTop *top, VipsImage **out)
{
	VipsImage *scope = vips_image_new();
	VipsImage **t = (VipsImage **) vips_object_local_array(VIPS_OBJECT(scope), 7);
	gboolean icc = top->icc;
	gboolean shaped;
	int result = -1;

	if (color_normalize(in, top->opaque, &t[0]))
		goto done;
	if (t[0]->BandFmt == VIPS_FORMAT_UCHAR) {
		color_pass(t[0], &t[1]);
	}
	else if (t[0]->BandFmt == VIPS_FORMAT_USHORT && (!icc || top->multiplied)) {
		if (color_narrow(t[0], &t[1]))
			goto done;
	}
	else {
		if (color_to_srgb(t[0], icc, top->intent, &t[1]))
			goto done;
		icc = FALSE;
	}
	if (top->multiplied ? color_pass(t[1], &t[2]) : color_premultiply(t[1], &t[2]))
		goto done;
	shaped = icc && top->shaped && t[2]->Bands == 3 && t[2]->Type == VIPS_INTERPRETATION_sRGB;
	if (shaped || color_is_srgb(t[2], icc)) {
		if (kernel_shrink(t[2], top->width, top->height, out))
			goto done;
		if (shaped)
			shaper_apply(&top->shaper, *out);
		result = 0;
		goto done;
	}
	if (shrink(t[2], top->width, top->height, &t[3]) ||
		color_unpremultiply(t[3], &t[4]) ||
		color_to_srgb(t[4], icc, top->intent, &t[5]) ||
		color_premultiply(t[5], &t[6]))
		goto done;
	result = rung_to_memory(t[6], top->height, out);

done:
	g_object_unref(scope);
	return result;
}

/* The last step to the top rung: drops a fully opaque alpha channel. */
int
kernel_finish(VipsImage *rung, VipsImage **out)
{
	if (!vips_image_hasalpha(rung))
		return color_pass(rung, out);
	return drop_opaque_alpha(rung, out);
}
