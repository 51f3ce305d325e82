/* The ladder in libvips. kernel.h documents the functions, the Go files the
 * order of the calls.
 *
 * Pixels occur in two forms. Sources are as their decoder returns them.
 * kernel_decode and kernel_shrink return a "rung": in memory, upright, 8 bits,
 * gray or sRGB, without metadata; with alpha there are four bands and the
 * colors are premultiplied, so that a rung can be shrunk again without dark
 * fringes. Frames of an animation are stacked vertically, page-height apart.
 *
 * Within a function, images are owned by a "scope", an object that is
 * unreferenced on every path out of the function.
 */

#include "kernel.h"
#include "encode.h"
#include "resize.h"

#include <errno.h>
#include <unistd.h>

/* The permitted loaders; all others are blocked in libvips itself, so that
 * neither our format detection nor libvips' own can reach them.
 */
static const char *const accepted[] = {
	"VipsForeignLoadJpeg",
	"VipsForeignLoadPng",
	"VipsForeignLoadWebp",
	"VipsForeignLoadHeif",
	"VipsForeignLoadTiff",
};

/* Warnings of libvips and its codecs about odd images are not logged; what
 * matters is returned as an error.
 */
static void
ignore_message(const char *domain, GLogLevelFlags level, const char *message, void *data)
{
}

int
kernel_start(void)
{
	size_t i;

	if (vips_init("optimizerd"))
		return -1;

	shaper_start();
	vips_concurrency_set(1); /* rungs are encoded in parallel, not parts of one */
	g_log_set_handler("VIPS",
		G_LOG_LEVEL_WARNING | G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_INFO | G_LOG_LEVEL_DEBUG,
		ignore_message, NULL);

	vips_operation_block_set("VipsForeignLoad", TRUE);
	for (i = 0; i < G_N_ELEMENTS(accepted); i++)
		vips_operation_block_set(accepted[i], FALSE);

	return 0;
}

/* Reports whether this libvips was built with an operation. */
gboolean
kernel_knows(const char *operation)
{
	return vips_type_find("VipsOperation", operation) != 0;
}

/* Reports whether an image in memory can be decoded completely. */
gboolean
kernel_reads(const void *data, size_t length)
{
	VipsImage *image;
	double average;
	gboolean read;

	if (!(image = vips_image_new_from_buffer(data, length, "", NULL))) {
		vips_error_clear();
		return FALSE;
	}
	read = !vips_avg(image, &average, NULL);
	vips_error_clear();
	g_object_unref(image);

	return read;
}

/* Returns libvips' error message and clears it; free it with g_free. The
 * buffer is shared by all threads, so the text is for logs only.
 */
char *
kernel_error(void)
{
	return vips_error_buffer_copy();
}

/* Opening and the header. */

static int
load(VipsSource *source, const KernelOpening *opening, VipsImage **out)
{
	switch (opening->loader) {
	case KERNEL_JPEG:
		return vips_jpegload_source(source, out,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_ERROR,
			"shrink", opening->shrink, NULL);
	case KERNEL_PNG:
		return vips_pngload_source(source, out,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_ERROR, NULL);
	case KERNEL_WEBP:
		/* This loader decodes into a temporary image, which libvips
		 * would write to disk if it is large.
		 */
		return vips_webpload_source(source, out,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_ERROR,
			"memory", TRUE, "n", opening->frames,
			"scale", 1.0 / opening->shrink, NULL);
	case KERNEL_HEIF: /* without "page": the primary image */
		return vips_heifload_source(source, out,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_ERROR, NULL);
	case KERNEL_TIFF:
		return vips_tiffload_source(source, out,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_ERROR, NULL);
	}
	vips_error("kernel", "no loader %d", opening->loader);
	return -1;
}

/* Opens the file behind a descriptor, from its start. The image reads from a
 * duplicate of the descriptor, which shares the offset: close one image before
 * opening the next.
 */
int
kernel_open(int fd, const KernelOpening *opening, VipsImage **out)
{
	VipsSource *source;
	int result;

	if (lseek(fd, 0, SEEK_SET) == -1) {
		vips_error_system(errno, "kernel", "unable to rewind");
		return -1;
	}
	if (!(source = opening->edit.size > 0
					? source_edited(fd, &opening->edit)
					: vips_source_new_from_descriptor(fd)))
		return -1;
	result = load(source, opening, out);
	g_object_unref(source);

	return result;
}

static int
int_field(VipsImage *image, const char *name, int otherwise)
{
	int value;

	if (!vips_image_get_typeof(image, name) ||
		vips_image_get_int(image, name, &value))
		return otherwise;

	return value;
}

static gboolean
string_field_is(VipsImage *image, const char *name, const char *wanted)
{
	const char *value;

	return vips_image_get_typeof(image, name) == VIPS_TYPE_REF_STRING &&
		!vips_image_get_string(image, name, &value) &&
		strcmp(value, wanted) == 0;
}

void
kernel_header(VipsImage *image, KernelHeader *header)
{
	*header = (KernelHeader) {
		.width = vips_image_get_width(image),
		.height = vips_image_get_page_height(image),
		.frames = int_field(image, VIPS_META_N_PAGES, 1),
		.orientation = vips_image_get_orientation(image),
		.bands = vips_image_get_bands(image),
		.sample_bytes = vips_format_sizeof(vips_image_get_format(image)),
		.alpha = vips_image_hasalpha(image),
		.cmyk = vips_image_get_interpretation(image) == VIPS_INTERPRETATION_CMYK,
		.progressive = int_field(image, "jpeg-multiscan", 0),
		.subsampled = string_field_is(image, "jpeg-chroma-subsample", "4:2:0"),
		.interlaced = int_field(image, "interlaced", 0),
		.av1 = string_field_is(image, "heif-compression", "av1"),
		.hevc = string_field_is(image, "heif-compression", "hevc"),
	};

	if (vips_image_get_typeof(image, VIPS_META_ICC_NAME) &&
		vips_image_get_blob(image, VIPS_META_ICC_NAME,
			&header->profile, &header->profile_length))
		header->profile = NULL;
}

/* The identity operation. */
static int
pass(VipsImage *in, VipsImage **out)
{
	*out = in;
	g_object_ref(in);

	return 0;
}

/* Alpha. */

/* A plain cast truncates, which darkens faint pixels at each step. */
static int
round_to_uchar(VipsImage *in, VipsImage **out)
{
	VipsImage *whole;
	int result;

	if (vips_rint(in, &whole, NULL))
		return -1;
	result = vips_cast(whole, out, VIPS_FORMAT_UCHAR, NULL);
	g_object_unref(whole);

	return result;
}

/* Images of 8 bits are converted back, since libvips multiplies in float.
 * Images without alpha are returned unchanged.
 */
static int
premultiply(VipsImage *in, VipsImage **out)
{
	VipsImage *product;
	int result;

	if (!vips_image_hasalpha(in))
		return pass(in, out);
	if (vips_premultiply(in, &product, NULL))
		return -1;
	result = round_to_uchar(product, out);
	g_object_unref(product);

	return result;
}

static int
unpremultiply(VipsImage *in, VipsImage **out)
{
	VipsImage *quotient;
	int result;

	if (!vips_image_hasalpha(in))
		return pass(in, out);
	if (vips_unpremultiply(in, &quotient, NULL))
		return -1;
	result = round_to_uchar(quotient, out);
	g_object_unref(quotient);

	return result;
}

/* Color. */

/* Returns the interpretation of the color bands, guessed if the file does not
 * declare one that libvips can convert from.
 */
static VipsInterpretation
interpretation(VipsImage *in)
{
	VipsInterpretation guess = vips_image_guess_interpretation(in);
	gboolean deep = in->BandFmt == VIPS_FORMAT_USHORT;

	if (vips_colourspace_issupported(in) && guess == in->Type)
		return guess;
	if (in->Bands < 3)
		return deep ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_B_W;
	return deep ? VIPS_INTERPRETATION_RGB16 : VIPS_INTERPRETATION_sRGB;
}

static int
color_bands(VipsImage *in)
{
	switch (in->Type) {
	case VIPS_INTERPRETATION_B_W:
	case VIPS_INTERPRETATION_GREY16:
		return 1; /* a TIFF may have further bands */
	case VIPS_INTERPRETATION_CMYK:
		return 4;
	default:
		return in->Bands < 3 ? 1 : 3;
	}
}

/* Gives a source a color space that libvips can convert from, and at most one
 * band besides its colors.
 */
static int
normalize_bands(VipsImage *in, gboolean opaque, VipsImage **out)
{
	VipsImage *scope = vips_image_new();
	VipsImage **t = (VipsImage **) vips_object_local_array(VIPS_OBJECT(scope), 2);
	int wanted;
	int result = -1;

	if (in->Coding == VIPS_CODING_LABQ) {
		if (vips_LabQ2Lab(in, &t[0], NULL))
			goto done;
		in = t[0];
	}
	if (vips_copy(in, &t[1], "interpretation", interpretation(in), NULL))
		goto done;
	wanted = color_bands(t[1]) + (vips_image_hasalpha(t[1]) && !opaque ? 1 : 0);
	result = vips_extract_band(t[1], out, 0, "n", VIPS_MIN(wanted, in->Bands), NULL);

done:
	g_object_unref(scope);
	return result;
}

/* Converts color bands without a usable profile by their interpretation. An
 * embedded profile is removed first, since libvips would use it for CMYK.
 */
static int
plain_to_srgb(VipsImage *in, VipsInterpretation space, VipsImage **out)
{
	VipsImage *scope = vips_image_new();
	VipsImage **t = (VipsImage **) vips_object_local_array(VIPS_OBJECT(scope), 2);
	int result = -1;

	if (vips_copy(in, &t[0], NULL))
		goto done;
	vips_image_remove(t[0], VIPS_META_ICC_NAME);
	if (vips_colourspace(t[0], &t[1], space, NULL))
		goto done;
	result = vips_cast(t[1], out, VIPS_FORMAT_UCHAR, NULL);

done:
	g_object_unref(scope);
	return result;
}

static int
colors_to_srgb(VipsImage *in, gboolean icc, VipsIntent intent, VipsInterpretation space, VipsImage **out)
{
	if (icc) {
		if (!vips_icc_transform(in, out, "srgb",
				"embedded", TRUE, "intent", intent, "depth", 8, NULL))
			return 0;
		vips_error_clear(); /* fall back if the profile is unusable */
	}

	return plain_to_srgb(in, space, out);
}

static int
alpha_to_uchar(VipsImage *in, VipsImage **out)
{
	double most = 255;

	if (in->BandFmt == VIPS_FORMAT_SHORT) {
		/* Beside Lab, where 16 bits have no sign but are called signed. */
		VipsImage *plain;
		int result;

		if (vips_copy(in, &plain, "format", VIPS_FORMAT_USHORT, NULL))
			return -1;
		result = alpha_to_uchar(plain, out);
		g_object_unref(plain);
		return result;
	}
	if (in->BandFmt == VIPS_FORMAT_USHORT)
		most = 65535;
	else if (in->Type == VIPS_INTERPRETATION_scRGB)
		most = 1;

	return vips_linear1(in, out, 255 / most, 0, "uchar", TRUE, NULL);
}

/* Reports whether there is nothing to convert. */
static gboolean
is_srgb(VipsImage *in, gboolean icc)
{
	return in->Type == VIPS_INTERPRETATION_sRGB && in->BandFmt == VIPS_FORMAT_UCHAR && !icc;
}

/* Converts to 8 bits, gray or sRGB; always sRGB with alpha. Alpha bypasses the
 * conversion.
 */
static int
to_srgb(VipsImage *in, gboolean icc, VipsIntent intent, VipsImage **out)
{
	VipsImage *scope = vips_image_new();
	VipsImage **t = (VipsImage **) vips_object_local_array(VIPS_OBJECT(scope), 4);
	int last = in->Bands - 1;
	int result = -1;

	if (is_srgb(in, icc)) {
		result = pass(in, out);
		goto done;
	}
	if (!vips_image_hasalpha(in)) {
		result = colors_to_srgb(in, icc, intent,
			in->Bands < 3 ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB, out);
		goto done;
	}
	if (vips_extract_band(in, &t[0], 0, "n", last, NULL) ||
		colors_to_srgb(t[0], icc, intent, VIPS_INTERPRETATION_sRGB, &t[1]) ||
		vips_extract_band(in, &t[2], last, NULL) ||
		alpha_to_uchar(t[2], &t[3]))
		goto done;
	result = vips_bandjoin2(t[1], t[3], out, NULL);

done:
	g_object_unref(scope);
	return result;
}

/* Converts 16 bits to 8, in the same color space. */
static int
narrow(VipsImage *in, VipsImage **out)
{
	VipsImage *bytes;
	VipsInterpretation space = in->Type;
	int result;

	if (space == VIPS_INTERPRETATION_RGB16)
		space = VIPS_INTERPRETATION_sRGB;
	else if (space == VIPS_INTERPRETATION_GREY16)
		space = VIPS_INTERPRETATION_B_W;
	if (vips_cast(in, &bytes, VIPS_FORMAT_UCHAR, "shift", TRUE, NULL))
		return -1;
	result = vips_copy(bytes, out, "interpretation", space, NULL);
	g_object_unref(bytes);

	return result;
}

/* Memory. */

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

/* Computes an image of the given frame height into memory. */
static int
to_memory(VipsImage *in, int frame_height, VipsImage **out)
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
		return to_memory(in, height, out);
	if (shrink(in, width, height, out))
		return -1;
	become_rung(*out, height);

	return 0;
}

static int
upright(VipsImage *in, int orientation, VipsImage **out)
{
	VipsImage *turned;
	int result;

	vips_image_set_int(in, VIPS_META_ORIENTATION, orientation);
	if (vips_autorot(in, &turned, NULL))
		return -1;
	result = to_memory(turned, turned->Ysize, out);
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
		result = pass(in, out);
		goto done;
	}
	if (vips_extract_band(in, &t[1], 0, "n", last, NULL))
		goto done;
	result = to_memory(t[1], vips_image_get_page_height(in), out);

done:
	g_object_unref(scope);
	return result;
}

/* Decodes to a rung in stored orientation. Colors are converted after
 * shrinking, when there are fewer pixels, except where converting 8 bits of
 * deeper samples would cause banding.
 */
static int
decode_to_memory(VipsImage *in, const KernelTop *top, VipsImage **out)
{
	VipsImage *scope = vips_image_new();
	VipsImage **t = (VipsImage **) vips_object_local_array(VIPS_OBJECT(scope), 7);
	gboolean icc = top->icc;
	gboolean shaped;
	int result = -1;

	if (normalize_bands(in, top->opaque, &t[0]))
		goto done;
	if (t[0]->BandFmt == VIPS_FORMAT_UCHAR) {
		pass(t[0], &t[1]);
	}
	else if (t[0]->BandFmt == VIPS_FORMAT_USHORT && !icc) {
		if (narrow(t[0], &t[1]))
			goto done;
	}
	else {
		if (to_srgb(t[0], icc, top->intent, &t[1]))
			goto done;
		icc = FALSE;
	}
	if (premultiply(t[1], &t[2]))
		goto done;
	shaped = icc && top->shaped && t[2]->Bands == 3 && t[2]->Type == VIPS_INTERPRETATION_sRGB;
	if (shaped || is_srgb(t[2], icc)) {
		if (kernel_shrink(t[2], top->width, top->height, out))
			goto done;
		if (shaped)
			shaper_apply(&top->shaper, *out);
		result = 0;
		goto done;
	}
	if (shrink(t[2], top->width, top->height, &t[3]) ||
		unpremultiply(t[3], &t[4]) ||
		to_srgb(t[4], icc, top->intent, &t[5]) ||
		premultiply(t[5], &t[6]))
		goto done;
	result = to_memory(t[6], top->height, out);

done:
	g_object_unref(scope);
	return result;
}

/* The last step to the top rung: an alpha channel that says nothing goes. */
int
kernel_finish(VipsImage *rung, VipsImage **out)
{
	if (!vips_image_hasalpha(rung))
		return pass(rung, out);
	return drop_opaque_alpha(rung, out);
}

/* Decodes an opened image into the top rung. */
int
kernel_decode(VipsImage *in, KernelTop *top, VipsImage **out)
{
	VipsImage *rung, *next;
	int result;

	if (decode_to_memory(in, top, &rung))
		return -1;

	if (top->orientation > 1) {
		gint64 began = g_get_monotonic_time();
		int result = upright(rung, top->orientation, &next);

		top->turned = g_get_monotonic_time() - began;
		g_object_unref(rung);
		if (result)
			return -1;
		rung = next;
	}
	result = kernel_finish(rung, out);
	g_object_unref(rung);

	return result;
}

/* Encoding. */

static int
first_frame(VipsImage *in, VipsImage **out)
{
	if (vips_image_get_page_height(in) == in->Ysize)
		return pass(in, out);
	return vips_extract_area(in, out, 0, 0, in->Xsize, vips_image_get_page_height(in), NULL);
}

static int
flatten(VipsImage *in, const double background[3], VipsImage **out)
{
	VipsArrayDouble *color;
	int result;

	if (!vips_image_hasalpha(in))
		return pass(in, out);
	color = vips_array_double_new(background, 3);
	result = vips_flatten(in, out, "background", color, NULL);
	vips_area_unref(VIPS_AREA(color));

	return result;
}

static int
as_rgb(VipsImage *in, VipsImage **out)
{
	if (in->Bands > 1)
		return pass(in, out);

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
		if (first_frame(in, &t[0]) || unpremultiply(t[0], &t[1]))
			goto done;
		result = flatten(t[1], encoding->background, out);
		break;
	case KERNEL_TO_WEBP:
		if (unpremultiply(in, &t[0]))
			goto done;
		result = as_rgb(t[0], out);
		break;
	case KERNEL_TO_AVIF:
		if (first_frame(in, &t[0]))
			goto done;
		result = unpremultiply(t[0], out);
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
		unpremultiply(t[1], &t[2]) ||
		vips_colourspace(t[2], &t[3], VIPS_INTERPRETATION_sRGB, NULL))
		goto done;
	if (vips_image_hasalpha(t[3])) {
		result = to_memory(t[3], height, out);
		goto done;
	}
	if (vips_addalpha(t[3], &t[4], NULL))
		goto done;
	result = to_memory(t[4], height, out);

done:
	g_object_unref(scope);
	return result;
}
