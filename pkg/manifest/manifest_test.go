package manifest_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// golden is the contract: clients in other languages read the same file in
// their tests.
func golden(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenManifestSurvivesUnchanged(t *testing.T) {
	want := golden(t)
	m, err := manifest.Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("encoded again it is\n%s", got)
	}
}

func TestSrcsetHoldsKeysAndWidths(t *testing.T) {
	m, err := manifest.Decode(golden(t))
	if err != nil {
		t.Fatal(err)
	}
	got := manifest.Srcset(m.Variants)[ladder.WebP]
	want := m.ID + "/320.webp 320w, " + m.ID + "/480.webp 480w"
	if got != want || m.Srcset[ladder.WebP] != want {
		t.Errorf("made %q, the golden one is %q, want %q", got, m.Srcset[ladder.WebP], want)
	}
}

func TestWithURLsLeavesTheOriginalAlone(t *testing.T) {
	m, err := manifest.Decode(golden(t))
	if err != nil {
		t.Fatal(err)
	}
	got := m.WithURLs("https://img.example.com")
	if want := "https://img.example.com/files/" + m.ID + "/320.webp"; got.Variants[0].URL != want {
		t.Errorf("url %q, want %q", got.Variants[0].URL, want)
	}
	if m.Variants[0].URL != "" {
		t.Errorf("the original now has url %q", m.Variants[0].URL)
	}
}

func TestListsAreNeverNull(t *testing.T) {
	m, err := manifest.Decode(golden(t))
	if err != nil {
		t.Fatal(err)
	}
	m.Variants, m.Srcset, m.Omitted = nil, nil, nil
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"variants": []`, `"omitted": []`} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
	// Such manifests were stored once.
	b = bytes.Replace(b, []byte(`"variants": []`), []byte(`"variants": null`), 1)
	if m, err = manifest.Decode(b); err != nil || m.Variants == nil {
		t.Errorf("read as %v, %v", m.Variants, err)
	}
}

func TestDecodeRefusesWhatDoesNotHoldTogether(t *testing.T) {
	for name, edit := range map[string][2]string{
		"other version":   {`"version": 1`, `"version": 2`},
		"unknown field":   {`"version": 1`, `"version": 1, "color": "red"`},
		"foreign key":     {`k3v5ab2c4d6e7f2g3h4i5j6k7l/320.webp",`, `../320.webp",`},
		"unknown format":  {`"format": "webp"`, `"format": "gif"`},
		"no size":         {`"width": 320`, `"width": 0`},
		"upper-case hash": {`"sha256": "b5bb`, `"sha256": "B5BB`},
		"unknown stage":   {`"recipe"`, `"timings": {"nap": 1}, "recipe"`},
		"negative time":   {`"recipe"`, `"timings": {"decode": -1}, "recipe"`},
		"bad predecessor": {`"recipe"`, `"replaces": "../etc", "recipe"`},
		"bad id":          {`"id": "k3v5`, `"id": "K3v5`},
	} {
		t.Run(name, func(t *testing.T) {
			text := string(golden(t))
			edited := strings.Replace(text, edit[0], edit[1], 1)
			if edited == text {
				t.Fatalf("%q is not in the golden manifest", edit[0])
			}
			if _, err := manifest.Decode([]byte(edited)); err == nil {
				t.Error("decoded without an error")
			}
		})
	}
	if _, err := manifest.Decode(append(golden(t), '{')); err == nil {
		t.Error("trailing data is accepted")
	}
}

func FuzzDecode(f *testing.F) {
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifest.Decode(data)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := manifest.Decode(again); err != nil {
			t.Fatalf("what was decoded and encoded is refused: %v", err)
		}
	})
}
