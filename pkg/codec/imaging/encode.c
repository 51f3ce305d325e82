/* The two encoders of the default ladder, called without libvips: its savers
 * pass each row to another thread and copy the image, which suits images that
 * are computed while they are saved. Rungs are in memory. A WebP is identical
 * to that of libvips except for metadata; a JPEG has other quantization tables.
 */

#include "encode.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h> /* required by jpeglib.h */
#include <stdlib.h>

#include <jerror.h>
#include <jpeglib.h>
#include <webp/encode.h>

int
encode_webp(VipsImage *in, int quality, int effort, void **buffer, size_t *length)
{
	const uint8_t *pixels = VIPS_IMAGE_ADDR(in, 0, 0);
	int stride = VIPS_IMAGE_SIZEOF_LINE(in);
	WebPConfig config;
	WebPPicture webp;
	WebPMemoryWriter writer;
	gboolean encoded;

	if (!WebPConfigPreset(&config, WEBP_PRESET_DEFAULT, quality) ||
		!WebPPictureInit(&webp)) {
		vips_error("webp", "libwebp differs from the version at build time");
		return -1;
	}
	config.method = effort;

	WebPMemoryWriterInit(&writer);
	webp.width = in->Xsize;
	webp.height = in->Ysize;
	webp.writer = WebPMemoryWrite;
	webp.custom_ptr = &writer;
	encoded = (in->Bands == 4
					  ? WebPPictureImportRGBA(&webp, pixels, stride)
					  : WebPPictureImportRGB(&webp, pixels, stride)) &&
		WebPEncode(&config, &webp);
	WebPPictureFree(&webp);
	if (!encoded) {
		WebPMemoryWriterClear(&writer);
		vips_error("webp", "error %d", webp.error_code);
		return -1;
	}
	*buffer = writer.mem;
	*length = writer.size;

	return 0;
}

typedef struct {
	struct jpeg_error_mgr manager;
	jmp_buf failed;
} JpegErrors;

static void
jpeg_failed(j_common_ptr info)
{
	char text[JMSG_LENGTH_MAX];

	info->err->format_message(info, text);
	vips_error("jpeg", "%s", text);
	longjmp(((JpegErrors *) info->err)->failed, 1);
}

static void
jpeg_ignore_message(j_common_ptr info)
{
}

/* Sets one table of 64 quantization steps, from the lowest frequency to the
 * highest:
 *
 *     step(u, v) = scale * base * (1 + r)^slope,  r = sqrt(u^2 + v^2)
 *
 * where u and v are the horizontal and vertical frequency, 0 to 7, and scale is
 * libjpeg's for a quality, 0.4 for 80.
 *
 * libjpeg's tables are those of Annex K of the JPEG standard, based on the
 * threshold at which each frequency becomes visible on its own. By
 * SSIMULACRA 2 and Butteraugli, which were fitted to how people rate complete
 * images, they are too steep. These are coarser at low frequencies, and finer at
 * high ones: up to 1.6 times in luma, 2 to 3 times in chroma. The four numbers
 * give the fewest bytes at equal distance by both metrics, and are scaled so
 * that a quality looks as good as it did with Annex K's. docs/performance.md
 * has the measurement.
 */
static void
set_table(j_compress_ptr info, int slot, double base, double slope, int quality)
{
	double scale = jpeg_quality_scaling(quality) / 100.0;
	unsigned int steps[DCTSIZE2];
	int i;

	for (i = 0; i < DCTSIZE2; i++) {
		int u = i % DCTSIZE, v = i / DCTSIZE;
		double r = sqrt(u * u + v * v); /* hypot would need glibc 2.35 */

		steps[i] = lround(scale * base * pow(1 + r, slope));
	}
	jpeg_add_quant_table(info, slot, steps, 100, TRUE); /* limits steps to 1 to 255 */
}

/* Fewer scans than the usual ten, and none that refines another one: those
 * take most of the time of a progressive JPEG.
 */
static const jpeg_scan_info few_scans[] = {
	{ 3, { 0, 1, 2 }, 0, 0, 0, 0 },
	{ 1, { 0 }, 1, 8, 0, 0 },
	{ 1, { 1 }, 1, 63, 0, 0 },
	{ 1, { 2 }, 1, 63, 0, 0 },
	{ 1, { 0 }, 9, 63, 0, 0 },
};

static const jpeg_scan_info few_gray_scans[] = {
	{ 1, { 0 }, 0, 0, 0, 0 },
	{ 1, { 0 }, 1, 8, 0, 0 },
	{ 1, { 0 }, 9, 63, 0, 0 },
};

static void
set_scans(j_compress_ptr info, int effort)
{
	if (effort > 0) {
		jpeg_simple_progression(info);
		return;
	}
	if (info->num_components == 1) {
		info->scan_info = few_gray_scans;
		info->num_scans = G_N_ELEMENTS(few_gray_scans);
	}
	else {
		info->scan_info = few_scans;
		info->num_scans = G_N_ELEMENTS(few_scans);
	}
}

/* A destination that grows. libjpeg's own does not expose its buffer until the
 * end, so after an error the caller cannot free it.
 */
typedef struct {
	struct jpeg_destination_mgr manager;
	guchar *file;
	size_t size; /* allocated */
} Memory;

static void
memory_init(j_compress_ptr info)
{
}

/* libjpeg has filled the buffer. */
static boolean
memory_grow(j_compress_ptr info)
{
	Memory *memory = (Memory *) info->dest;
	size_t size = MAX(1 << 16, 2 * memory->size);
	guchar *larger = g_try_realloc(memory->file, size);

	if (!larger)
		ERREXIT1(info, JERR_OUT_OF_MEMORY, 0);
	memory->file = larger;
	memory->manager.next_output_byte = larger + memory->size;
	memory->manager.free_in_buffer = size - memory->size;
	memory->size = size;

	return TRUE;
}

static void
memory_term(j_compress_ptr info)
{
}

static void
write_jpeg(j_compress_ptr info, VipsImage *in, int quality, int effort, gboolean subsample)
{
	info->image_width = in->Xsize;
	info->image_height = in->Ysize;
	info->input_components = in->Bands;
	info->in_color_space = in->Bands == 1 ? JCS_GRAYSCALE : JCS_RGB;
	jpeg_set_defaults(info);
	set_table(info, 0, 10, 0.9, quality); /* luma */
	set_table(info, 1, 14, 0.6, quality); /* chroma */
	if (!subsample)
		info->comp_info[0].h_samp_factor = info->comp_info[0].v_samp_factor = 1;
	info->write_JFIF_header = FALSE; /* it contains only a resolution of 1:1 */
	set_scans(info, effort);

	jpeg_start_compress(info, TRUE);
	while (info->next_scanline < info->image_height) {
		JSAMPROW row = VIPS_IMAGE_ADDR(in, 0, info->next_scanline);

		jpeg_write_scanlines(info, &row, 1);
	}
	jpeg_finish_compress(info);
}

int
encode_jpeg(VipsImage *in, int quality, int effort, gboolean subsample, void **buffer, size_t *length)
{
	struct jpeg_compress_struct info;
	JpegErrors errors;
	Memory *memory = g_new0(Memory, 1);

	info.err = jpeg_std_error(&errors.manager);
	errors.manager.error_exit = jpeg_failed;
	errors.manager.output_message = jpeg_ignore_message;
	if (setjmp(errors.failed)) {
		jpeg_destroy_compress(&info);
		g_free(memory->file);
		g_free(memory);
		return -1;
	}
	jpeg_create_compress(&info);
	memory->manager = (struct jpeg_destination_mgr) {
		.init_destination = memory_init,
		.empty_output_buffer = memory_grow,
		.term_destination = memory_term,
	};
	info.dest = &memory->manager;
	memory_grow(&info);
	write_jpeg(&info, in, quality, effort, subsample);
	*length = memory->size - memory->manager.free_in_buffer;
	*buffer = memory->file;
	jpeg_destroy_compress(&info);
	g_free(memory);

	return 0;
}
