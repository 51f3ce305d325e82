package job_test

import (
	"reflect"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
)

func FuzzDecode(f *testing.F) {
	for _, j := range []func(*job.Job) error{
		func(*job.Job) error { return nil },
		func(j *job.Job) error { return j.Start(now) },
		func(j *job.Job) error { _ = j.Start(now); return j.Complete(now) },
		func(j *job.Job) error {
			_ = j.Start(now)
			return j.Fail(fault.New(fault.CorruptImage, "Damaged."), now)
		},
	} {
		record := newJob()
		if err := j(&record); err != nil {
			f.Fatal(err)
		}
		b, err := record.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])                              // as a power cut may leave it
		f.Add(append(b[:len(b)-1:len(b)-1], 0, 0, 0, 0)) // and so
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := job.Decode(data)
		if err != nil {
			return
		}
		if !job.ValidID(j.ID) {
			t.Errorf("decoded with the id %q", j.ID)
		}
		b, err := j.Encode()
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		again, err := job.Decode(b)
		if err != nil || !reflect.DeepEqual(again, j) {
			t.Errorf("%+v became %+v (%v)", j, again, err)
		}
		for _, step := range steps { // none of them panics
			copied := j
			_ = step(&copied)
		}
	})
}
