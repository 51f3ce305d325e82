/* The ladder in libvips: open, read the header, decode once into memory,
 * shrink, encode.
 *
 * Functions that return int return 0, or -1 with a message in libvips' error
 * buffer. The caller owns returned images and unrefs them.
 */

#ifndef OPTIMIZERD_IMAGING_KERNEL_H
#define OPTIMIZERD_IMAGING_KERNEL_H

#include <vips/vips.h>
#include <vips/vector.h>

#include "shaper.h"
#include "source.h"

typedef enum {
	KERNEL_JPEG,
	KERNEL_PNG,
	KERNEL_WEBP,
	KERNEL_HEIF, /* HEIC and AVIF */
	KERNEL_TIFF,
} KernelLoader;

typedef struct {
	KernelLoader loader;
	int frames; /* 1, or -1 for all of an animation */
	int shrink; /* integer factor by which the decoder itself shrinks, 1 for none */
	Edit edit;  /* change to the file; none if its size is 0 */
} KernelOpening;

/* What the header of an image declares, before any pixel is decoded. The image
 * owns the profile.
 */
typedef struct {
	int width;
	int height; /* of one frame */
	int frames;
	int orientation; /* EXIF, 1 to 8 */
	int bands;
	int sample_bytes; /* per sample of one band */
	gboolean alpha;
	gboolean cmyk;
	gboolean progressive; /* multi-scan JPEG */
	gboolean subsampled;  /* JPEG with subsampled chroma */
	gboolean interlaced;  /* interlaced PNG */
	gboolean av1;         /* HEIF: AVIF */
	gboolean hevc;        /* HEIF: HEIC */
	const void *profile;  /* ICC profile, or NULL */
	size_t profile_length;
	const void *exif; /* EXIF block, or NULL */
	size_t exif_length;
} KernelHeader;

typedef struct {
	int width;
	int height;   /* of one frame, in stored orientation */
	gboolean icc; /* convert by the embedded profile */
	VipsIntent intent; /* one that the profile has */
	gboolean opaque; /* drop the bands besides the colors */
	gboolean multiplied; /* the colors are multiplied by alpha */
	gboolean shaped; /* convert by shaper */
	Shaper shaper;
} KernelTop;

typedef enum {
	KERNEL_TO_JPEG,
	KERNEL_TO_WEBP,
	KERNEL_TO_AVIF,
} KernelSaver;

typedef struct {
	KernelSaver saver;
	int quality;
	int effort;
	gboolean lossless;    /* animated WebP: otherwise mixed, frame by frame */
	gboolean subsample;   /* JPEG and AVIF: subsample the chroma */
	double background[3]; /* JPEG: color under transparent pixels */
} KernelEncoding;

int kernel_start(void);
gboolean kernel_knows(const char *operation);
gboolean kernel_reads(const void *data, size_t length);
char *kernel_error(void);

int kernel_open(int fd, const KernelOpening *opening, VipsImage **out);
void kernel_header(VipsImage *image, KernelHeader *header);

int kernel_decode(VipsImage *in, const KernelTop *top, VipsImage **out);
int kernel_upright(VipsImage *rung, int orientation, VipsImage **out);
int kernel_finish(VipsImage *rung, VipsImage **out);
int kernel_shrink(VipsImage *in, int width, int height, VipsImage **out);
int kernel_encode(VipsImage *in, const KernelEncoding *encoding, void **buffer, size_t *length);
int kernel_rgba(VipsImage *in, int width, int height, VipsImage **out);

#endif
