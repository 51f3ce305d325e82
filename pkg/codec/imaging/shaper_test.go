package imaging

import (
	"path/filepath"
	"testing"
)

// lcms is the reference for the profiles that are not left to it.
func TestMatrixProfilesAreConvertedAsByLCMS(t *testing.T) {
	const side = 128
	dir := t.TempDir()
	plain := pngOf(t, side, side, noise())
	phone := file(t, "phone.icc", profileOf(t, sample(t, "test_exif_full.jpg")))
	for name, profile := range map[string]string{"p3": "p3", "phone": phone} {
		t.Run(name, func(t *testing.T) {
			wide, reference := filepath.Join(dir, name+".png"), filepath.Join(dir, name+"-reference.png")
			vips(t, "icc_transform", plain, wide, profile, "--input-profile", "srgb")
			if _, ok := parseMatrixProfile(profileOf(t, wide)); !ok {
				t.Fatal("the profile is left to lcms")
			}
			vips(t, "icc_transform", wide, reference, "srgb", "--embedded", "--intent", "relative")
			got, want := decodedAt(t, wide, side, side), pixelsIn(t, reference).Pix
			for i := range want {
				if d := int(got[i]) - int(want[i]); d < -1 || d > 1 {
					t.Fatalf("sample %d is %d, want %d", i, got[i], want[i])
				}
			}
		})
	}
}
