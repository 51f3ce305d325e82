package thumbhash

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// alphas are those of testdata/golden.mjs.
var alphas = map[string]func(x, y, w, h int) byte{
	"opaque": func(_, _, _, _ int) byte { return 255 },
	"faded":  func(x, y, w, h int) byte { return byte(255 * x * (x + y) / (w * (w + h))) },
	"hole": func(x, y, w, h int) byte {
		if 4*x > w && 2*x < w && 4*y > h {
			return 0
		}
		return 255
	},
	"clear": func(_, _, _, _ int) byte { return 0 },
}

func TestEncodeMatchesItsAuthors(t *testing.T) {
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden []struct {
		W, H        int
		Alpha, Hash string
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden) == 0 {
		t.Fatal("golden.json is empty")
	}
	for _, g := range golden {
		t.Run(fmt.Sprintf("%dx%d %s", g.W, g.H, g.Alpha), func(t *testing.T) {
			got := hex.EncodeToString(Encode(g.W, g.H, picture(g.W, g.H, alphas[g.Alpha])))
			if got != g.Hash {
				t.Errorf("got  %s\nwant %s", got, g.Hash)
			}
		})
	}
}

func picture(w, h int, alpha func(x, y, w, h int) byte) []byte {
	var rgba []byte
	for y := range h {
		for x := range w {
			rgba = append(rgba, byte(x*x+y), byte(y*y+3*x), byte(x*y+40), alpha(x, y, w, h))
		}
	}
	return rgba
}

func TestHashIsShort(t *testing.T) {
	for name, alpha := range alphas {
		if n := len(Encode(100, 100, picture(100, 100, alpha))); n > 25 {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

func TestEncodePanicsOnWrongSizes(t *testing.T) {
	for _, size := range [][3]int{{0, 1, 0}, {1, 0, 0}, {101, 1, 404}, {2, 2, 15}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v: no panic", size)
				}
			}()
			Encode(size[0], size[1], make([]byte, size[2]))
		}()
	}
}
