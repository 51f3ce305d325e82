package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/verify"
)

func TestVerifyBesideADaemonThatThenMakesTheImageAgain(t *testing.T) {
	dir, source := t.TempDir(), read(t, filepath.Join(testdata(t), "test_icc_prophoto.jpg"))
	s := serve(t, dir, "storage.keep_originals=true", "ladder.widths=64,128")
	m := s.optimize(t, source)
	if stdout := says(t, 0, "", "verify", "--set", "storage.dir="+dir); !strings.Contains(stdout, "1 sets, ") || !strings.Contains(stdout, ": 0 damaged, ") {
		t.Errorf("of a sound folder: %s", stdout)
	}
	flip(t, filepath.Join(dir, "files", m.Variants[0].Key))
	says(t, 0, "", "verify", "--quick", "--set", "storage.dir="+dir) // which looks at names and sizes alone
	stdout, _, status := run(t, "verify", "--repair", "--json", "--set", "storage.dir="+dir)
	var p verify.Problem
	if err := json.NewDecoder(strings.NewReader(stdout)).Decode(&p); err != nil || status != 1 ||
		p.Kind != verify.DamagedFile || p.ID != m.ID || !p.Repaired || p.Original != filepath.Join(dir, "originals", m.ID) {
		t.Errorf("of a changed file: status %d, %v\n%s", status, err, stdout)
	}
	res, err := http.Get(s.url + "/v1/images/" + m.ID)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("the damaged image is answered %s", res.Status)
	}
	if again := s.optimize(t, read(t, p.Original)); again.ID != m.ID {
		t.Errorf("made again it is %s, want %s", again.ID, m.ID)
	}
	says(t, 0, "", "verify", "--set", "storage.dir="+dir)
}
