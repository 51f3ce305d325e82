package tune_test

import (
	"image/jpeg"
	"os"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/tune"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Phones' photos of this size have 2 to 5 MB.
func TestGeneratedImageIsLikeAPhoto(t *testing.T) {
	photo, err := tune.Photo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer photo.Close()
	again, err := os.Open(photo.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	c, err := jpeg.DecodeConfig(again)
	if err != nil || c.Width*c.Height != 12_000_000 {
		t.Errorf("%d × %d pixels, %v", c.Width, c.Height, err)
	}
	if info, err := photo.Stat(); err != nil || info.Size() < 2e6 || info.Size() > 5e6 {
		t.Errorf("%v, %v", info.Size(), err)
	}
}
