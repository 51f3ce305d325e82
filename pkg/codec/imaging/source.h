/* Files that are edited while they are read: see source.c. */

#ifndef OPTIMIZERD_IMAGING_SOURCE_H
#define OPTIMIZERD_IMAGING_SOURCE_H

#include <vips/vips.h>

/* The file appears to have that size, with these bytes at that offset. */
typedef struct {
	gint64 at;
	guchar bytes[2];
	gint64 size;
} Edit;

/* The caller owns the descriptor, which must outlive the source. */
VipsSource *source_edited(int fd, const Edit *edit);

/* Whether a JPEG to which the edit adds an end marker lacks nothing else: every
 * block of every scan is there, and the scans complete the image. Returns 0, or
 * -1 with a message in libvips' error buffer.
 */
int source_jpeg_check(int fd, const Edit *edit);

#endif
