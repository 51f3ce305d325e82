package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// go test reads a corpus only in the package of its target: one that stays behind when
// the target moves to another package is never run again.
func TestFuzzCorpusBelongsToATargetOfItsPackage(t *testing.T) {
	var found []string // package and target
	err := filepath.WalkDir("../../pkg", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "fuzz" || filepath.Base(filepath.Dir(path)) != "testdata" {
			return err
		}
		dir := filepath.Dir(filepath.Dir(path))
		corpora, err := os.ReadDir(path)
		for _, corpus := range corpora {
			found = append(found, filepath.Join(dir[len("../../pkg/"):], corpus.Name()))
			if !hasTarget(t, dir, corpus.Name()) {
				t.Errorf("%s has no %s", dir, corpus.Name())
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Of each parser that reads bytes of strangers, the inputs that found something are kept.
	for _, target := range []string{
		"codec/FuzzAnswerOfAChild", "codec/imagefile/FuzzEXIF", "codec/imagefile/FuzzInspect", "egress/FuzzURL",
		"httpapi/FuzzJobRequest", "httpapi/FuzzMultipart", "httpapi/FuzzRange", "httpapi/FuzzRequestHeaders",
		"httpapi/signedurl/FuzzVerify", "publish/catalog/FuzzCursor", "tunnel/FuzzStream", "tunnel/access/FuzzToken",
	} {
		if !slices.Contains(found, target) {
			t.Errorf("%s has no corpus", target)
		}
	}
}

// hasTarget reports whether a test file in dir has the fuzz target.
func hasTarget(t *testing.T, dir, target string) bool {
	t.Helper()
	files, err := filepath.Glob(dir + "/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile(`(?m)^func ` + target + `\(`)
	return slices.ContainsFunc(files, func(file string) bool { return function.Match(read(t, file)) })
}
