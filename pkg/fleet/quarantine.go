package fleet

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Quarantine is the quarantine of all nodes. It also counts the crashes that lead to
// it. It implements jobs.Quarantine and render.Crashes.
type Quarantine struct {
	f       *Fleet
	libvips string

	mu       sync.Mutex
	suspects map[string]int // number of crashes by digest, as last read by Check
}

// NewQuarantine returns the quarantine, for a codec with this version of libvips.
func (f *Fleet) NewQuarantine(libvips string) *Quarantine {
	return &Quarantine{f: f, libvips: libvips, suspects: make(map[string]int)}
}

// badPrefix is the prefix of the keys of images, by digest. The value of each is a
// badEntry.
const badPrefix = "bad."

// badEntry is an image that crashed the codec. It is in quarantine only for the
// version of libvips in its entry, "" while it is not.
type badEntry struct {
	quarantine.Entry
	Crashes int `json:"crashes,omitempty"` // on all nodes, since it was last rendered or quarantined
}

// suspectTime is how long a crash counts if the image is not sent again.
const suspectTime = 24 * time.Hour

// read returns the entry of an image, zero if there is none.
func (q *Quarantine) read(sha256 string) (e badEntry, v value, err error) {
	v, err = q.f.state.get(badPrefix + sha256)
	if err != nil || v.data == nil || json.Unmarshal(v.data, &e) != nil || e.SHA256 != sha256 {
		return badEntry{}, v, err
	}
	return e, v, nil
}

// Check returns a fault if the image with this digest is quarantined. An unreadable
// entry counts as absent.
func (q *Quarantine) Check(sha256 string) error {
	e, _, err := q.read(sha256)
	if err != nil {
		return nil // an unreadable entry is no reason to refuse
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if delete(q.suspects, sha256); e.Crashes > 0 {
		q.suspects[sha256] = e.Crashes
	}
	if e.Libvips != "" && e.Libvips == q.libvips {
		return e.Refusal()
	}
	return nil
}

// Before implements render.Crashes. It returns what Check has read, which saves a
// request for each job.
func (q *Quarantine) Before(sha256 string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.suspects[sha256]
}

// Add implements jobs.Quarantine: it adds an entry or replaces the one of the same
// image.
func (q *Quarantine) Add(e quarantine.Entry) error {
	e.Libvips = q.libvips
	b, err := json.Marshal(badEntry{Entry: e})
	if err != nil {
		return err
	}
	return q.f.state.overwrite(badPrefix+e.SHA256, b, 0)
}

// Crashed implements render.Crashes: it counts another crash with an image. The
// last allowed one also quarantines the image, in the same write: the node may die
// right after it.
func (q *Quarantine) Crashed(sha256, reason string) (n int, err error) {
	for {
		e, v, err := q.read(sha256)
		if err != nil {
			return 0, err
		}
		n = e.Crashes + 1
		e.SHA256, e.Crashes = sha256, n
		ttl := suspectTime
		if n >= render.MaxCrashes {
			e = badEntry{Entry: quarantine.Entry{SHA256: sha256, Reason: reason, At: strictjson.At(time.Now()), Libvips: q.libvips}}
		}
		if e.Libvips != "" {
			ttl = 0
		}
		b, err := json.Marshal(e)
		if err != nil {
			return 0, err
		}
		if _, err := q.f.state.put(badPrefix+sha256, b, v.revision, ttl); !errors.Is(err, errChanged) {
			return n, err
		}
	}
}

// Survived implements render.Crashes: it resets the crash count of a rendered
// image, unless it is in quarantine.
func (q *Quarantine) Survived(sha256 string) error {
	e, v, err := q.read(sha256)
	if err != nil || e.Crashes == 0 || e.Libvips != "" {
		return err
	}
	if err := q.f.state.remove(badPrefix+sha256, v.revision); !errors.Is(err, errChanged) {
		return err
	}
	return nil // it crashed again, elsewhere
}

// all returns all entries, also of images that are not in quarantine.
func (q *Quarantine) all() (entries []badEntry, err error) {
	err = q.f.state.each(q.f.ctx, badPrefix, func(_ string, v value) error {
		var e badEntry
		if json.Unmarshal(v.data, &e) == nil {
			entries = append(entries, e)
		}
		return nil
	})
	return entries, err
}

// List returns all entries of the quarantine, newest first.
func (q *Quarantine) List() ([]quarantine.Entry, error) {
	all, err := q.all()
	entries := []quarantine.Entry{}
	for _, e := range all {
		if e.Libvips != "" {
			entries = append(entries, e.Entry)
		}
	}
	slices.SortStableFunc(entries, func(a, b quarantine.Entry) int { return b.At.Compare(a.At.Time) })
	return entries, err
}

// Clear removes the entries of these images, or all entries if it is given none,
// and returns how many there were. Crash counts of images that are not in
// quarantine are deleted, too.
func (q *Quarantine) Clear(sha256s ...string) (n int, err error) {
	entries, err := q.all()
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if len(sha256s) > 0 && !slices.Contains(sha256s, e.SHA256) {
			continue
		}
		v, err := q.f.state.get(badPrefix + e.SHA256)
		if err == nil && v.data != nil {
			err = q.f.state.remove(badPrefix+e.SHA256, v.revision)
		}
		if err != nil && !errors.Is(err, errChanged) {
			return n, err
		}
		if e.Libvips != "" {
			n++
		}
	}
	return n, nil
}
