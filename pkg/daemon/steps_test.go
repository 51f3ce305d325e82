package daemon_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// The log has a line after each thing that is done to the disk for a job. At
// each of these lines a daemon is killed by SIGKILL, before it does anything
// more for the job. Another one is started on the same folder, and has to bring
// the job to the end that it would have had.

// step is a line of the log.
type step struct {
	message string
	disk    string // what lies in the data folder since the step before (+), and what does not any more (-)
	again   string // the step with which the next start goes on; "" if there is nothing left to do
}

// life is all that is logged of a job that nothing disturbs.
type life struct {
	name   string
	source func(*testing.T) []byte
	change func(*config.Config)
	answer func(try int) int        // the receiver's; nil is a yes
	before func(*testing.T, *world) // what was done in the data folder earlier, if anything
	disk   string                   // what lies there since
	begin  func(*world) error       // asks for the job
	code   string                   // of the fault that it ends with, "" if it ends well
	only   []string                 // the steps to be killed after, where all others are another life's too
	steps  []step
}

// Steps that are resumed at.
const (
	inWork   = "job started"
	staged   = "variant staged"
	failed   = "job failed"
	put      = "webhook stored"
	sent     = "webhook sent"
	givenUp  = "webhook given up"
	tryLater = "webhook delivery failed, will retry"
)

// Parts of lives.
var (
	accepted = []step{
		{"job accepted", "+queue/pending/JOB", inWork},
		{inWork, "-queue/pending/JOB +queue/running/JOB", inWork},
	}
	byUpload = slices.Concat([]step{
		{"source received", "+spool/PART", ""}, // nobody got an answer
		{"source stored", "-spool/PART +spool/SOURCE", ""},
	}, accepted)
	byURL = slices.Concat(accepted, []step{
		{"source received", "+spool/PART", inWork},
		{"source stored", "-spool/PART +spool/SOURCE", inWork},
		{"job resolved", "", staged}, // on its record
	})
	madePublic = []step{
		{"published", "-files/.staging/SET/VARIANT -files/.staging/SET/manifest.json +files/IMAGE/VARIANT +files/IMAGE/manifest.json", put},
	}
	oneVariant = slices.Concat([]step{
		{staged, "+files/.staging/SET/VARIANT", staged},
		{"set staged", "+files/.staging/SET/manifest.json", staged},
	}, madePublic)
	ladderWithOriginal = slices.Concat([]step{
		{staged, "+files/.staging/SET/VARIANT", staged},
		{staged, "", staged},
		{staged, "", staged},
		{staged, "", staged},
		{"set staged", "+files/.staging/SET/manifest.json", staged},
		{"original kept", "+originals/IMAGE", staged},
	}, madePublic)
	completed = []step{
		{put, "+outbox/WEBHOOK", put},
		{"job end recorded", "+queue/done/JOB", sent},
		{"job ended", "-queue/running/JOB", sent},
		{"source deleted", "-spool/SOURCE", sent},
	}
	delivered = []step{
		{sent, "", sent},
		{"webhook delivered", "-outbox/WEBHOOK", ""},
	}
)

var anUpload = life{
	name: "an upload", source: smallOne, change: oneRung, begin: upload,
	steps: slices.Concat(byUpload, oneVariant, completed, delivered),
}

var lives = []life{
	{
		name: "a variant by URL", source: smallOne, begin: request(`{"width":64,"format":"jpeg"}`),
		steps: slices.Concat(byURL, oneVariant, completed, delivered),
	},
	{
		name: "a ladder by URL, its original kept", source: smallOne, change: keepOriginals, begin: request(`{}`),
		steps: slices.Concat(byURL, ladderWithOriginal, completed, delivered),
	},
	anUpload,
	{
		name: "a URL at which there is nothing", source: nothing, begin: request(`{}`), code: "input_not_found",
		steps: slices.Concat(accepted, []step{
			{failed, "", inWork}, // not on its record yet
			{put, "+outbox/WEBHOOK", inWork},
			{"job end recorded", "+queue/failed/JOB", sent},
			{"job ended", "-queue/running/JOB", sent},
		}, delivered),
	},
	{
		name: "a damaged upload", source: damaged, begin: upload, code: "corrupt_image",
		only: []string{failed, put, "source kept for a retry", "job end recorded", "job ended", "source deleted"},
		steps: slices.Concat(byUpload, []step{
			{failed, "", failed},
			{put, "+outbox/WEBHOOK", failed},
			{"source kept for a retry", "+retry/JOB", failed},
			{"job end recorded", "+queue/failed/JOB", sent},
			{"job ended", "-queue/running/JOB", sent},
			{"source deleted", "-spool/SOURCE", sent},
		}, delivered),
	},
	{
		name: "a variant of an image that is here", source: smallOne, change: keepOriginals, before: firstSet,
		disk:  "+files/IMAGE/VARIANT +files/IMAGE/manifest.json +originals/IMAGE",
		begin: func(w *world) error { return w.order("image:"+w.first, `{"width":40,"format":"jpeg"}`) },
		only:  []string{"source stored", "job resolved", "original kept"},
		steps: slices.Concat(accepted, []step{
			{"source stored", "+spool/SOURCE", inWork},
			{"job resolved", "", staged},
			{staged, "+files/.staging/SET/VARIANT", staged},
			{"set staged", "+files/.staging/SET/manifest.json", staged},
			{"original kept", "+files/IMAGE/.variants/IMAGE", staged}, // another link to it
		}, madePublic, completed, delivered),
	},
	{
		name: "a receiver that is not well", source: smallOne, change: oneRung, begin: upload,
		answer: func(try int) int {
			if try == 1 {
				return http.StatusInternalServerError
			}
			return http.StatusNoContent
		},
		only: []string{tryLater, "webhook attempt recorded"},
		steps: slices.Concat(byUpload, oneVariant, completed, []step{
			{tryLater, "", sent}, // not on its record yet: tried again at once
			{"webhook attempt recorded", "", sent},
		}, delivered),
	},
	{
		name: "a receiver that is forbidden since the last start", source: smallOne, change: oneRung, before: forbidden,
		disk:  "+files/IMAGE/VARIANT +files/IMAGE/manifest.json +queue/done/JOB +outbox/WEBHOOK",
		begin: func(*world) error { return nil },
		steps: []step{
			{givenUp, "", givenUp},
			{"webhook failure recorded", "+outbox/failed/WEBHOOK", givenUp},
			{"webhook ended", "-outbox/WEBHOOK", ""},
		},
	},
}

func TestJobWhoseDaemonIsKilledAfterAnyStepEndsAsItShould(t *testing.T) {
	t.Parallel()
	for _, l := range lives {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			l.undisturbed(t)
			for i, s := range l.steps {
				if len(l.only) > 0 && !slices.Contains(l.only, s.message) {
					continue
				}
				t.Run(fmt.Sprintf("%d %s", i+1, s.message), func(t *testing.T) {
					t.Parallel()
					l.killedAfter(t, i)
				})
			}
		})
	}
}

func TestStepsAreThoseOfTheDocs(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(b), "| step | on disk | a crash after it |\n| --- | --- | --- |\n")
	table, _, ends := strings.Cut(table, "\n\n")
	if !found || !ends {
		t.Fatal("docs/ARCHITECTURE.md has no table of steps")
	}
	var inDocs, walked []string
	for line := range strings.Lines(table) {
		inDocs = append(inDocs, strings.TrimSpace(strings.Split(line, "|")[1]))
	}
	for _, l := range lives {
		walked = append(walked, messages(l.steps)...)
	}
	slices.Sort(inDocs)
	slices.Sort(walked)
	if walked = slices.Compact(walked); !slices.Equal(inDocs, walked) {
		t.Errorf("docs/ARCHITECTURE.md has the steps\n%q\nand this test\n%q", inDocs, walked)
	}
}

// Sources, and what is changed in the configuration.

func smallOne(t *testing.T) []byte { return daemontest.SmallJPEG(t, 70) }
func damaged(t *testing.T) []byte  { return smallOne(t)[:700] }
func nothing(*testing.T) []byte    { return nil }

func keepOriginals(c *config.Config) { c.Storage.KeepOriginals = true }
func oneRung(c *config.Config) {
	c.Ladder.Widths, c.Ladder.Formats = []int{64}, []ladder.Format{ladder.JPEG}
}

// at is where a step first comes, -1 if it does not.
func (l life) at(message string) int {
	return slices.IndexFunc(l.steps, func(s step) bool { return s.message == message })
}

func messages(steps []step) []string {
	var m []string
	for _, s := range steps {
		m = append(m, s.message)
	}
	return m
}

// diskAfter is what the table has in the data folder after the i-th step.
func (l life) diskAfter(i int) []string {
	names := []string{}
	changes := l.disk
	for _, s := range l.steps[:i+1] {
		changes += " " + s.disk
	}
	for change := range strings.FieldsSeq(changes) {
		name := change[1:]
		names = slices.DeleteFunc(names, func(n string) bool { return n == name })
		if change[0] == '+' {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// messagesAgain are those of the next start after a kill at the i-th step.
func (l life) messagesAgain(i int) []string {
	again := l.steps[i].again
	switch {
	case i < l.at("job accepted"): // its client knows of no job, and sends the image again
		return messages(l.steps)
	case again == "":
		return nil
	case again == inWork, l.at(again) > l.at("job ended"):
		return messages(l.steps[l.at(again):])
	default:
		return append([]string{inWork}, messages(l.steps[l.at(again):])...)
	}
}

// undisturbed holds the table against a job whose daemon nobody kills.
func (l life) undisturbed(t *testing.T) {
	t.Helper()
	w := l.world(t)
	s := daemontest.Start(t, w.asItWas)
	w.daemon = s.URL
	if err := l.begin(w); err != nil {
		t.Fatal(err)
	}
	last := l.steps[len(l.steps)-1].message
	daemontest.Eventually(t, last, func() bool { return s.Logged(last) > 0 })
	s.Stop()
	if diff := cmp.Diff(messages(l.steps), loggedMessages(s)); diff != "" {
		t.Fatalf("the log differs from the table (-table +log):\n%s", diff)
	}
	if diff := cmp.Diff(l.diskAfter(len(l.steps)-1), w.disk(t)); diff != "" {
		t.Fatalf("the files at the end differ (-table +disk):\n%s", diff)
	}
}

// loggedMessages are those of the parts that work on jobs, since the start was over.
func loggedMessages(s *daemontest.Server) []string {
	var m []string
	for _, e := range s.Logs.All() {
		switch {
		case e.Message == "ready to serve":
			m = nil
		case slices.Contains([]string{"queue", "jobs", "publish", "notify"}, e.LoggerName):
			m = append(m, e.Message)
		}
	}
	return m
}

// killedAfter kills a daemon after the i-th step, and holds what the next one
// does against the table.
func (l life) killedAfter(t *testing.T, i int) {
	w := l.world(t)
	l.killAfter(t, w, i)
	if diff := cmp.Diff(l.diskAfter(i), w.disk(t)); diff != "" {
		t.Errorf("the files after the kill differ (-table +disk):\n%s", diff)
	}

	s := daemontest.Start(t, w.asItWas)
	w.daemon = s.URL
	if i < l.at("job accepted") {
		if diff := cmp.Diff(l.diskAfter(-1), w.disk(t)); diff != "" {
			t.Errorf("the files of an upload that was not accepted are still there (-want +got):\n%s", diff)
		}
		if err := l.begin(w); err != nil {
			t.Fatal(err)
		}
	}
	want := l.messagesAgain(i)
	daemontest.Eventually(t, "the next daemon has done the rest", func() bool { return len(loggedMessages(s)) >= len(want) })
	if diff := cmp.Diff(l.diskAfter(len(l.steps)-1), w.disk(t)); diff != "" {
		t.Errorf("the files at the end differ (-table +disk):\n%s", diff)
	}
	l.checkEnd(t, s, w, i)
	s.Stop()
	if diff := cmp.Diff(want, loggedMessages(s), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the log of the next daemon differs (-want +got):\n%s", diff)
	}
}

// killAfter asks a daemon for the job that is killed at its i-th step.
func (l life) killAfter(t *testing.T, w *world, i int) {
	t.Helper()
	m := mortal{Config: w.config, Message: l.steps[i].message}
	for _, s := range l.steps[:i+1] {
		if s.message == m.Message {
			m.Nth++
		}
	}
	m.die(t, func(url string) error {
		w.daemon = url
		return l.begin(w)
	})
}

// die runs the daemon, and calls begin with its URL, until it has killed itself.
func (m mortal) die(t *testing.T, begin func(url string) error) {
	t.Helper()
	orders, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), daemontest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), mortalEnv+"="+string(orders))
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		if err := begin(strings.TrimSpace(line)); err != nil && !cutOff(err) {
			t.Errorf("before the kill: %v", err)
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if ctx.Err() != nil || !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the daemon should have been killed after %q, but ended with %v (%v):\n%s", m.Message, err, ctx.Err(), log.String())
	}
}

// cutOff reports whether an answer did not come since the daemon was killed.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// counts is how often a job was visible to others, across both daemons.
type counts struct{ attempts, fetches, webhooks int }

// expected returns the counts of a life that was disturbed after its step killed, by
// the table of steps.
func (l life) expected(w *world, killed int) counts {
	want := counts{attempts: 1}
	if killed >= l.at(inWork) && killed < l.at("job end recorded") {
		want.attempts = 2
	}
	if l.at("job accepted") == 0 && w.first == "" { // a job by URL
		want.fetches = 1
		if killed > l.at(inWork) && l.steps[killed].again == inWork {
			want.fetches = 2
		}
	}
	if l.at(sent) >= 0 {
		want.webhooks = 1
		if l.steps[killed].message == sent { // and not on record that it was
			want.webhooks = 2
		}
	}
	return want
}

// checkEnd requests the job as its client does, and compares the end and the counts
// with the table.
func (l life) checkEnd(t *testing.T, s *daemontest.Server, w *world, killed int) {
	t.Helper()
	a := s.Get("/jobs/" + w.jobID(t))
	var j jobNews
	if err := json.Unmarshal(a.Body, &j); err != nil {
		t.Fatalf("%s: %v", a.Body, err)
	}
	status := "completed"
	if l.code != "" {
		status = "failed"
	}
	if a.StatusCode != http.StatusOK || j.Status != status || j.Error.Code != l.code {
		t.Errorf("got %s\nwant it %s (%s)", a.Body, status, l.code)
	}
	if l.code == "" {
		holdsOutput(s, j)
	}
	got := counts{j.Attempts, int(w.fetches.Load()), len(w.receiver.got)}
	if want := l.expected(w, killed); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for range got.webhooks {
		checkWebhook(t, <-w.receiver.got, j)
	}
}

// checkWebhook checks that a webhook reports the end of a job, signed with all
// secrets.
func checkWebhook(t *testing.T, hook webhook, j jobNews) {
	t.Helper()
	if hook.id != strings.Replace(j.ID, "job_", "msg_", 1) || hook.Type != "job."+j.Status || hook.Data.gist() != j.gist() || len(hook.signedBy) != len(secrets) {
		t.Errorf("webhook %s is %s, signed by %d\n%s\nand the job\n%s", hook.id, hook.Type, len(hook.signedBy), hook.Data.gist(), j.gist())
	}
}

// holdsOutput holds the files of a job's output against their digests.
func holdsOutput(s *daemontest.Server, j jobNews) {
	s.T.Helper()
	if j.Output.Manifest.ID != "" {
		for _, v := range j.Output.Manifest.Variants {
			s.CheckFile(v)
		}
		s.CheckDir(j.Output.Manifest)
		return
	}
	digest := sha256.Sum256(s.Get(j.Output.URL).Body)
	if got := hex.EncodeToString(digest[:]); got != j.Output.SHA256 {
		s.T.Errorf("%s has the digest %s, want %s", j.Output.URL, got, j.Output.SHA256)
	}
}
