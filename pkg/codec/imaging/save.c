/* From a rung to the bytes of a file. */

#include "color.h"
#include "encode.h"
#include "kernel.h"
#include "rung.h"

static int
first_frame(VipsImage *in, VipsImage **out)
{
	if (vips_image_get_page_height(in) == in->Ysize)
		return color_pass(in, out);
	return vips_extract_area(in, out, 0, 0, in->Xsize, vips_image_get_page_height(in), NULL);
}

static int
flatten(VipsImage *in, const double background[3], VipsImage **out)
{
	VipsArrayDouble *color;
	int result;

	if (!vips_image_hasalpha(in))
		return color_pass(in, out);
	color = vips_array_double_new(background, 3);
	result = vips_flatten(in, out, "background", color, NULL);
	vips_area_unref(VIPS_AREA(color));

	return result;
}

static int
as_rgb(VipsImage *in, VipsImage **out)
{
	if (in->Bands > 1)
		return color_pass(in, out);

	return vips_colourspace(in, out, VIPS_INTERPRETATION_sRGB, NULL);
}

/* One at a time: two libaom encoders started together at effort 4 occasionally
 * produce an empty image or crash (libaom 3.6.0). Each has its own threads.
 */
static int
save_avif(VipsImage *in, const KernelEncoding *e, void **buffer, size_t *length)
{
	static GMutex alone;
	int result;

	g_mutex_lock(&alone);
	result = vips_heifsave_buffer(in, buffer, length, "Q", e->quality, "strip", TRUE,
		"compression", VIPS_FOREIGN_HEIF_COMPRESSION_AV1, "effort", e->effort, "bitdepth", 8,
		"subsample_mode", e->subsample ? VIPS_FOREIGN_SUBSAMPLE_ON : VIPS_FOREIGN_SUBSAMPLE_OFF,
		NULL);
	g_mutex_unlock(&alone);

	return result;
}

/* "strip" is the old name of "keep none", which libvips still accepts. Images
 * have no metadata left, but encoders would write their own EXIF block; the
 * one for WebP does so in 8.14.1 anyway.
 */
static int
save(VipsImage *in, const KernelEncoding *e, void **buffer, size_t *length)
{
	switch (e->saver) {
	case KERNEL_TO_JPEG:
		return encode_jpeg(in, e->quality, e->effort, e->subsample, buffer, length);
	case KERNEL_TO_WEBP:
		if (vips_image_get_page_height(in) < in->Ysize)
			return vips_webpsave_buffer(in, buffer, length, "Q", e->quality, "strip", TRUE,
				"effort", e->effort, "lossless", e->lossless, "mixed", !e->lossless, NULL);
		return encode_webp(in, e->quality, e->effort, buffer, length);
	case KERNEL_TO_AVIF:
		return save_avif(in, e, buffer, length);
	}
	vips_error("kernel", "no saver %d", e->saver);
	return -1;
}

/* Prepares a rung for an encoder: no frames it cannot hold, straight alpha or
 * composited on a color, and RGB for WebP. The result is in memory, or
 * consists of rows of the rung that is.
 */
static int
prepare(VipsImage *in, const KernelEncoding *encoding, VipsImage **out)
{
	VipsImage *scope = vips_image_new();
	VipsImage **t = (VipsImage **) vips_object_local_array(VIPS_OBJECT(scope), 2);
	int result = -1;

	switch (encoding->saver) {
	case KERNEL_TO_JPEG:
		if (first_frame(in, &t[0]) || color_unpremultiply(t[0], &t[1]))
			goto done;
		result = flatten(t[1], encoding->background, out);
		break;
	case KERNEL_TO_WEBP:
		if (color_unpremultiply(in, &t[0]))
			goto done;
		result = as_rgb(t[0], out);
		break;
	case KERNEL_TO_AVIF:
		if (first_frame(in, &t[0]))
			goto done;
		result = color_unpremultiply(t[0], out);
		break;
	}

done:
	g_object_unref(scope);
	return result;
}

/* Encodes a rung into a buffer; free it with g_free. */
int
kernel_encode(VipsImage *in, const KernelEncoding *encoding, void **buffer, size_t *length)
{
	VipsImage *prepared, *memory;
	int result;

	if (prepare(in, encoding, &prepared))
		return -1;
	memory = vips_image_copy_memory(prepared);
	g_object_unref(prepared);
	if (!memory)
		return -1;
	result = save(memory, encoding, buffer, length);
	g_object_unref(memory);

	return result;
}

/* Returns the first frame of a rung, shrunk, as straight RGBA in memory. */
int
kernel_rgba(VipsImage *in, int width, int height, VipsImage **out)
{
	VipsImage *scope = vips_image_new();
	VipsImage **t = (VipsImage **) vips_object_local_array(VIPS_OBJECT(scope), 5);
	int result = -1;

	if (first_frame(in, &t[0]) ||
		kernel_shrink(t[0], width, height, &t[1]) ||
		color_unpremultiply(t[1], &t[2]) ||
		vips_colourspace(t[2], &t[3], VIPS_INTERPRETATION_sRGB, NULL))
		goto done;
	if (vips_image_hasalpha(t[3])) {
		result = rung_to_memory(t[3], height, out);
		goto done;
	}
	if (vips_addalpha(t[3], &t[4], NULL))
		goto done;
	result = rung_to_memory(t[4], height, out);

done:
	g_object_unref(scope);
	return result;
}
