package backup_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/optimizerd/optimizerd/pkg/backup"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// verifyBackup checks a backup and returns the problems, sorted by their files.
func verifyBackup(t *testing.T, store backup.Store, c backup.VerifyConfig) (totals backup.VerifyTotals, found []backup.Problem) {
	t.Helper()
	c.Report = func(p backup.Problem) {
		t.Logf("%+v", p)
		found = append(found, p)
	}
	totals, err := backup.Verify(t.Context(), c, store)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(found, func(a, b backup.Problem) int { return strings.Compare(a.File, b.File) })
	if totals.Damaged != len(found) {
		t.Errorf("%d are damaged, and %d were reported", totals.Damaged, len(found))
	}
	return totals, found
}

func readFolder(t *testing.T, dir string) backup.Store {
	t.Helper()
	store, err := backup.ReadFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// closedFolder returns the directory of a backup of a data folder with these sets, which
// nothing has open.
func closedFolder(t *testing.T, ids ...string) (data, dir string) {
	t.Helper()
	data, dir = newData(t), filepath.Join(t.TempDir(), "backup")
	for _, id := range ids {
		addSet(t, data, id)
	}
	backupTo(t, data, dir, 0)
	return data, dir
}

// backupTo makes a backup as the command does, and returns the name of the snapshot.
func backupTo(t *testing.T, data, dir string, keep int) string {
	t.Helper()
	store, err := backup.OpenFolder(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	totals, leftOut := runBackup(t, store, backup.Config{Dir: data, Keep: keep})
	if len(leftOut) > 0 {
		t.Errorf("left out: %q", leftOut)
	}
	return totals.Snapshot
}

func pathOfBlob(dir, content string) string {
	return filepath.Join(dir, "blobs", digest(content)[:2], digest(content))
}

// contents returns what is in each file below a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = info.ModTime().String() + info.Mode().String() + string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// counting counts how often each blob is read.
type counting struct {
	backup.Store

	mu    sync.Mutex
	reads map[string]int
}

func (s *counting) Get(ctx context.Context, digest string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads[digest]++
	return s.Store.Get(ctx, digest)
}

func TestVerifyReadsEachFileOnceAndWritesNothing(t *testing.T) {
	data := newData(t)
	locked, dir := newFolder(t) // as while a backup runs
	a, b := strings.Repeat("a", 26), strings.Repeat("b", 26)
	addSet(t, data, a)
	first, _ := runBackup(t, locked, backup.Config{Dir: data})
	addSetOf(t, data, b, a) // one original for both
	second, _ := runBackup(t, locked, backup.Config{Dir: data})
	write(t, []byte("par"), dir, "blobs", "ab", "."+strings.Repeat("ab", 32)+unfinished) // being written
	before := contents(t, dir)

	store := &counting{Store: readFolder(t, dir), reads: make(map[string]int)}
	totals, found := verifyBackup(t, store, backup.VerifyConfig{})
	want := backup.VerifyTotals{
		Snapshots: []backup.SnapshotTotals{{Snapshot: first.Snapshot, Sets: 1, Originals: 1}, {Snapshot: second.Snapshot, Sets: 2, Originals: 2}},
		Sets:      2, Files: 7, Bytes: totals.Bytes,
	}
	if diff := cmp.Diff(want, totals); diff != "" || len(found) > 0 {
		t.Errorf("found %+v, totals (-want +got):\n%s", found, diff)
	}
	for digest, n := range store.reads {
		if n != 1 {
			t.Errorf("%s was read %d times", digest, n)
		}
	}
	if len(store.reads) != 7 {
		t.Errorf("%d files were read, want 7", len(store.reads))
	}
	quick := &counting{Store: readFolder(t, dir), reads: make(map[string]int)}
	if totals, _ := verifyBackup(t, quick, backup.VerifyConfig{Quick: true}); totals.Files != 7 || len(quick.reads) != 2 {
		t.Errorf("a quick check of %d files reads %d, want 2 manifests of 7", totals.Files, len(quick.reads))
	}
	if totals, _ := verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{Snapshot: first.Snapshot}); len(totals.Snapshots) != 1 || totals.Files != 4 {
		t.Errorf("a check of the first snapshot: %+v", totals)
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("the backup was changed (-before +after):\n%s", diff)
	}
}

// damages are what becomes of a file of a backup, and what finds it.
var damages = map[string]struct {
	do    func(file string) error
	kind  backup.Kind
	quick bool // a quick check finds it
	aside bool // it must be set aside for the next backup to copy it again
}{
	"changed": {func(file string) error {
		b, err := os.ReadFile(file)
		b[0] ^= 1
		return errors.Join(err, os.WriteFile(file, b, 0o600))
	}, backup.DamagedFile, false, true},
	"cut":     {func(file string) error { return os.Truncate(file, 1) }, backup.DamagedFile, true, false},
	"longer":  {func(file string) error { return os.Truncate(file, 1000) }, backup.DamagedFile, true, false},
	"missing": {os.Remove, backup.MissingFile, true, false},
}

// wantProblems compares what a check has found, without the details.
func wantProblems(t *testing.T, found []backup.Problem, want ...backup.Problem) {
	t.Helper()
	if diff := cmp.Diff(want, found, cmpopts.IgnoreFields(backup.Problem{}, "Detail"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// repairIn opens a backup in a directory as --repair does.
func repairIn(dir string) func() (backup.Store, error) {
	return func() (backup.Store, error) { return backup.OpenFolder(dir, false) }
}

func TestVerifyFindsDamageThatTheNextBackupHeals(t *testing.T) {
	id := strings.Repeat("a", 26)
	for _, file := range []string{"files/" + id + "/4.webp", "originals/" + id, "files/" + id + "/manifest.json"} {
		for name, damage := range damages {
			t.Run(path.Base(file)+" "+name, func(t *testing.T) {
				data, dir := closedFolder(t, id)
				second := backupTo(t, data, dir, 0)
				sound := contentOf(t, filepath.Join(data, filepath.FromSlash(file)))
				if err := damage.do(pathOfBlob(dir, sound)); err != nil {
					t.Fatal(err)
				}
				totals, found := verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{})
				want := backup.Problem{Kind: damage.kind, File: file, Image: id, Blob: digest(sound), Snapshots: []string{totals.Snapshots[0].Snapshot, second}}
				wantProblems(t, found, want)
				if totals.Snapshots[0].Damaged != 1 || totals.Snapshots[1].Damaged != 1 {
					t.Errorf("totals %+v", totals)
				}
				_, found = verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{Quick: true})
				if damage.quick || path.Base(file) == manifest.FileName { // which is always read
					wantProblems(t, found, want)
				} else {
					wantProblems(t, found)
				}
				if damage.aside {
					_, found := verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{Repair: repairIn(dir)})
					want.SetAside = true
					wantProblems(t, found, want)
					contentOf(t, filepath.Join(dir, "damaged", digest(sound)))
				}
				backupTo(t, data, dir, 0)
				totals, found = verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{})
				wantProblems(t, found)
				if healed := contentOf(t, pathOfBlob(dir, sound)); healed != sound || len(totals.Snapshots) != 3 {
					t.Errorf("the copy is %q, totals %+v", healed, totals)
				}
			})
		}
	}
}

// contentOf returns what is in a file.
func contentOf(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A file that several images share is one blob.
func TestVerifyReportsEachImageOfADamagedFile(t *testing.T) {
	data := newData(t)
	a, b := strings.Repeat("a", 26), strings.Repeat("b", 26)
	addSet(t, data, a)
	addSetOf(t, data, b, a)
	dir := filepath.Join(t.TempDir(), "backup")
	backupTo(t, data, dir, 0)
	if err := damages["changed"].do(pathOfBlob(dir, "original "+a)); err != nil {
		t.Fatal(err)
	}
	totals, found := verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{Repair: repairIn(dir)})
	if len(found) != 2 || found[0].Image != a || found[1].Image != b || !found[0].SetAside || !found[1].SetAside || totals.SetAside != 1 {
		t.Errorf("found %+v, %+v", found, totals)
	}
}

func TestVerifyReportsSnapshotsThatCannotBeRead(t *testing.T) {
	id := strings.Repeat("a", 26)
	data, dir := closedFolder(t, id)
	cut := backupTo(t, data, dir, 0)
	last := backupTo(t, data, dir, 0)
	file := filepath.Join(dir, "snapshots", cut+".jsonl.gz")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, info.Size()-1); err != nil { // its entries can be decoded, and its checksum is cut
		t.Fatal(err)
	}
	newer, future := "20261124T120000.000Z.jsonl.gz", "20991231T235959.000Z"
	from, _ := oneSnapshot(t, 2)
	if err := os.Rename(filepath.Join(from, "snapshots", newer), filepath.Join(dir, "snapshots", future+".jsonl.gz")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(pathOfBlob(dir, "small "+id)); err != nil {
		t.Fatal(err)
	}
	totals, found := verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{})
	first := totals.Snapshots[0].Snapshot
	wantProblems(t, found,
		backup.Problem{Kind: backup.MissingFile, File: "files/" + id + "/4.webp", Image: id, Blob: digest("small " + id), Snapshots: []string{first, last}},
		backup.Problem{Kind: backup.DamagedSnapshot, File: "snapshots/" + cut + ".jsonl.gz", Snapshots: []string{cut}},
		backup.Problem{Kind: backup.NewerSnapshot, File: "snapshots/" + future + ".jsonl.gz", Snapshots: []string{future}})
	if detail := found[2].Detail; !strings.Contains(detail, "optimizerd 9.8.7 or newer") {
		t.Errorf("of the newer snapshot: %s", detail)
	}
	want := []backup.SnapshotTotals{{Snapshot: first, Sets: 1, Originals: 1, Damaged: 1}, {Snapshot: cut, Damaged: 1}, {Snapshot: last, Sets: 1, Originals: 1, Damaged: 1}, {Snapshot: future, Damaged: 1}}
	if diff := cmp.Diff(want, totals.Snapshots); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
}

func TestVerifyReportsRecordsThatTheDaemonCannotRead(t *testing.T) {
	data := newData(t)
	j, record := failedUpload(t, []byte("a damaged image"))
	write(t, record, data, "queue", "done", j.ID+".json")
	write(t, make([]byte, 100), data, "queue", "done", "job_zeros.json") // after a power cut
	write(t, []byte(`{"x":`), data, "outbox", "msg_1.json")
	write(t, []byte(`{}`), data, "outbox", "msg_2.json")
	write(t, []byte("secret"), data, "url-key")
	dir := filepath.Join(t.TempDir(), "backup")
	first := backupTo(t, data, dir, 0)
	second := backupTo(t, data, dir, 0)
	_, found := verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{Quick: true})
	var files []string
	for _, p := range found {
		files = append(files, p.File)
		if p.Kind != backup.DamagedRecord || !slices.Equal(p.Snapshots, []string{first, second}) {
			t.Errorf("found %+v", p)
		}
	}
	if !slices.Equal(files, []string{"outbox/msg_1.json", "queue/done/job_zeros.json"}) {
		t.Errorf("found %q", files)
	}
}

// meddling is a store that does something before its nth use.
type meddling struct {
	backup.Store

	mu   sync.Mutex
	left int
	do   func()
}

func (s *meddling) use() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left == 0 {
		s.do()
	}
}

func (s *meddling) Blobs(ctx context.Context, f func(string, int64)) error {
	s.use()
	return s.Store.Blobs(ctx, f)
}

func (s *meddling) Get(ctx context.Context, digest string) (io.ReadCloser, error) {
	s.use()
	return s.Store.Get(ctx, digest)
}

func (s *meddling) Snapshots(ctx context.Context) ([]string, error) {
	s.use()
	return s.Store.Snapshots(ctx)
}

func (s *meddling) GetSnapshot(ctx context.Context, name string) ([]byte, error) {
	s.use()
	return s.Store.GetSnapshot(ctx, name)
}

func TestBackupThatDeletesSnapshotsMeanwhileIsNoDamage(t *testing.T) {
	a, b, c := strings.Repeat("a", 26), strings.Repeat("b", 26), strings.Repeat("c", 26)
	data, twice := closedFolder(t, a)
	if err := errors.Join(os.RemoveAll(filepath.Join(data, "files", a)), os.Remove(filepath.Join(data, "originals", a))); err != nil {
		t.Fatal(err)
	}
	addSet(t, data, b)
	kept := backupTo(t, data, twice, 0)
	addSet(t, data, c)
	deletedA := func(nth int, quick bool) bool {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(twice)); err != nil {
			t.Fatal(err)
		}
		store := &meddling{Store: readFolder(t, dir), left: nth, do: func() { backupTo(t, data, dir, 2) }}
		totals, found := verifyBackup(t, store, backup.VerifyConfig{Quick: quick})
		if len(found) > 0 || !slices.ContainsFunc(totals.Snapshots, func(s backup.SnapshotTotals) bool { return s.Snapshot == kept && s.Damaged == 0 }) {
			t.Errorf("a backup before use %d: found %+v, %+v", nth, found, totals)
		}
		_, err := os.Stat(pathOfBlob(dir, "small "+a))
		return errors.Is(err, fs.ErrNotExist)
	}
	for quick, files := range map[bool]int{false: 8, true: 2} {
		uses := 6 + files // twice the names of snapshots, both snapshots, the list of blobs, and the names again
		for nth := 1; nth <= uses; nth++ {
			if !deletedA(nth, quick) {
				t.Errorf("no backup ran before use %d, quick: %v", nth, quick)
			}
		}
	}
}

func TestInterruptedVerifyFindsNoDamage(t *testing.T) {
	_, dir := closedFolder(t, strings.Repeat("a", 26), strings.Repeat("b", 26))
	for _, nth := range []int{1, 2, 3, 4, 5, 8} {
		ctx, cancel := context.WithCancel(t.Context())
		store := &meddling{Store: readFolder(t, dir), left: nth, do: cancel}
		report := func(p backup.Problem) { t.Errorf("found %+v", p) }
		if _, err := backup.Verify(ctx, backup.VerifyConfig{Report: report}, store); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted before use %d: %v", nth, err)
		}
	}
	if _, found := verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{}); len(found) > 0 {
		t.Errorf("afterwards: %+v", found)
	}
}

func TestRepairLeavesAFileThatABackupMayBeUsing(t *testing.T) {
	id := strings.Repeat("a", 26)
	data := newData(t)
	running, dir := newFolder(t)
	addSet(t, data, id)
	runBackup(t, running, backup.Config{Dir: data})
	if err := damages["changed"].do(pathOfBlob(dir, "small "+id)); err != nil {
		t.Fatal(err)
	}
	_, found := verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{Repair: repairIn(dir)})
	if len(found) != 1 || found[0].SetAside || !strings.Contains(found[0].Detail, "cannot be set aside: "+dir+" is in use") {
		t.Errorf("found %+v", found)
	}
	if _, err := os.Stat(pathOfBlob(dir, "small "+id)); err != nil {
		t.Error(err)
	}
}

// faulty returns another content for the first reads of a blob, or an error after it.
type faulty struct {
	backup.Store

	digest string
	faults int
	err    error
}

func (s *faulty) Get(ctx context.Context, digest string) (io.ReadCloser, error) {
	if digest != s.digest || s.faults == 0 {
		return s.Store.Get(ctx, digest)
	}
	s.faults--
	r := io.Reader(strings.NewReader("wrong"))
	if s.err != nil {
		r = io.MultiReader(r, iotest.ErrReader(s.err))
	}
	return io.NopCloser(r), nil
}

// The memory of the machine that checks may be what is damaged.
func TestRepairReadsAFileAgainBeforeItIsSetAside(t *testing.T) {
	id := strings.Repeat("a", 26)
	_, dir := closedFolder(t, id)
	store := &faulty{Store: readFolder(t, dir), digest: digest("small " + id), faults: 1}
	if totals, found := verifyBackup(t, store, backup.VerifyConfig{Repair: repairIn(dir)}); len(found) > 0 || totals.SetAside > 0 {
		t.Errorf("found %+v, %+v", found, totals)
	}
}

func TestVerifyDistinguishesABrokenConnectionFromDamage(t *testing.T) {
	id := strings.Repeat("a", 26)
	_, dir := closedFolder(t, id)
	broken := errors.New("connection reset")
	for faults, want := range map[int]error{2: nil, 3: broken} {
		store := &faulty{Store: readFolder(t, dir), digest: digest("small " + id), faults: faults, err: broken}
		report := func(p backup.Problem) { t.Errorf("found %+v", p) }
		if _, err := backup.Verify(t.Context(), backup.VerifyConfig{Report: report}, store); !errors.Is(err, want) {
			t.Errorf("after %d interruptions: %v, want %v", faults, err, want)
		}
	}
}

func TestVerifyDistinguishesALostFileFromOneThatMayBeSound(t *testing.T) {
	id := strings.Repeat("a", 26)
	for err, want := range map[error]backup.Kind{syscall.EIO: backup.DamagedFile, syscall.EACCES: backup.Unreadable} {
		_, dir := closedFolder(t, id)
		store := &faulty{Store: readFolder(t, dir), digest: digest("small " + id), faults: 1, err: &fs.PathError{Op: "read", Path: "x", Err: err}}
		totals, found := verifyBackup(t, store, backup.VerifyConfig{})
		wantProblems(t, found, backup.Problem{Kind: want, File: "files/" + id + "/4.webp", Image: id, Blob: digest("small " + id), Snapshots: []string{totals.Snapshots[0].Snapshot}})
	}
}

func TestVerifyWithoutSnapshotsFails(t *testing.T) {
	_, dir := newFolder(t)
	for name, want := range map[string]string{"": "there is no snapshot; is it the right place", "20261124T120000.000Z": "there is no snapshot"} {
		_, err := backup.Verify(t.Context(), backup.VerifyConfig{Snapshot: name}, readFolder(t, dir))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of %q: %v", name, err)
		}
	}
	if _, err := backup.ReadFolder(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not a backup") {
		t.Errorf("of another directory: %v", err)
	}
}
