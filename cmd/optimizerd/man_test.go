package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("go", "run", "-tags", "man", ".", dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "SOURCE_DATE_EPOCH=1767225600")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pages, err := filepath.Glob(dir + "/*.1")
	if err != nil || len(pages) < 12 {
		t.Fatalf("%v: %v", err, pages)
	}
	for _, path := range append(pages, dir+"/optimizerd.yaml.5") {
		page := string(read(t, path))
		sections := []string{".SH FILES", ".SH ENVIRONMENT", ".SH SEE ALSO"}
		if strings.HasSuffix(path, ".1") {
			sections = append(sections, ".SH EXIT STATUS", "optimizerd.yaml(5)")
		}
		for _, want := range append(sections, "Jan 2026") {
			if strings.Count(page, want) != 1 {
				t.Errorf("%s has %q %d times, want once", filepath.Base(path), want, strings.Count(page, want))
			}
		}
		if strings.Contains(page, "spf13") || strings.Contains(page, "HISTORY") {
			t.Errorf("%s names its generator", filepath.Base(path))
		}
	}
	page := string(read(t, dir+"/optimizerd.yaml.5"))
	if !strings.Contains(page, ".SS http.listen\n") || !strings.Contains(page, "OPTIMIZERD_HTTP_LISTEN") {
		t.Errorf("optimizerd.yaml.5 does not describe http.listen:\n%.3000s", page)
	}
}
