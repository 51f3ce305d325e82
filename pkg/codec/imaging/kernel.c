/* The ladder in libvips: starting it, opening a file and reading its header. The
 * pixels are made in color.c, rung.c and save.c. kernel.h documents the functions,
 * the Go files the order of the calls.
 *
 * Pixels occur in two forms. Sources are as their decoder returns them.
 * kernel_decode and kernel_shrink return a "rung": in memory, 8 bits, gray or
 * sRGB, without metadata; with alpha there are four bands and the colors are
 * premultiplied, so that a rung can be shrunk again without dark fringes. The
 * result of kernel_decode must be rotated by kernel_upright. Frames of an
 * animation are stacked vertically, page-height apart.
 *
 * Within a function, images are owned by a "scope", an object that is
 * unreferenced on every path out of the function.
 */

#define _GNU_SOURCE /* dladdr */

#include "kernel.h"

#include <dlfcn.h>
#include <errno.h>
#include <gmodule.h>
#include <string.h>
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

/* Loads the module for HEIC and AVIF that comes with the libvips in use, if HEIF
 * is a module there and has not been loaded. See the environment of a child for
 * why libvips itself loads none.
 */
static void
load_heif(void)
{
	Dl_info libvips;
	char *directory, *path;

	if (kernel_knows("heifload") || !dladdr((void *) vips_version, &libvips))
		return;
	directory = g_path_get_dirname(libvips.dli_fname);
	path = g_strdup_printf("%s/vips-modules-%d.%d/vips-heif.so", directory, vips_version(0), vips_version(1));
	g_module_open(path, G_MODULE_BIND_LAZY); /* stays loaded; without it, HEIF is missing */
	g_free(path);
	g_free(directory);
}

int
kernel_start(void)
{
	size_t i;

	if (vips_init("optimizerd"))
		return -1;

	load_heif();
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
	*header = (KernelHeader){
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
	if (vips_image_get_typeof(image, VIPS_META_EXIF_NAME) &&
		vips_image_get_blob(image, VIPS_META_EXIF_NAME,
			&header->exif, &header->exif_length))
		header->exif = NULL;
}
