package imaging

import (
	"bytes"
	"fmt"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// refusing makes this test binary a process that renders a file with an
// allocation refused: "after least path". It writes the fault's code.
const refusing = "IMAGING_TEST_REFUSE"

// TestRefusedAllocation is the process's part; it does nothing in the tests'
// own process.
func TestRefusedAllocation(t *testing.T) {
	var after, least int
	var path string
	if _, err := fmt.Sscan(os.Getenv(refusing), &after, &least, &path); err != nil {
		return // not such a process
	}
	engine()
	refuseAllocation(after, least)
	_, _, err := tryRender(t, path, recipe(defaultFormats, 50, 300), generous)
	refuseAllocation(-1, 0)
	fmt.Printf("code=%q\n", fault.CodeOf(err))
}

// A refused allocation is never the image's fault, nor an internal error: the
// image is rendered all the same, or the process says that it lacked memory, or
// it ends. All three lead to another attempt or to a set.
func TestMemoryThatIsLackingIsNeverCalledDamage(t *testing.T) {
	dir := t.TempDir()
	jpg := filepath.Join(dir, "a.jpg")
	var b bytes.Buffer
	m := quarters(400, fourColors)
	for i := range m.Pix { // grain, so that encoders have to grow their buffers
		if i%4 != 3 {
			m.Pix[i] ^= byte(i * 2654435761 >> 13 & 31)
		}
	}
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(jpg, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	paths := []string{jpg}
	for _, args := range [][]string{
		{"pngsave", "a.png", "--interlace"},
		{"webpsave", "a.webp"},
		{"tiffsave", "a.tif", "--compression", "lzw"},
		{"heifsave", "a.avif", "--compression", "av1"},
	} {
		out := filepath.Join(dir, args[1])
		vips(t, append([]string{args[0], jpg, out}, args[2:]...)...)
		paths = append(paths, out)
	}
	for _, path := range paths {
		for _, after := range []int{0, 1, 3, 8} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestRefusedAllocation$")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %s", refusing, after, 16<<10, path))
			out, err := cmd.CombinedOutput()
			said := string(out)
			switch {
			case strings.Contains(said, `code=""`), strings.Contains(said, fmt.Sprintf("code=%q", fault.ProcessingFailed)):
			case err != nil && !strings.Contains(said, "code=") && !strings.Contains(said, "AddressSanitizer") && !strings.Contains(said, "SIGSEGV"):
				// It ended itself, as GLib does.
			default:
				t.Errorf("%s, allocation %d refused: %v\n%.2000s", filepath.Base(path), after, err, said)
			}
		}
	}
}
