package contest

import (
	"errors"
	"strings"
	"testing"
)

func TestContestAnswersEachRequestAlsoWithAFailure(t *testing.T) {
	in := strings.NewReader(`{"photo":"a.jpg","folder":"out","variants":[{"name":"640.webp","format":"webp","width":640,"quality":80,"effort":4}]}
{"photo":"broken.jpg","folder":"out","variants":[]}
`)
	var out strings.Builder
	err := Serve(in, &out, "one 1.0", func(r Request) (*Parts, error) {
		if r.Photo == "broken.jpg" {
			return nil, errors.New("no photo")
		}
		return &Parts{Decode: 1, Encode: map[string]float64{r.Variants[0].Name: 2}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"about":"one 1.0"}
{"parts":{"decode":1,"encode":{"640.webp":2}}}
{"error":"no photo"}
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestTotalIsTheDecodeAndEveryFile(t *testing.T) {
	p := Parts{Decode: 0.5, Encode: map[string]float64{"640.webp": 1, "640.jpg": 0.25}}
	if got := p.Total(); got != 1.75 {
		t.Errorf("%v, want 1.75", got)
	}
}
