/* The version of libheif, and its opinion of a file that libvips could not read: see heif.c. */

#ifndef OPTIMIZERD_IMAGING_HEIF_H
#define OPTIMIZERD_IMAGING_HEIF_H

#include <glib.h>

/* Whether the file is intact, but of a kind that libheif or libvips does not
 * support. This decodes the file again.
 */
gboolean heif_is_unsupported(int fd, gint64 size);

/* Whether the libheif in use is of this version or newer. */
gboolean heif_is_at_least(int major, int minor);

#endif
