/* libvips passes on libheif's errors as text, and refuses some images that
 * libheif decodes. So when it fails, libheif is called directly: a file that it
 * decodes or calls unsupported is not damaged.
 */

#include "heif.h"

#include <errno.h>
#include <unistd.h>

#include <libheif/heif.h>

typedef struct {
	int fd;
	gint64 size;
	gint64 at;
} File;

static int64_t
position(void *file)
{
	return ((File *) file)->at;
}

static int
read_all(void *buffer, size_t length, void *data)
{
	File *file = data;
	guchar *to = buffer;

	while (length > 0) {
		ssize_t n = pread(file->fd, to, length, file->at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		to += n;
		length -= n;
		file->at += n;
	}
	return 0;
}

static int
seek_to(int64_t at, void *file)
{
	((File *) file)->at = at;
	return 0;
}

static enum heif_reader_grow_status
reaches(int64_t size, void *file)
{
	return size <= ((File *) file)->size ? heif_reader_grow_status_size_reached : heif_reader_grow_status_size_beyond_eof;
}

/* Decodes the primary image as libvips does. */
static struct heif_error
decode(struct heif_context *context)
{
	struct heif_image_handle *handle = NULL;
	struct heif_image *image = NULL;
	struct heif_error error = heif_context_get_primary_image_handle(context, &handle);

	if (!error.code)
		error = heif_decode_image(handle, &image, heif_colorspace_RGB, heif_chroma_interleaved_RGB, NULL);
	if (image)
		heif_image_release(image);
	if (handle)
		heif_image_handle_release(handle);
	return error;
}

gboolean
heif_is_at_least(int major, int minor)
{
	int has = heif_get_version_number_major();

	return has > major || (has == major && heif_get_version_number_minor() >= minor);
}

gboolean
heif_is_unsupported(int fd, gint64 size)
{
	static const struct heif_reader reader = {
		.reader_api_version = 1,
		.get_position = position,
		.read = read_all,
		.seek = seek_to,
		.wait_for_file_size = reaches,
	};
	File file = { .fd = fd, .size = size };
	struct heif_context *context = heif_context_alloc();
	struct heif_error error = heif_context_read_from_reader(context, &reader, &file, NULL);

	if (!error.code)
		error = decode(context);
	heif_context_free(context);
	switch (error.code) {
	case heif_error_Ok:
	case heif_error_Unsupported_filetype:
	case heif_error_Unsupported_feature:
		return TRUE;
	case heif_error_Memory_allocation_error: /* by libheif's own limit */
		return error.subcode == heif_suberror_Security_limit_exceeded;
	default:
		return FALSE;
	}
}
