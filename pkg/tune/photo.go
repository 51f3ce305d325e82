package tune

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"os"

	"github.com/optimizerd/optimizerd/pkg/spool"
)

// The size of the generated image: a phone's 12 megapixels.
const (
	photoWidth  = 4000
	photoHeight = 3000
)

// Photo generates a JPEG, in memory, that costs about as much as a photo. It
// uses the dead leaves model, overlapping discs of all sizes, which has the
// edges and the spectrum of photos, plus a wave and grain. The image is always
// the same. The file can be opened again by its name within this process. It
// takes some seconds; after the end of ctx it returns its error.
func Photo(ctx context.Context) (*os.File, error) {
	img, err := paint(ctx)
	if err != nil {
		return nil, err
	}
	file, err := spool.MemoryFile()
	if err != nil {
		return nil, fmt.Errorf("make test image: %w", err)
	}
	if err := jpeg.Encode(file, img, &jpeg.Options{Quality: 92}); err != nil {
		return nil, fmt.Errorf("make test image: %w", errors.Join(err, file.Close()))
	}
	return file, nil
}

func paint(ctx context.Context) (image.Image, error) {
	random := rand.New(rand.NewPCG(1, 1))
	img := image.NewYCbCr(image.Rect(0, 0, photoWidth, photoHeight), image.YCbCrSubsampleRatio420)
	paintLeaf(img, leaf{photoWidth / 2, photoHeight / 2, photoWidth, 110, 120, 130, 0.01, 0.01})
	for range leaves {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		paintLeaf(img, randomLeaf(random))
	}
	for i := range img.Y {
		grain := random.Uint64()
		img.Y[i] += uint8(grain&grainMask) + uint8(grain>>8&grainMask)
	}
	return img, nil
}

const (
	leaves    = 20000
	grainMask = 7 // maximum of each of the two random numbers that make up the grain
)

// leaf is a disc with a brightness wave across it.
type leaf struct {
	x, y, radius float64
	luma, cb, cr float64
	waveX, waveY float64 // radians per pixel
}

// randomLeaf draws a leaf. Radii follow an inverse cube law, like the sizes of
// objects in photos.
func randomLeaf(r *rand.Rand) leaf {
	const smallest, largest = 8, 700
	u := r.Float64()
	radius := 1 / math.Sqrt(u/(smallest*smallest)+(1-u)/(largest*largest))
	wave := (0.02 + 0.5*r.Float64()) * (0.2 + r.Float64())
	turn := 2 * math.Pi * r.Float64()
	return leaf{
		x: photoWidth * r.Float64(), y: photoHeight * r.Float64(), radius: radius,
		luma: 50 + 130*r.Float64(), cb: 128 + 16*r.NormFloat64(), cr: 128 + 16*r.NormFloat64(),
		waveX: wave * math.Cos(turn), waveY: wave * math.Sin(turn),
	}
}

// edgeWidth is the width of the soft edge of a leaf, in pixels.
const edgeWidth = 6

func paintLeaf(p *image.YCbCr, l leaf) {
	top, bottom := max(0, int(l.y-l.radius)), min(photoHeight-1, int(l.y+l.radius))
	left, right := max(0, int(l.x-l.radius)), min(photoWidth-1, int(l.x+l.radius))
	for y := top; y <= bottom; y++ {
		for x := left; x <= right; x++ {
			fromEdge := l.radius - math.Hypot(float64(x)-l.x, float64(y)-l.y)
			if fromEdge <= 0 {
				continue
			}
			cover := min(1, fromEdge/edgeWidth)
			luma := l.luma + 12*math.Sin(l.waveX*float64(x)+l.waveY*float64(y))
			blend(&p.Y[p.YOffset(x, y)], luma, cover)
			if x%2 == 0 && y%2 == 0 {
				c := p.COffset(x, y)
				blend(&p.Cb[c], l.cb, cover)
				blend(&p.Cr[c], l.cr, cover)
			}
		}
	}
}

// blend mixes value into sample and leaves headroom for the grain.
func blend(sample *uint8, value, cover float64) {
	mixed := value*cover + float64(*sample)*(1-cover)
	*sample = uint8(min(240, max(1, mixed)))
}
