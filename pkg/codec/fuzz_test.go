package codec

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// fuzzRecipe has few rungs, so that whole ladders are short enough for the
// fuzzer to find.
var fuzzRecipe = ladder.Recipe{
	Engine: ladder.EngineVersion, Widths: []int{2, 8},
	Encoders: []ladder.Encoder{{Format: ladder.WebP, Quality: 1}, {Format: ladder.JPEG, Quality: 1}, {Format: ladder.AVIF, Quality: 1}},
}

// said is what a child writes: a line that begins with a brace is a frame, of
// any other line the bytes are sent as they are. After "raw:" there are no
// lines: everything is sent as it is.
func said(script []byte) []byte {
	if raw, ok := bytes.CutPrefix(script, []byte("raw:")); ok {
		return raw
	}
	var out []byte
	for line := range bytes.SplitSeq(script, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("{")) {
			out = binary.BigEndian.AppendUint32(out, uint32(len(line)))
		}
		out = append(out, line...)
	}
	return out
}

// ghost is a child of which nothing is left but what it has said.
func ghost(t *testing.T, words []byte) *process {
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	p := &process{
		cmd: &exec.Cmd{Process: new(os.Process)}, conn: ours,
		r: bufio.NewReader(bytes.NewReader(words)), exited: make(chan struct{}),
	}
	close(p.exited)
	return p
}

// inspector is a sink that checks what it gets against the plan.
type inspector struct {
	t      *testing.T
	source *ladder.Source
	plan   []ladder.Variant
	got    []ladder.Variant
}

func (i *inspector) Opened(s ladder.Source) error {
	if i.source != nil {
		i.t.Error("opened twice")
	}
	if s.Width < 1 || s.Height < 1 || s.Frames < 1 || !slices.Contains(imagefile.Formats, s.Format) {
		i.t.Errorf("opened as %+v", s)
	}
	i.source, i.plan = &s, fuzzRecipe.Plan(s.Width, s.Height).Variants
	return nil
}

func (i *inspector) Variant(v ladder.Variant, body io.Reader) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if int64(len(b)) != v.Bytes {
		return errCut // as package publish has it
	}
	if !hasMagic(v.Format, b) {
		i.t.Errorf("%s begins with %.12q", v.Name(), b)
	}
	v.Bytes = 0
	if !slices.Contains(i.plan, v) || slices.Contains(i.got, v) {
		i.t.Errorf("unplanned %s after %v; planned: %v", v.Name(), i.got, i.plan)
	}
	i.got = append(i.got, v)
	return nil
}

var errCut = errors.New("cut short")

// whole checks that every planned file came or was left out by name, once.
func (i *inspector) whole(s ladder.Summary) {
	left := slices.Clone(i.plan)
	for _, v := range i.got {
		left = slices.DeleteFunc(left, func(p ladder.Variant) bool { return p == v })
	}
	for _, o := range s.Omitted {
		n := len(left)
		left = slices.DeleteFunc(left, func(p ladder.Variant) bool { return p.Format == o.Format && p.Width == o.Width })
		if len(left) != n-1 || o.Reason != ladder.NotSmaller {
			i.t.Errorf("omitted %+v, which was unplanned or delivered", o)
		}
	}
	if len(left) > 0 {
		i.t.Errorf("neither made nor omitted: %v", left)
	}
	if len(s.ThumbHash) < 1 || len(s.ThumbHash) > 25 {
		i.t.Errorf("a ThumbHash of %d bytes", len(s.ThumbHash))
	}
	for stage, took := range s.Timings {
		if !slices.Contains(timed, stage) || took < 0 {
			i.t.Errorf("%s took %v", stage, took)
		}
	}
}

// allocated is how many bytes this process has asked for so far.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// allowance is what may be allocated for so many bytes from a child: a few
// times them, and what one turn takes anyway.
func allowance(words int) uint64 { return 2<<20 + 64*uint64(words) }

func FuzzAnswerOfAChild(f *testing.F) {
	opened := `{"opened":{"format":"jpeg","width":8,"height":6,"frames":1}}` + "\n"
	file := func(format ladder.Format, width, height int, head string) string {
		return fmt.Sprintf(`{"variant":{"format":%q,"width":%d,"height":%d,"bytes":%d}}`+"\n%s\n", format, width, height, len(head)+1, head+".")
	}
	webp, jpeg, avif := "RIFF1234WEBP", "\xff\xd8\xff", "1234ftypavif"
	all := opened + file(ladder.WebP, 2, 2, webp) + file(ladder.WebP, 8, 6, webp) + file(ladder.JPEG, 2, 2, jpeg) + file(ladder.JPEG, 8, 6, jpeg)
	done := `{"done":{"omitted":[{"format":"avif","width":2,"reason":"not_smaller"},{"format":"avif","width":8,"reason":"not_smaller"}],"thumbhash":"AAAA","color":[1,2,3],"timings":{"decode":1000,"encode_webp":2}}}`
	for _, script := range []string{
		all + done,
		all + file(ladder.AVIF, 2, 2, avif) + file(ladder.AVIF, 8, 6, avif) + `{"done":{"omitted":[],"thumbhash":null,"color":[0,0,0]}}`,
		all + strings.Replace(done, "1000", "-1000", 1),
		all + strings.Replace(done, `"decode"`, `"sync"`, 1),
		all + all + done,
		all + strings.ReplaceAll(done, "avif", "webp"),
		opened + opened,
		opened + file(ladder.JPEG, 8, 6, webp),
		opened + file(ladder.WebP, 7, 6, webp),
		opened + `{"variant":{"format":"jpeg","width":2,"height":2,"bytes":99999999999}}` + "\n" + jpeg,
		opened + `{"variant":{"format":"jpeg","width":2,"height":2,"bytes":-1}}`,
		opened + `{"failed":{"code":"corrupt_image","detail":"The picture is damaged.","cause":"row 7"}}`,
		`{"failed":{"code":"insufficient_storage","detail":"The disk is full."}}`,
		`{"failed":{"code":"processing_failed","detail":"out of memory"}}`,
		`{"opened":{"format":"svg","width":9223372036854775807,"height":9223372036854775807,"frames":1}}`,
		`{"opened":null,"done":{}}`, `{"hello":{}}`, `{"testing":"read jpeg"}`, `{}`, `{"surprise":1}`, `{"opened":{"width":1},"done":{}}`,
		"raw:\xff\xff\xff\xff", "raw:\x00\x01\x00\x00{", "raw:\x00\x00\x00\x04null", "raw:\x00", "raw:",
	} {
		f.Add([]byte(script))
	}
	src, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { src.Close() })
	f.Fuzz(func(t *testing.T, script []byte) {
		words := said(script)
		p := ghost(t, words)
		i := &inspector{t: t}
		before := allocated()
		summary, err := p.render(src, request{Recipe: fuzzRecipe}, i)
		if took := allocated() - before; took > allowance(len(words)) {
			t.Errorf("%d bytes were allocated for %d bytes from a child", took, len(words))
		}
		var crash *Crash
		var reported *fault.Error
		switch {
		case err == nil:
			i.whole(summary)
		case errors.As(err, &crash):
		case errors.As(err, &reported):
			if !slices.Contains(ownFaults, reported.Code) {
				t.Errorf("a child's fault is %v", reported)
			}
		default:
			t.Errorf("%T: %v is neither a crash nor a fault", err, err)
		}
	})
}

func FuzzGreetingOfAChild(f *testing.F) {
	hello := `{"hello":{"protocol":2,"engine":1,"version":"1.2.3","bimg":"1","libvips":"8.14.1","inputs":["jpeg"],"outputs":["jpeg"],"off":null,"vector":true,"sandbox":{"memory":1,"seccomp":true,"landlock":0}}}`
	for _, script := range []string{
		hello,
		`{"testing":"read jpeg"}` + "\n" + `{"testing":"write avif"}` + "\n" + hello,
		`{"testing":"read jpeg"}`,
		strings.Replace(hello, "1.2.3", "1.2.4", 1),
		strings.Replace(hello, `"protocol":2`, `"protocol":1`, 1),
		`{"opened":{"format":"jpeg","width":8,"height":6,"frames":1}}`,
		"raw:\xff\xff\xff\xff", "raw:",
	} {
		f.Add([]byte(script))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		words := said(script)
		p := ghost(t, words)
		before := allocated()
		err := p.greet(t.Context(), "1.2.3")
		if took := allocated() - before; took > allowance(len(words)) {
			t.Errorf("%d bytes were allocated for %d bytes from a child", took, len(words))
		}
		if err == nil && (p.about.Protocol != Protocol || p.about.Engine != ladder.EngineVersion) {
			t.Errorf("greeted as %+v", p.about)
		}
	})
}
