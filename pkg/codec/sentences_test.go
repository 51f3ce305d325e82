package codec

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

func TestSentencesOfAChildReachAClientOnlyIfKnown(t *testing.T) {
	for _, detail := range []string{
		"", "The image\nis damaged.", "<img src=x onerror=alert(1)>", strings.Repeat("x", 50_000), "damaged \xff",
		"The JPEG image is damaged: its header cannot be read. Visit example.org.",
		"Visit example.org. The JPEG image is damaged: its header cannot be read.",
		"The animation has " + strings.Repeat("9", 1000) + " frames; the limit is 5.", "The animation has 1e9 frames; the limit is 5.", "Anything is not supported.", "KIND is not supported.",
	} {
		for code, want := range general {
			if got := sentence(failure{Code: code, Detail: detail}); got != want {
				t.Errorf("%s, %.60q: a client reads %q", code, detail, got)
			}
		}
	}
	for _, code := range ownFaults {
		if general[code] == "" {
			t.Errorf("there is no general sentence for %s", code)
		}
	}
}

// The sentences are in the source of the packages that make them, with verbs for
// what changes.
func TestSentenceOfTheEngineReachesAClient(t *testing.T) {
	inserted := strings.NewReplacer("%d", "12", "%s could", "animation could", "Creating the %s", "Creating the animation",
		"pixels (%s)", "pixels (3 × 4 in 5 frames)", "%s is not", "Lossless JPEG is not", "TIFF (%s", "TIFF (CIE Lab", "%s", "AVIF")
	for glob, quoted := range map[string]string{
		"imaging/*.go":    `fault\.(?:New|Wrap)\(fault\.\w+, (?:cause, )?("[^"]+")`,
		"imaging/p*.go":   `unsupportedKind\(("[^"]+"), nil\)`,
		"imagefile/*.go":  `Unsupported\{(?:fmt\.Sprintf\()?("[^"]+")(?:, [^+{}]*\))?\}`,
		"imagefile/j*.go": `: +("(?:[\w-]+ JPEG|JPEG-\w+)")`,
	} {
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		found := 0
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(quoted).FindAllSubmatch(source, -1) {
				text, err := strconv.Unquote(string(m[1]))
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasSuffix(text, ".") {
					text += " is not supported."
				}
				text = inserted.Replace(text)
				if got := sentence(failure{Code: fault.Internal, Detail: text}); got != text {
					t.Errorf("%s: a client reads %q instead of %q", file, got, text)
				}
				found++
			}
		}
		if found == 0 {
			t.Errorf("no sentence was found in %s", glob)
		}
	}
	for _, text := range []string{
		"TIFF (RGB, 32 bits per sample, 3+1 samples, compression 5, separate planes, tiles) is not supported.",
		"HDR (PQ) is not supported.", "This kind of HEIC is not supported.", "The JPEG image could not be created.",
		"The image has 1000000 pixels (1000 × 1000); the limit is 10.",
	} {
		if got := sentence(failure{Code: fault.Internal, Detail: text}); got != text {
			t.Errorf("a client reads %q instead of %q", got, text)
		}
	}
}
