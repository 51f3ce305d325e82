package durable_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/durable"
)

type note struct{ ID, Text string }

func notes(dir string) durable.Folder[note] {
	return durable.OpenFolder(dir, durable.Format[note]{
		ValidID: func(id string) bool { return strings.HasPrefix(id, "n") },
		Encode:  func(n note) ([]byte, error) { return json.Marshal(n) },
		Decode: func(id string, data []byte) (n note, err error) {
			if err := json.Unmarshal(data, &n); err != nil {
				return n, err
			}
			if n.ID != id {
				return n, fmt.Errorf("it is the note of %s", n.ID)
			}
			return n, nil
		},
	})
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

func TestFolderKeepsRecords(t *testing.T) {
	folder := notes(filepath.Join(t.TempDir(), "notes"))
	if err := errors.Join(folder.Create(), folder.Write("n2", note{"n2", "b"}), folder.Write("n1", note{"n1", "a"}), folder.Write("n2", note{"n2", "c"})); err != nil {
		t.Fatal(err)
	}
	if ids, err := folder.IDs(); err != nil || !slices.Equal(ids, []string{"n1", "n2"}) {
		t.Errorf("IDs are %v, %v; want n1 and n2", ids, err)
	}
	if n, err := folder.Read("n2"); err != nil || n.Text != "c" {
		t.Errorf("n2 is %v, %v; want the text written last", n, err)
	}
	for _, want := range []bool{true, false} {
		if removed, err := folder.Remove("n1"); removed != want || err != nil {
			t.Errorf("remove n1: got %v, %v; want %v", removed, err, want)
		}
	}
	if err := folder.Sync(); err != nil {
		t.Error(err)
	}
}

func TestFolderKeepsTheTimeOfARecordUntilItIsWrittenAgain(t *testing.T) {
	folder := notes(t.TempDir())
	then := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := errors.Join(folder.Write("n1", note{"n1", "a"}), folder.SetModified("n1", then)); err != nil {
		t.Fatal(err)
	}
	if at, err := folder.Modified("n1"); err != nil || !at.Equal(then) {
		t.Errorf("n1 is of %v, %v; want %v", at, err, then)
	}
	if err := folder.Write("n1", note{"n1", "b"}); err != nil {
		t.Fatal(err)
	}
	if at, err := folder.Modified("n1"); err != nil || !at.After(then) {
		t.Errorf("written again, n1 is of %v, %v; want now", at, err)
	}
}

func TestFolderHasNothingElse(t *testing.T) {
	folder := notes(filepath.Join(t.TempDir(), "notes"))
	if ids, err := folder.IDs(); err != nil || len(ids) > 0 {
		t.Errorf("a missing directory has %v, %v; want nothing", ids, err)
	}
	if err := errors.Join(folder.Create(), folder.Write("n1", note{"n1", "a"})); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"n3", "x", "../notes/n1"} {
		if _, err := folder.Read(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read %s: %v, want fs.ErrNotExist", id, err)
		}
		if folder.Has(id) {
			t.Errorf("it has %s", id)
		}
	}
}

func TestFolderMovesRecords(t *testing.T) {
	dir := t.TempDir()
	from, to := notes(filepath.Join(dir, "from")), notes(filepath.Join(dir, "to"))
	if err := errors.Join(from.Create(), to.Create(), from.Write("n1", note{"n1", "a"})); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to move
		if err := from.MoveTo(to, "n1"); err != nil {
			t.Fatal(err)
		}
	}
	if from.Has("n1") || !to.Has("n1") {
		t.Error("the record is not where it was moved to")
	}
}

func TestFolderSetsAsideWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	folder := notes(dir)
	for name, content := range map[string]string{
		"n1.json": `{"ID": "n1"}`, "n2.json": "{", "n3.json": `{"ID": "n1"}`, "other.json": "{", "n4.txt": "", "n5.json.unreadable": "{",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range [][]string{{"n2", "n3"}, nil} { // nothing is reported twice
		var unreadable []string
		records, err := folder.Load(func(id string, err error) { unreadable = append(unreadable, id) })
		if err != nil || len(records) != 1 || records[0].ID != "n1" || !slices.Equal(unreadable, want) {
			t.Errorf("load %d: got %v, unreadable %v, %v; want n1, unreadable %v", i+1, records, unreadable, err, want)
		}
	}
	want := []string{"n1.json", "n2.json.unreadable", "n3.json.unreadable", "n4.txt", "n5.json.unreadable", "other.json"}
	if got := list(t, dir); !slices.Equal(got, want) {
		t.Errorf("the directory has %v, want %v", got, want)
	}
}

// An older version sets records aside that have fields which it does not know.
func TestFolderTakesBackWhatItCanRead(t *testing.T) {
	dir := t.TempDir()
	folder := notes(dir)
	for name, content := range map[string]string{
		"n1.json.unreadable": `{"ID": "n1"}`, "n2.json.unreadable": "{", "n3.json.unreadable": `{"ID": "n3", "Text": "old"}`, "n3.json": `{"ID": "n3"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range [][]string{{"n1"}, nil} { // nothing is reported twice
		var back []string
		if err := folder.TakeBack(func(id string) { back = append(back, id) }); err != nil || !slices.Equal(back, want) {
			t.Errorf("call %d takes back %v, %v; want %v", i+1, back, err, want)
		}
	}
	want := []string{"n1.json", "n2.json.unreadable", "n3.json", "n3.json.unreadable"}
	if got := list(t, dir); !slices.Equal(got, want) {
		t.Errorf("the directory has %v, want %v", got, want)
	}
	aside, err := folder.SetAside()
	if err != nil || len(aside) != 2 || string(aside["n2"]) != "{" {
		t.Errorf("set aside are %q, %v; want n2 and n3", aside, err)
	}
}

func TestFolderSweepsAndPrunes(t *testing.T) {
	dir := t.TempDir()
	folder := notes(dir)
	now := time.Now()
	for name, age := range map[string]time.Duration{
		".n1.json1234": 0, "n1.json": 0, "n2.json": 2 * time.Hour, "n3.json.unreadable": 2 * time.Hour, ".keep": 0,
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, now.Add(-age), now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	sub := filepath.Join(dir, "failed") // as the outbox has one
	if err := errors.Join(os.MkdirAll(filepath.Join(sub, "x"), 0o700), os.Chtimes(sub, now.Add(-2*time.Hour), now.Add(-2*time.Hour))); err != nil {
		t.Fatal(err)
	}
	if err := folder.Sweep(); err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, dir), []string{".keep", "failed", "n1.json", "n2.json", "n3.json.unreadable"}; !slices.Equal(got, want) {
		t.Errorf("after Sweep: %v, want %v", got, want)
	}
	if err := folder.Prune(now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, dir), []string{".keep", "failed", "n1.json"}; !slices.Equal(got, want) {
		t.Errorf("after Prune: %v, want %v", got, want)
	}
}
