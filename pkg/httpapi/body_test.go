package httpapi

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// net/http returns the last bytes of a body together with io.EOF.
func TestBodyIsMeasuredToItsLastByte(t *testing.T) {
	for length, want := range map[int]fault.Code{4: "", 5: fault.TooLarge} {
		b := &pacedBody{
			body: iotest.DataErrReader(strings.NewReader(strings.Repeat("x", length))), maxRead: math.MaxInt,
			conn: http.NewResponseController(httptest.NewRecorder()), began: time.Now(),
			limit: 4, tooLarge: fault.New(fault.TooLarge, "too large"),
		}
		got, err := io.ReadAll(b)
		if fault.CodeOf(err) != want || len(got) != length {
			t.Errorf("of %d bytes where 4 may be: read %d, %v; want code %q", length, len(got), err, want)
		}
	}
}
