/* Lanczos 3 in integers, for images of 8-bit samples.
 *
 * libvips has the same filter. This one exists because of libvips 8.14, whose
 * vector code is generated at run time, which the service's unit forbids: it
 * processes eight samples at once without that. With libvips 8.16 it saves no
 * time (docs/performance.md). Its output is the same on every machine. For a
 * stream it buffers a few rows, and processes them while libvips decodes the
 * next ones.
 *
 * Eight result rows are made at a time. First the columns: source rows are
 * weighted and summed, and the sums are stored with the eight rows side by
 * side ("across"), so that the pass along the rows can use the same code for
 * any number of bands.
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
#define WEIGHT_BITS 14 /* fractional bits of weights: a weight of 1 fits 16 bits */
#define MIDDLE_BITS 6  /* fractional bits of samples between the two passes */

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

/* Drops fractional bits with rounding; the result must fit 16 bits. */
static inline Eight
round_off(Sums sums, int bits)
{
	Four low = (sums.low + (1 << (bits - 1))) >> bits;
	Four high = (sums.high + (1 << (bits - 1))) >> bits;

	/* The low halves of all sums. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	const Eight halves = { 0, 2, 4, 6, 8, 10, 12, 14 };
#else
	const Eight halves = { 1, 3, 5, 7, 9, 11, 13, 15 };
#endif
	return __builtin_shuffle((Eight) low, (Eight) high, halves);
}

/* The same for bytes. */
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

/* Clamps to 0 and 255. */
static inline EightBytes
to_bytes(Eight v)
{
	v &= ~(v >> 15);
	v |= (255 - v) >> 15;
	return __builtin_convertvector(v, EightBytes);
}

/* Transposes 8 x 8 samples: interleaves the upper and the lower half three
 * times, like a card shuffle.
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

/* The filter along one axis: for each result position, where its samples begin
 * in the source and their weights. All have the same even number of weights;
 * weights past the end of the source are 0.
 */
typedef struct {
	int source; /* samples in the source */
	int size;	/* positions in the result */
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

/* Quantizes weights so that their sum is exactly 1, which preserves flat
 * colors: the rounding error is added to the largest weight.
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
		double center = (place + 0.5) * factor - 0.5;
		int first = (int) floor(center) - taps / 2 + 1;
		int begin = CLAMP(first, 0, MAX(0, source - taps));
		double sum = 0;

		memset(exact, 0, taps * sizeof(*exact));
		for (i = first; i < first + taps; i++) {
			double weight = lanczos3((i - center) / stretch);

			exact[CLAMP(i, 0, source - 1) - begin] += weight; /* repeat the edge */
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

/* A resize in progress. Source rows are in the image or, for a stream, in a
 * ring buffer of the last few.
 */
typedef struct {
	VipsImage *in;
	VipsImage *out;
	Axis along; /* of one frame */
	Axis down;
	uint8_t *ring; /* NULL for an image in memory */
	int capacity;  /* of the ring, rows */

	int frame;
	int read; /* rows of the frame read so far */
	int made; /* rows of the frame's result made so far, a multiple of LANES except at its end */

	Eight *across;
	const uint8_t **lines;
} Resize;

static uint8_t *
row_at(const Resize *r, int y)
{
	y = MIN(y, r->down.source - 1); /* weights past the end are 0 */
	if (!r->ring)
		return VIPS_IMAGE_ADDR(r->in, 0, r->frame * r->down.source + y);
	return r->ring + (size_t) (y % r->capacity) * VIPS_IMAGE_SIZEOF_LINE(r->in);
}

/* Returns the weighted sum of taps vectors (at least two), step apart. */
static inline Sums
weigh(const Eight *samples, int step, const int16_t *weights, int taps)
{
	Sums sums = { 0 };
	int i;

	for (i = 0; i < taps; i += 2, samples += 2 * step)
		sums = add_weighted(sums, samples[0], samples[step], weights + i);
	return sums;
}

/* Filters columns: eight samples, from x on, of eight result rows. lines are
 * the source rows of each.
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

/* The same at the right edge, where fewer samples are readable. */
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

/* Filters rows: up to eight result rows, starting at top, from the samples
 * stored across.
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

/* Makes all result rows whose source rows are available. */
static void
make_rows(Resize *r)
{
	const Axis *down = &r->down;
	int samples = r->along.source * r->out->Bands;

	while (r->made < down->size) {
		const int16_t *weights[LANES];
		int count = MIN(LANES, down->size - r->made);
		int need = down->begin[r->made + count - 1] + down->taps;
		int x, lane, i;

		if (r->read < MIN(need, down->source))
			return;
		for (lane = 0; lane < LANES; lane++) {
			int place = r->made + MIN(lane, count - 1);

			weights[lane] = down->weights + (size_t) place * down->taps;
			for (i = 0; i < down->taps; i++)
				r->lines[lane * down->taps + i] = row_at(r, down->begin[place] + i);
		}
		for (x = 0; x + LANES <= samples; x += LANES)
			weigh_columns(r->lines, weights, down->taps, x, r->across + x);
		if (x < samples)
			weigh_last_columns(r->lines, weights, down->taps, x, samples - x, r->across + x);
		weigh_rows(r->across, &r->along, r->out, r->frame * down->size + r->made, count);
		r->made += count;
	}
}

static void
next_frame(Resize *r)
{
	r->frame++;
	r->read = r->made = 0;
}

/* Receives the next rows of a stream, in order. */
static int
take_rows(VipsRegion *region, VipsRect *area, void *resize)
{
	Resize *r = resize;
	int y;

	for (y = area->top; y < VIPS_RECT_BOTTOM(area); y++) {
		memcpy(row_at(r, r->read), VIPS_REGION_ADDR(region, 0, y), VIPS_IMAGE_SIZEOF_LINE(r->in));
		r->read++;
		make_rows(r);
		if (r->read == r->down.source)
			next_frame(r);
	}
	return 0;
}

static int
run(Resize *r)
{
	if (r->ring)
		return vips_sink_disc(r->in, take_rows, r);
	while (r->frame * r->down.source < r->in->Ysize) {
		r->read = r->down.source;
		make_rows(r);
		next_frame(r);
	}
	return 0;
}

/* Copies the metadata that are valid for an image of another size. */
static void
copy_metadata(VipsImage *in, VipsImage *out)
{
	static const char *const names[] = { VIPS_META_ICC_NAME, "delay", "loop" };
	size_t i;

	for (i = 0; i < G_N_ELEMENTS(names); i++) {
		GValue value = G_VALUE_INIT;

		if (!vips_image_get_typeof(in, names[i]) || vips_image_get(in, names[i], &value))
			continue;
		vips_image_set(out, names[i], &value);
		g_value_unset(&value);
	}
}

/* Makes an image in memory with the header of another, but not linked to it:
 * libvips visits the images upstream of one that it saves, and crashes if
 * another thread is just freeing one of them.
 */
static int
like(VipsImage *in, int width, int height, VipsImage **out)
{
	VipsImage *memory = vips_image_new_memory();

	vips_image_init_fields(memory, width, height, in->Bands,
		in->BandFmt, in->Coding, in->Type, in->Xres, in->Yres);
	if (vips_image_pipelinev(memory, VIPS_DEMAND_STYLE_THINSTRIP, NULL) ||
		vips_image_write_prepare(memory)) {
		g_object_unref(memory);
		return -1;
	}
	copy_metadata(in, memory);
	*out = memory;

	return 0;
}

int
resize(VipsImage *in, int width, int height, VipsImage **out)
{
	int frame_height = vips_image_get_page_height(in);
	VipsImage *memory;
	Resize r = { .in = in };
	int result;

	if (like(in, width, in->Ysize / frame_height * height, &memory))
		return -1;
	r.out = memory;

	axis_init(&r.along, in->Xsize, width);
	axis_init(&r.down, frame_height, height);
	if (!in->data) {
		/* Enough for eight result rows. */
		r.capacity = MIN(frame_height, (int) (LANES * (double) frame_height / height) + r.down.taps + 1);
		r.ring = g_try_malloc((size_t) r.capacity * VIPS_IMAGE_SIZEOF_LINE(in));
	}
	r.across = g_try_new0(Eight, (size_t) (in->Xsize + r.along.taps) * in->Bands + LANES);
	r.lines = g_try_new(const uint8_t *, LANES * r.down.taps);

	if ((!in->data && !r.ring) || !r.across || !r.lines) {
		vips_error("resize", "out of memory");
		result = -1;
	}
	else
		result = run(&r);

	g_free(r.lines);
	g_free(r.across);
	g_free(r.ring);
	axis_clear(&r.along);
	axis_clear(&r.down);
	if (result) {
		g_object_unref(memory);
		return -1;
	}
	*out = memory;

	return 0;
}
