/* Colors and alpha: from what a decoder returns to 8 bits, gray or sRGB. */

#include "color.h"

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
int
color_premultiply(VipsImage *in, VipsImage **out)
{
	VipsImage *product;
	int result;

	if (!vips_image_hasalpha(in))
		return color_pass(in, out);
	if (vips_premultiply(in, &product, NULL))
		return -1;
	result = round_to_uchar(product, out);
	g_object_unref(product);

	return result;
}

int
color_unpremultiply(VipsImage *in, VipsImage **out)
{
	VipsImage *quotient;
	int result;

	if (!vips_image_hasalpha(in))
		return color_pass(in, out);
	if (vips_unpremultiply(in, &quotient, NULL))
		return -1;
	result = round_to_uchar(quotient, out);
	g_object_unref(quotient);

	return result;
}

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
int
color_normalize(VipsImage *in, gboolean opaque, VipsImage **out)
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

/* Lab in files is ICC's, relative to D50. libvips assumes D65 unless it seems to
 * come from a profile.
 */
static int
lab_to_srgb(VipsImage *in, VipsImage **out)
{
	VipsImage *lab;
	int result;

	if (vips_colourspace(in, &lab, VIPS_INTERPRETATION_LAB, NULL))
		return -1;
	result = vips_icc_export(lab, out, "output_profile", "srgb",
		"intent", VIPS_INTENT_RELATIVE, "depth", 8, NULL);
	g_object_unref(lab);

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
	if (in->Type == VIPS_INTERPRETATION_LAB || in->Type == VIPS_INTERPRETATION_LABS) {
		result = lab_to_srgb(t[0], out);
		goto done;
	}
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
		/* Except Lab, where 16 bits are unsigned although they are called signed. */
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
gboolean
color_is_srgb(VipsImage *in, gboolean icc)
{
	return in->Type == VIPS_INTERPRETATION_sRGB && in->BandFmt == VIPS_FORMAT_UCHAR && !icc;
}

/* Converts to 8 bits, gray or sRGB; always sRGB with alpha. Alpha bypasses the
 * conversion.
 */
int
color_to_srgb(VipsImage *in, gboolean icc, VipsIntent intent, VipsImage **out)
{
	VipsImage *scope = vips_image_new();
	VipsImage **t = (VipsImage **) vips_object_local_array(VIPS_OBJECT(scope), 4);
	int last = in->Bands - 1;
	int result = -1;

	if (color_is_srgb(in, icc)) {
		result = color_pass(in, out);
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
int
color_narrow(VipsImage *in, VipsImage **out)
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
