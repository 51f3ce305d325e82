/* Checks whether encoded files show the rung that they were made from. Only as
 * much is decoded as that needs: see
 * docs/decisions/0026-look-before-publishing.md.
 */

#include "look.h"

#include <libheif/heif.h>
#include <webp/decode.h>

/* Sums rows of interleaved samples; one loop for each number of bands, since
 * compilers vectorize those.
 */
static void
add_row(const uint8_t *p, int width, int bands, guint64 sum[4])
{
	guint32 a = 0, b = 0, c = 0, d = 0;
	int x;

	switch (bands) {
	case 1:
		for (x = 0; x < width; x++)
			a += p[x];
		b = c = a;
		break;
	case 3:
		for (x = 0; x < width; x++) {
			a += p[3 * x];
			b += p[3 * x + 1];
			c += p[3 * x + 2];
		}
		break;
	default:
		for (x = 0; x < width; x++) {
			a += p[4 * x];
			b += p[4 * x + 1];
			c += p[4 * x + 2];
			d += p[4 * x + 3];
		}
	}
	sum[0] += a;
	sum[1] += b;
	sum[2] += c;
	sum[3] += bands == 4 ? d : (guint64) 255 * width;
}

static void
mean_of(const guint64 sum[4], const Part *part, double mean[4])
{
	int i;

	for (i = 0; i < 4; i++)
		mean[i] = (double) sum[i] / ((double) part->width * part->height);
}

void
look_rung(VipsImage *rung, const Part *part, double mean[4])
{
	guint64 sum[4] = { 0 };
	int y;

	for (y = 0; y < part->height; y++)
		add_row(VIPS_IMAGE_ADDR(rung, part->left, part->top + y), part->width, rung->Bands, sum);
	mean_of(sum, part, mean);
}

int
look_webp(const void *file, size_t length, const Part *part, int *width, int *height, double mean[4])
{
	WebPDecoderConfig config;
	VP8StatusCode status;
	guint64 sum[4] = { 0 };
	int bands, y;

	if (!WebPInitDecoderConfig(&config)) {
		vips_error("webp", "libwebp differs from the version at build time");
		return -1;
	}
	if ((status = WebPGetFeatures(file, length, &config.input)) != VP8_STATUS_OK) {
		vips_error("webp", "header: status %d", status);
		return -1;
	}
	*width = config.input.width;
	*height = config.input.height;
	if (part->width == 0 || part->height == 0)
		return 0;

	bands = config.input.has_alpha ? 4 : 3;
	config.options.use_cropping = 1;
	config.options.crop_left = part->left;
	config.options.crop_top = part->top;
	config.options.crop_width = part->width;
	config.options.crop_height = part->height;
	config.output.colorspace = bands == 4 ? MODE_rgbA : MODE_RGB;
	if ((status = WebPDecode(file, length, &config)) != VP8_STATUS_OK) {
		WebPFreeDecBuffer(&config.output);
		vips_error("webp", "pixels: status %d", status);
		return -1;
	}
	for (y = 0; y < part->height; y++)
		add_row(config.output.u.RGBA.rgba + (size_t) y * config.output.u.RGBA.stride, part->width, bands, sum);
	WebPFreeDecBuffer(&config.output);
	mean_of(sum, part, mean);

	return 0;
}

/* Sums RGBA that is not premultiplied, as if it were. */
static void
add_straight_row(const uint8_t *p, int width, guint64 sum[4])
{
	const uint8_t *end = p + 4 * (size_t) width;
	int i;

	for (; p < end; p += 4) {
		for (i = 0; i < 3; i++)
			sum[i] += (p[i] * p[3] + 127) / 255;
		sum[3] += p[3];
	}
}

static struct heif_error
look_primary(struct heif_context *context, const Part *part, int *width, int *height, double mean[4])
{
	struct heif_image_handle *handle = NULL;
	struct heif_image *image = NULL;
	struct heif_error error = heif_context_get_primary_image_handle(context, &handle);
	guint64 sum[4] = { 0 };
	const uint8_t *pixels;
	gboolean alpha;
	int stride, y;

	if (error.code)
		return error;
	*width = heif_image_handle_get_width(handle);
	*height = heif_image_handle_get_height(handle);
	alpha = heif_image_handle_has_alpha_channel(handle);
	if (part->width > 0 && part->height > 0 &&
		part->left + part->width <= *width && part->top + part->height <= *height) {
		error = heif_decode_image(handle, &image, heif_colorspace_RGB,
			alpha ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB, NULL);
		if (!error.code) {
			pixels = heif_image_get_plane_readonly(image, heif_channel_interleaved, &stride);
			pixels += (size_t) part->top * stride + (size_t) part->left * (alpha ? 4 : 3);
			for (y = 0; y < part->height; y++, pixels += stride)
				if (alpha)
					add_straight_row(pixels, part->width, sum);
				else
					add_row(pixels, part->width, 3, sum);
			mean_of(sum, part, mean);
			heif_image_release(image);
		}
	}
	heif_image_handle_release(handle);

	return error;
}

int
look_avif(const void *file, size_t length, const Part *part, int *width, int *height, double mean[4])
{
	struct heif_context *context = heif_context_alloc();
	struct heif_error error = heif_context_read_from_memory_without_copy(context, file, length, NULL);

	if (!error.code)
		error = look_primary(context, part, width, height, mean);
	if (error.code)
		vips_error("avif", "%s", error.message);
	heif_context_free(context);

	return error.code ? -1 : 0;
}
