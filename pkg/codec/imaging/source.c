/* Files that are edited while they are read.
 *
 * JPEGs that lack only their end marker: every viewer shows them, but libvips
 * refuses them. If it did not, it would also accept those truncated in the middle
 * of a scan. So the missing marker is added, after libjpeg has confirmed that no
 * data is missing.
 *
 * TIFFs that libvips decodes correctly only under another name: see package
 * imagefile.
 */

#include "source.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h> /* required by jpeglib.h */
#include <string.h>
#include <unistd.h>

#include <jerror.h>
#include <jpeglib.h>

typedef struct {
	int fd;
	Edit edit;
	gint64 at;
} Edited;

/* Writes the edited bytes that are within a part of the file. */
static void
apply(const Edit *edit, guchar *buffer, gint64 at, gint64 length)
{
	int i;

	for (i = 0; i < 2; i++)
		if (edit->at + i >= at && edit->at + i < at + length)
			buffer[edit->at + i - at] = edit->bytes[i];
}

/* Reads the next bytes; returns 0 at the end. */
static gint64
edited_read(Edited *edited, void *buffer, gint64 length)
{
	gint64 n;

	length = MIN(length, MAX(0, edited->edit.size - edited->at));
	do
		n = pread(edited->fd, buffer, length, edited->at);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	if (edited->at + n >= edited->edit.at) /* which may be the end of the file */
		n = MAX(n, CLAMP(edited->edit.at + 2 - edited->at, 0, length));
	apply(&edited->edit, buffer, edited->at, n);
	edited->at += n;

	return n;
}

static gint64
on_read(VipsSourceCustom *source, void *buffer, gint64 length, void *edited)
{
	return edited_read(edited, buffer, length);
}

static gint64
on_seek(VipsSourceCustom *source, gint64 offset, int whence, void *data)
{
	Edited *edited = data;

	switch (whence) {
	case SEEK_CUR:
		offset += edited->at;
		break;
	case SEEK_END:
		offset += edited->edit.size;
		break;
	}
	if (offset < 0)
		return -1;
	return edited->at = offset;
}

static void
release(gpointer edited, GClosure *closure)
{
	g_free(edited);
}

VipsSource *
source_edited(int fd, const Edit *edit)
{
	VipsSourceCustom *source = vips_source_custom_new();
	Edited *edited = g_new(Edited, 1);

	*edited = (Edited) { .fd = fd, .edit = *edit };
	g_signal_connect(source, "seek", G_CALLBACK(on_seek), edited);
	g_signal_connect_data(source, "read", G_CALLBACK(on_read), edited, release, 0);

	return VIPS_SOURCE(source);
}

/* The check by libjpeg. */

typedef struct {
	struct jpeg_source_mgr manager;
	Edited edited;
	guchar buffer[16384];
} Reader;

typedef struct {
	struct jpeg_error_mgr manager;
	jmp_buf failed;
} Judge;

static void
do_nothing(j_decompress_ptr info)
{
}

static boolean
fill(j_decompress_ptr info)
{
	Reader *reader = (Reader *) info->src;
	gint64 n = edited_read(&reader->edited, reader->buffer, sizeof(reader->buffer));

	if (n <= 0)
		ERREXIT(info, JERR_INPUT_EOF);
	reader->manager.next_input_byte = reader->buffer;
	reader->manager.bytes_in_buffer = n;

	return TRUE;
}

static void
skip(j_decompress_ptr info, long length)
{
	struct jpeg_source_mgr *source = info->src;

	while (length > (long) source->bytes_in_buffer) {
		length -= (long) source->bytes_in_buffer;
		fill(info);
	}
	if (length > 0) {
		source->next_input_byte += length;
		source->bytes_in_buffer -= length;
	}
}

static void
give_up(j_common_ptr info)
{
	longjmp(((Judge *) info->err)->failed, 1);
}

/* A decoder that finds the end marker before a scan is complete continues with
 * zeros and emits this warning. Other warnings do not matter: with its marker the
 * file would be accepted.
 */
static void
judge(j_common_ptr info, int level)
{
	if (level < 0 && (info->err->msg_code == JWRN_HIT_MARKER || info->err->msg_code == JWRN_MUST_RESYNC))
		give_up(info);
}

/* Whether the scans of a progressive JPEG contain every coefficient up to its
 * last bit.
 */
static gboolean
scans_complete(j_decompress_ptr info)
{
	int component, i;

	if (!info->progressive_mode || !info->coef_bits)
		return TRUE;
	for (component = 0; component < info->num_components; component++)
		for (i = 0; i < DCTSIZE2; i++)
			if (info->coef_bits[component][i] != 0)
				return FALSE;
	return TRUE;
}

int
source_jpeg_check(int fd, const Edit *edit)
{
	struct jpeg_decompress_struct info;
	Judge errors;
	Reader *reader = g_new0(Reader, 1);
	JSAMPARRAY row;
	gboolean complete;

	reader->edited = (Edited) { .fd = fd, .edit = *edit };
	reader->manager = (struct jpeg_source_mgr) {
		.init_source = do_nothing,
		.fill_input_buffer = fill,
		.skip_input_data = skip,
		.resync_to_restart = jpeg_resync_to_restart,
		.term_source = do_nothing,
	};
	info.err = jpeg_std_error(&errors.manager);
	errors.manager.error_exit = give_up;
	errors.manager.emit_message = judge;
	if (setjmp(errors.failed)) {
		jpeg_destroy_decompress(&info);
		g_free(reader);
		vips_error("jpeg", "no end marker, and incomplete data before it");
		return -1;
	}
	jpeg_create_decompress(&info);
	info.src = &reader->manager;
	jpeg_read_header(&info, TRUE);
	/* An arithmetic decoder does not report missing data: encoders omit zeros
	 * at the end of a scan.
	 */
	if (info.arith_code)
		ERREXIT(&info, JERR_INPUT_EOF);
	info.out_color_space = info.jpeg_color_space; /* the least work */
	info.scale_num = 1;
	info.scale_denom = 8;
	jpeg_start_decompress(&info);
	row = info.mem->alloc_sarray((j_common_ptr) &info, JPOOL_IMAGE,
		info.output_width * info.output_components, 1);
	while (info.output_scanline < info.output_height)
		jpeg_read_scanlines(&info, row, 1);
	complete = scans_complete(&info);
	jpeg_destroy_decompress(&info);
	g_free(reader);

	if (!complete) {
		vips_error("jpeg", "no end marker, and scans are missing before it");
		return -1;
	}
	return 0;
}
