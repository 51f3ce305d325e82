package daemon_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/verify"
)

// The jobs and the image of testdata/data-1, which the first version of the
// formats wrote, and whose daemon was killed.
const (
	doneJob, failedJob, runningJob = "job_01m8h6ny55a1w9z2zkat86amm5", "job_01m8h6ny8skb9d419aq8a8djkd", "job_01m8h6pd5ws96z8nxff9mwektz"
	firstImage                     = "s2khrcmwfltwylpavyun4pil2e"
	runningSource                  = "446973e2d7dcca40c8aea7ecc7f95565da4ce781222d7eaa030938df24cbd252"
)

// firstData prepares a daemon over a copy of testdata/data-1.
func firstData(t *testing.T) *daemontest.Server { return dataOf(t, "testdata/data-1") }

// dataOf prepares a daemon over a copy of a data folder.
func dataOf(t *testing.T, folder string) *daemontest.Server {
	t.Helper()
	s := daemontest.Prepare(t, func(c *config.Config) {
		c.Ladder.Widths = []int{16}
		c.Storage.KeepOriginals = true
		c.Jobs.Keep = 100 * 365 * 24 * time.Hour // its jobs ended in 2026
		c.Webhook.Secrets = []config.Secret{"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}
	})
	if err := os.CopyFS(s.Config.Storage.Dir, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFirstFormatsAreReadByThisVersion(t *testing.T) {
	t.Parallel()
	s := firstData(t)
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	m := s.Get("/v1/images/"+firstImage).Manifest(t, http.StatusOK)
	for _, v := range m.Variants {
		s.CheckFile(v)
	}
	if j := s.Get("/jobs/"+doneJob).Job(t, http.StatusOK); j.Status != "completed" || j.Output == nil || j.Output.Manifest.ID != firstImage {
		t.Errorf("the completed job is %+v", j)
	}
	if j := s.Get("/jobs/"+failedJob).Job(t, http.StatusOK); j.Status != "failed" || j.Error.Code != "input_unavailable" {
		t.Errorf("the failed job is %+v", j)
	}
	if j := s.AwaitJob(runningJob); j.Status != "completed" {
		t.Errorf("the job that was running is %+v", j)
	}
	if j := s.AwaitJob(s.PostJob(`{"input": "image:`+firstImage+`", "options": {"quality": "low"}}`).Job(t, http.StatusAccepted).ID); j.Status != "completed" {
		t.Errorf("a ladder of the kept original is %+v", j)
	}
	if names := s.Names("outbox"); len(names) != 2 { // failed/ and the webhook, whose receiver is away
		t.Errorf("the outbox has %v", names)
	}
	if n := s.Logged("unreadable job record set aside") + s.Logged("unreadable webhook set aside"); n > 0 {
		t.Errorf("%d records were set aside", n)
	}
	s.Stop()
	totals, err := verify.Run(t.Context(), verify.Config{Files: s.Path("files"), Originals: s.Path("originals"), Report: func(p verify.Problem) { t.Errorf("%+v", p) }})
	if err != nil || totals.Sets < 3 {
		t.Errorf("verify: %+v, %v", totals, err)
	}
}

// testdata/data-2 has what the first version did not: variants on demand that are
// recorded with their image, a kept source of a failed upload, a job in the background,
// a quarantined image, and the history of ladders. Its daemon was killed.
func TestSecondFormatsAreReadByThisVersion(t *testing.T) {
	t.Parallel()
	s := dataOf(t, "testdata/data-2")
	s.Config.Fetch.AllowPrivate = true // where the receiver was
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"job_01m8pwg33b4q8v0c90dsym2kh2", "job_01m8pwg33d7kazx02km8dranp4", "job_01m8pwg33fmenb7qseyctg5pn0"} {
		if j := s.AwaitJob(id); j.Status != "completed" {
			t.Errorf("%s, which waited or was running, is %+v", id, j)
		}
	}
	for _, id := range []string{"msg_01m8pwg11pwv3tez1kba4q3eqk", "msg_01m8pwg33fmenb7qseyctg5pn0"} {
		if !slices.Contains(s.Names("outbox"), id+".json") { // their receiver is away
			t.Errorf("the webhook %s is not in the outbox", id)
		}
	}
	const cut = "job_01m8pwg2tf06d3v555xvzzejt6"
	if j := s.Get("/jobs/"+cut).Job(t, http.StatusOK); j.Error.Code != "corrupt_image" {
		t.Errorf("the failed upload is %+v", j)
	}
	s.Request(http.MethodPost, "/jobs/"+cut+"/retry", nil).Job(t, http.StatusAccepted)
	if j := s.AwaitJob(cut); j.Error.Code != "corrupt_image" {
		t.Errorf("retried, the failed upload is %+v", j)
	}
	bad, err := quarantine.Open(s.Path(quarantine.Folder), "8.14.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := bad.Check("859ae6a5fc33cdd99b7d8e148fe76f0b285981fa223a3c9ff0370a8db5c63dcf"); fault.CodeOf(err) != fault.ProcessingFailed {
		t.Errorf("the quarantined image: %v", err)
	}
	const image, variant = "/v1/images/esjeitzknvi74j6opa2bodw5t4", "/v1/images/wjqg65rdy32p22yku4yx6j3exa"
	for _, path := range []string{image, variant} {
		for _, v := range s.Get(path).Manifest(t, http.StatusOK).Variants {
			s.CheckFile(v)
		}
	}
	totals, err := verify.Run(t.Context(), verify.Config{Files: s.Path("files"), Originals: s.Path("originals"), Report: func(p verify.Problem) { t.Errorf("%+v", p) }})
	if err != nil || totals.Sets < 6 {
		t.Errorf("verify: %+v, %v", totals, err)
	}
	s.Request(http.MethodDelete, image, nil)
	s.Get(variant).CheckProblem(t, "not_found")
	if n := s.Logged("unreadable job record set aside") + s.Logged("unreadable webhook set aside"); n > 0 {
		t.Errorf("%d records were set aside", n)
	}
}

// What a newer version has written is set aside, never deleted, and the rest is
// served: a downgrade is safe.
func TestRecordsOfANewerVersionAreSetAside(t *testing.T) {
	t.Parallel()
	s := firstData(t)
	edit := func(name, old, with string) {
		t.Helper()
		path := s.Path(filepath.FromSlash(name))
		b := string(daemontest.ReadFile(t, path))
		if !strings.Contains(b, old) {
			t.Fatalf("%s has no %s", name, old)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(b, old, with, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("queue/running/"+runningJob+".json", `"attempts"`, `"from_the_future":1,"attempts"`)
	edit("outbox/msg_"+strings.TrimPrefix(doneJob, "job_")+".json", `"attempts"`, `"from_the_future":1,"attempts"`)
	edit("files/"+firstImage+"/manifest.json", `"version": 1`, `"version": 2`)
	retry := s.Path("retry/" + runningJob) // it failed before, and was retried
	if err := errors.Join(os.MkdirAll(filepath.Dir(retry), 0o700), os.WriteFile(retry, []byte("source"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	s.Get("/v1/images/"+firstImage).CheckProblem(t, "not_found")
	s.Get("/jobs/"+runningJob).CheckProblem(t, "not_found")
	for _, kept := range []string{
		"queue/running/" + runningJob + ".json.unreadable", "outbox/msg_" + strings.TrimPrefix(doneJob, "job_") + ".json.unreadable",
		"files/.damaged/" + firstImage + "/manifest.json", "originals/" + firstImage,
		"spool/" + runningSource, "retry/" + runningJob, // the only copies of an upload
	} {
		if _, err := os.Stat(s.Path(filepath.FromSlash(kept))); err != nil {
			t.Error(err)
		}
	}
	s.CheckMakes(daemontest.SmallJPEG(t, 90))

	upload := daemontest.ReadFile(t, s.Path("spool", runningSource))
	s.CheckMakes(upload) // somebody uploads it again
	if kept := daemontest.ReadFile(t, s.Path("spool", runningSource)); !bytes.Equal(kept, upload) {
		t.Error("the source of the job is another one")
	}
}

// What an older version has set aside is executed and delivered after the next upgrade.
func TestRecordsThatAnOlderVersionSetAsideAreTakenBack(t *testing.T) {
	t.Parallel()
	s := firstData(t)
	webhook := "outbox/msg_" + strings.TrimPrefix(doneJob, "job_") + ".json"
	for _, record := range []string{"queue/running/" + runningJob + ".json", webhook} {
		path := s.Path(filepath.FromSlash(record))
		if err := os.Rename(path, path+".unreadable"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	if j := s.AwaitJob(runningJob); j.Status != "completed" {
		t.Errorf("the job that was set aside is %+v", j)
	}
	if names := s.Names("outbox"); !slices.Contains(names, filepath.Base(webhook)) {
		t.Errorf("the outbox has %v, want the webhook that was set aside", names)
	}
}

// An id does not depend on the version of libvips, only on the source and the
// recipe.
func TestIDOfAnImageIsThatOfTheFirstVersion(t *testing.T) {
	record, err := job.Decode(daemontest.ReadFile(t, "testdata/data-1/queue/done/"+doneJob+".json"))
	if err != nil {
		t.Fatal(err)
	}
	want := ladder.DefaultConfig()
	want.Widths = []int{16}
	if got := want.Recipe(); got.Engine == record.Recipe.Engine && got.Fingerprint() != record.Recipe.Fingerprint() {
		t.Errorf("the same ladder has another recipe than in the first version, without a new ladder.EngineVersion:\n%+v\n%+v", got, record.Recipe)
	}
}

func TestUploadAfterAChangeOfTheLadderReplacesTheSetBefore(t *testing.T) {
	t.Parallel()
	widths := func(w int) func(*config.Config) {
		return func(c *config.Config) { c.Ladder.Widths = []int{w} }
	}
	s := daemontest.Start(t, widths(16))
	photo := daemontest.SmallJPEG(t, 71)
	first := s.Upload(photo).Manifest(t, http.StatusCreated)
	s.Stop()
	s = daemontest.Start(t, s.SameDir, widths(24))
	if second := s.Upload(photo).Manifest(t, http.StatusCreated); second.ID == first.ID || second.Replaces != first.ID {
		t.Errorf("the set of the new ladder is %s and replaces %q, want %s", second.ID, second.Replaces, first.ID)
	}
	if other := s.Upload(daemontest.SmallJPEG(t, 72)).Manifest(t, http.StatusCreated); other.Replaces != "" {
		t.Errorf("the set of another image replaces %s", other.Replaces)
	}
}
