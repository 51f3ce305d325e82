#include "floor.h"

int
floor_start(void)
{
	if (vips_init("floor"))
		return -1;
	vips_concurrency_set(1);
	vips_cache_set_max(0);

	return 0;
}

/* The width that the upright image has. */
int
floor_width(const char *path, int *width)
{
	VipsImage *image;

	if (!(image = vips_image_new_from_file(path, NULL)))
		return -1;
	*width = vips_image_get_orientation_swap(image) ? image->Ysize : image->Xsize;
	g_object_unref(image);

	return 0;
}

static int
to_memory(VipsImage *in, VipsImage **out)
{
	*out = vips_image_new_memory();
	if (vips_image_write(in, *out)) {
		VIPS_UNREF(*out);
		return -1;
	}

	return 0;
}

int
floor_decode(const char *path, int shrink)
{
	VipsImage *image, *pixels;
	int result;

	if (vips_jpegload(path, &image, "shrink", shrink,
			"access", VIPS_ACCESS_SEQUENTIAL, NULL))
		return -1;
	if (!(result = to_memory(image, &pixels)))
		g_object_unref(pixels);
	g_object_unref(image);

	return result;
}

/* The image at a width, upright, in memory. By its profile only where it has
 * one: without, vips_thumbnail would still shift the colors. libvips' savers
 * keep what the image carries, so it carries nothing.
 */
int
floor_pixels(const char *path, int width, VipsImage **out)
{
	VipsImage *header, *small;
	char **names, **name;
	gboolean profile;
	int result;

	if (!(header = vips_image_new_from_file(path, NULL)))
		return -1;
	profile = vips_image_get_typeof(header, VIPS_META_ICC_NAME) != 0;
	g_object_unref(header);

	result = profile
		? vips_thumbnail(path, &small, width, "height", VIPS_MAX_COORD,
			  "export_profile", "srgb", NULL)
		: vips_thumbnail(path, &small, width, "height", VIPS_MAX_COORD, NULL);
	if (result)
		return -1;
	result = to_memory(small, out);
	g_object_unref(small);
	if (result)
		return -1;

	names = vips_image_get_fields(*out);
	for (name = names; *name; name++)
		vips_image_remove(*out, *name);
	g_strfreev(names);

	return 0;
}

/* The buffer is freed with g_free. */
int
floor_encode(VipsImage *pixels, FloorFormat format, int quality, int effort,
	void **buffer, size_t *length)
{
	switch (format) {
	case FLOOR_JPEG:
		return vips_jpegsave_buffer(pixels, buffer, length, "Q", quality, "strip", TRUE,
			"interlace", TRUE, "optimize_coding", TRUE,
			"subsample_mode", VIPS_FOREIGN_SUBSAMPLE_ON, NULL);
	case FLOOR_WEBP:
		return vips_webpsave_buffer(pixels, buffer, length, "Q", quality, "strip", TRUE,
			"effort", effort, NULL);
	case FLOOR_AVIF:
		return vips_heifsave_buffer(pixels, buffer, length, "Q", quality, "strip", TRUE,
			"compression", VIPS_FOREIGN_HEIF_COMPRESSION_AV1, "effort", effort,
			"bitdepth", 8, "subsample_mode", VIPS_FOREIGN_SUBSAMPLE_ON, NULL);
	}
	vips_error("floor", "no format %d", format);
	return -1;
}
