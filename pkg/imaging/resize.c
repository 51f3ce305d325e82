/* Lanczos 3 in integers, for pictures of 8-bit samples.
 *
 * libvips has the same filter. This one is here because making rungs smaller
 * was a fifth of a ladder's time: it keeps to the calling thread, keeps what
 * it reads of a stream in a window of a few rows, and works on eight samples
 * at once without code that is made at run time, which the codec's sandbox
 * forbids to libvips 8.14. It gives the same bytes on every machine.
 *
 * Eight rows of the result are made at a time. First the columns: rows of the
 * source are weighed and summed, and the sums are laid down with the eight rows
 * side by side ("across"), so that then, along the rows, whatever the number of
 * bands, eight sums are again made by the same steps.
 */

#include "resize.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define LANES 8
#define WEIGHT_BITS 14 /* of weights after the point: a weight of 1 fits 16 bits */
#define MIDDLE_BITS 6  /* of samples after the point, between the two passes */

typedef int16_t Eight __attribute__((vector_size(16)));
typedef uint8_t EightBytes __attribute__((vector_size(8)));
typedef int32_t Four __attribute__((vector_size(16)));

typedef struct {
	Four low, high;
} Sums;

#if defined(__SSE2__)
static inline __m128i
both_weights(const int16_t weights[2])
{
	int32_t both;

	memcpy(&both, weights, sizeof(both));
	return _mm_set1_epi32(both);
}
#endif

/* sums + a * weights[0] + b * weights[1] */
static inline Sums
add_weighted(Sums sums, Eight a, Eight b, const int16_t weights[2])
{
#if defined(__SSE2__)
	__m128i w = both_weights(weights);

	sums.low += (Four) _mm_madd_epi16(_mm_unpacklo_epi16((__m128i) a, (__m128i) b), w);
	sums.high += (Four) _mm_madd_epi16(_mm_unpackhi_epi16((__m128i) a, (__m128i) b), w);
#elif defined(__ARM_NEON)
	sums.low = (Four) vmlal_n_s16((int32x4_t) sums.low, vget_low_s16((int16x8_t) a), weights[0]);
	sums.low = (Four) vmlal_n_s16((int32x4_t) sums.low, vget_low_s16((int16x8_t) b), weights[1]);
	sums.high = (Four) vmlal_n_s16((int32x4_t) sums.high, vget_high_s16((int16x8_t) a), weights[0]);
	sums.high = (Four) vmlal_n_s16((int32x4_t) sums.high, vget_high_s16((int16x8_t) b), weights[1]);
#else
	int i;

	for (i = 0; i < LANES / 2; i++) {
		sums.low[i] += a[i] * weights[0] + b[i] * weights[1];
		sums.high[i] += a[LANES / 2 + i] * weights[0] + b[LANES / 2 + i] * weights[1];
	}
#endif
	return sums;
}

/* Drops bits after the point, rounding; what is left must fit 16 bits. */
static inline Eight
round_off(Sums sums, int bits)
{
	Four low = (sums.low + (1 << (bits - 1))) >> bits;
	Four high = (sums.high + (1 << (bits - 1))) >> bits;

	/* The lower halves of all sums. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	const Eight halves = { 0, 2, 4, 6, 8, 10, 12, 14 };
#else
	const Eight halves = { 1, 3, 5, 7, 9, 11, 13, 15 };
#endif
	return __builtin_shuffle((Eight) low, (Eight) high, halves);
}

/* The same of bytes. */
static inline Sums
add_weighted_bytes(Sums sums, const uint8_t *a, const uint8_t *b, const int16_t weights[2])
{
#if defined(__SSE2__)
	__m128i zero = _mm_setzero_si128();
	__m128i bytes = _mm_unpacklo_epi8(
		_mm_loadl_epi64((const __m128i *) a), _mm_loadl_epi64((const __m128i *) b));
	__m128i w = both_weights(weights);

	sums.low += (Four) _mm_madd_epi16(_mm_unpacklo_epi8(bytes, zero), w);
	sums.high += (Four) _mm_madd_epi16(_mm_unpackhi_epi8(bytes, zero), w);
	return sums;
#else
	EightBytes v[2];

	memcpy(&v[0], a, LANES);
	memcpy(&v[1], b, LANES);
	return add_weighted(sums,
		__builtin_convertvector(v[0], Eight), __builtin_convertvector(v[1], Eight), weights);
#endif
}

/* What is below 0 or above 255 becomes that. */
static inline EightBytes
to_bytes(Eight v)
{
	v &= ~(v >> 15);
	v |= (255 - v) >> 15;
	return __builtin_convertvector(v, EightBytes);
}

/* Exchanges rows and columns of 8 x 8 samples: shuffling the upper half into
 * the lower, like cards, three times.
 */
static inline void
transpose(Eight rows[LANES])
{
	const Eight first = { 0, 8, 1, 9, 2, 10, 3, 11 };
	const Eight second = { 4, 12, 5, 13, 6, 14, 7, 15 };
	Eight shuffled[LANES];
	int turn, i;

	for (turn = 0; turn < 3; turn++) {
		for (i = 0; i < LANES / 2; i++) {
			shuffled[2 * i] = __builtin_shuffle(rows[i], rows[i + LANES / 2], first);
			shuffled[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + LANES / 2], second);
		}
		memcpy(rows, shuffled, sizeof(shuffled));
	}
}

/* The filter along one axis: for each place of the result, where its samples
 * begin in the source and what they weigh. All have as many weights, an even
 * number; those past the end of the source are 0.
 */
typedef struct {
	int source; /* samples in the source */
	int size;	/* places in the result */
	int taps;
	int *begin;
	int16_t *weights; /* size x taps */
} Axis;

static double
lanczos3(double x)
{
	if (x == 0)
		return 1;
	if (fabs(x) >= 3)
		return 0;
	return 3 * sin(G_PI * x) * sin(G_PI * x / 3) / (G_PI * G_PI * x * x);
}

/* Weights in whole numbers whose sum is exactly 1, so that an even colour stays
 * what it is: what rounding leaves goes to the greatest.
 */
static void
quantize(const double *exact, double sum, int taps, int16_t *weights)
{
	int left = 1 << WEIGHT_BITS;
	int greatest = 0;
	int i;

	for (i = 0; i < taps; i++) {
		weights[i] = (int16_t) lrint(exact[i] / sum * (1 << WEIGHT_BITS));
		left -= weights[i];
		if (weights[i] > weights[greatest])
			greatest = i;
	}
	weights[greatest] += left;
}

static void
axis_init(Axis *axis, int source, int size)
{
	double factor = (double) source / size;
	double stretch = MAX(1, factor);
	int taps = 2 * (int) ceil(3 * stretch);
	double *exact = g_new(double, taps);
	int place, i;

	*axis = (Axis) {
		.source = source,
		.size = size,
		.taps = taps,
		.begin = g_new(int, size),
		.weights = g_new(int16_t, (size_t) size * taps),
	};
	for (place = 0; place < size; place++) {
		double centre = (place + 0.5) * factor - 0.5;
		int first = (int) floor(centre) - taps / 2 + 1;
		int begin = CLAMP(first, 0, MAX(0, source - taps));
		double sum = 0;

		memset(exact, 0, taps * sizeof(*exact));
		for (i = first; i < first + taps; i++) {
			double weight = lanczos3((i - centre) / stretch);

			exact[CLAMP(i, 0, source - 1) - begin] += weight; /* the edge goes on */
			sum += weight;
		}
		axis->begin[place] = begin;
		quantize(exact, sum, taps, axis->weights + (size_t) place * taps);
	}
	g_free(exact);
}

static void
axis_clear(Axis *axis)
{
	g_free(axis->begin);
	g_free(axis->weights);
}

/* The rows of one frame: where they lie, for a picture in memory, or the last
 * few of a stream, each in its place of a ring.
 */
typedef struct {
	VipsImage *image;
	int top; /* where the frame begins */
	int height;
	VipsRegion *stream; /* NULL for a picture in memory */
	uint8_t *ring;
	int capacity; /* of the ring, rows */
	int read;	  /* rows of the frame that were read so far */
} Rows;

static void
rows_init(Rows *rows, VipsImage *image, int top, int height, int capacity)
{
	*rows = (Rows) { .image = image, .top = top, .height = height, .capacity = capacity };
	if (image->data)
		return;
	rows->stream = vips_region_new(image);
	rows->ring = g_malloc((size_t) capacity * VIPS_IMAGE_SIZEOF_LINE(image));
}

static void
rows_clear(Rows *rows)
{
	g_clear_object(&rows->stream);
	g_free(rows->ring);
}

static uint8_t *
rows_at(Rows *rows, int y)
{
	y = MIN(y, rows->height - 1);
	if (!rows->stream)
		return VIPS_IMAGE_ADDR(rows->image, 0, rows->top + y);
	return rows->ring + (size_t) (y % rows->capacity) * VIPS_IMAGE_SIZEOF_LINE(rows->image);
}

/* Reads a stream on until it has all rows before end. */
static int
rows_need(Rows *rows, int end)
{
	const int strip = 16; /* as many as decoders give at once */

	end = MIN(end, rows->height);
	while (rows->stream && rows->read < end) {
		VipsRect area = {
			.left = 0,
			.top = rows->top + rows->read,
			.width = rows->image->Xsize,
			.height = MIN(strip, end - rows->read),
		};
		int y;

		if (vips_region_prepare(rows->stream, &area))
			return -1;
		for (y = area.top; y < area.top + area.height; y++)
			memcpy(rows_at(rows, y - rows->top), VIPS_REGION_ADDR(rows->stream, 0, y),
				VIPS_REGION_SIZEOF_LINE(rows->stream));
		rows->read += area.height;
	}
	return 0;
}

/* The sum of as many vectors as there are weights, of which there are two or
 * more, step apart.
 */
static inline Sums
weigh(const Eight *samples, int step, const int16_t *weights, int taps)
{
	Sums sums = { 0 };
	int i;

	for (i = 0; i < taps; i += 2, samples += 2 * step)
		sums = add_weighted(sums, samples[0], samples[step], weights + i);
	return sums;
}

/* Down the columns: eight samples, from x on, of eight rows of the result. The
 * lines are the rows of the source that each of them is made of.
 */
static void
weigh_columns(const uint8_t **lines, const int16_t **weights, int taps, int x, Eight across[LANES])
{
	int lane, i;

	for (lane = 0; lane < LANES; lane++, lines += taps) {
		Sums sums = { 0 };

		for (i = 0; i < taps; i += 2)
			sums = add_weighted_bytes(sums, lines[i] + x, lines[i + 1] + x, weights[lane] + i);
		across[lane] = round_off(sums, WEIGHT_BITS - MIDDLE_BITS);
	}
	transpose(across);
}

/* The same at the right edge, where fewer samples are there to be read. */
static void
weigh_last_columns(const uint8_t **lines, const int16_t **weights, int taps, int x, int samples, Eight across[LANES])
{
	uint8_t *edge = g_malloc0((size_t) LANES * taps * LANES);
	const uint8_t **copies = g_new(const uint8_t *, LANES * taps);
	int i;

	for (i = 0; i < LANES * taps; i++)
		copies[i] = memcpy(edge + i * LANES, lines[i] + x, samples);
	weigh_columns(copies, weights, taps, 0, across);
	g_free(copies);
	g_free(edge);
}

/* Along the rows: up to eight rows of the result, from top on, of all that lies
 * across.
 */
static void
weigh_rows(const Eight *across, const Axis *along, VipsImage *out, int top, int rows)
{
	uint8_t *lines[LANES];
	Eight block[LANES];
	int lane = 0;
	int x = 0;
	int place, band, y;

	for (y = 0; y < rows; y++)
		lines[y] = VIPS_IMAGE_ADDR(out, 0, top + y);
	for (place = 0; place < along->size; place++)
		for (band = 0; band < out->Bands; band++) {
			block[lane++] = round_off(
				weigh(across + along->begin[place] * out->Bands + band, out->Bands,
					along->weights + (size_t) place * along->taps, along->taps),
				WEIGHT_BITS + MIDDLE_BITS);
			if (lane < LANES && x + lane < along->size * out->Bands)
				continue;
			transpose(block);
			for (y = 0; y < rows; y++) {
				EightBytes bytes = to_bytes(block[y]);

				memcpy(lines[y] + x, &bytes, lane);
			}
			x += lane;
			lane = 0;
		}
}

/* Makes one frame of the result, which begins at row top of out. */
static int
resize_frame(Rows *rows, const Axis *along, const Axis *down, VipsImage *out, int top)
{
	int samples = along->source * out->Bands;
	/* Weights of 0 are read past the end. */
	Eight *across = g_new0(Eight, samples + LANES + along->taps * out->Bands);
	const uint8_t **lines = g_new(const uint8_t *, LANES * down->taps);
	const int16_t *weights[LANES];
	int result = -1;
	int x, y, lane, i;

	for (y = 0; y < down->size; y += LANES) {
		int count = MIN(LANES, down->size - y);

		if (rows_need(rows, down->begin[y + count - 1] + down->taps))
			goto done;
		for (lane = 0; lane < LANES; lane++) {
			int place = MIN(y + lane, down->size - 1);

			weights[lane] = down->weights + (size_t) place * down->taps;
			for (i = 0; i < down->taps; i++)
				lines[lane * down->taps + i] = rows_at(rows, down->begin[place] + i);
		}
		for (x = 0; x + LANES <= samples; x += LANES)
			weigh_columns(lines, weights, down->taps, x, across + x);
		if (x < samples)
			weigh_last_columns(lines, weights, down->taps, x, samples - x, across + x);
		weigh_rows(across, along, out, top + y, count);
	}
	result = 0;

done:
	g_free(lines);
	g_free(across);
	return result;
}

int
resize(VipsImage *in, int width, int height, VipsImage **out)
{
	int frame_height = vips_image_get_page_height(in);
	int frames = in->Ysize / frame_height;
	VipsImage *memory = vips_image_new_memory();
	Axis along, down;
	int result;
	int i;

	if (vips_image_pipelinev(memory, VIPS_DEMAND_STYLE_THINSTRIP, in, NULL))
		goto fail;
	memory->Xsize = width;
	memory->Ysize = frames * height;
	if (vips_image_write_prepare(memory))
		goto fail;

	axis_init(&along, in->Xsize, width);
	axis_init(&down, frame_height, height);
	for (result = 0, i = 0; result == 0 && i < frames; i++) {
		Rows rows;

		/* As many as eight rows of the result are made of, and one strip. */
		rows_init(&rows, in, i * frame_height, frame_height,
			MIN(frame_height, (int) (LANES * (double) frame_height / height) + down.taps + 16));
		result = resize_frame(&rows, &along, &down, memory, i * height);
		rows_clear(&rows);
	}
	axis_clear(&along);
	axis_clear(&down);
	if (result == 0) {
		*out = memory;
		return 0;
	}
fail:
	g_object_unref(memory);
	return -1;
}
