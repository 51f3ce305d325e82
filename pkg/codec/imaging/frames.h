/* Top rungs of animations that are not decoded by libvips: see frames.c. */

#ifndef OPTIMIZERD_IMAGING_FRAMES_H
#define OPTIMIZERD_IMAGING_FRAMES_H

#include <vips/vips.h>

/* They return 0, or -1 with a message in libvips' error buffer. */

/* An in-memory image of this many frames of width x height, RGBA. */
int frames_new(int width, int height, int frames, VipsImage **out);

/* Shrinks RGBA pixels, premultiplied, into one of them. */
int frames_set(VipsImage *frames, int frame, void *pixels, int width, int height);

/* Makes a rung of them. There is a delay, in milliseconds, for each frame; loop
 * is how often they are shown, 0 for endless.
 */
int frames_finish(VipsImage *frames, int height, const int *delays, int loop, VipsImage **out);

#endif
