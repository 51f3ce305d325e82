package ladder

import (
	"io"
	"maps"
	"time"
)

// Stage is a measured part of the time from an image to its published set.
type Stage string

// The stages, in the order in which they begin. Decode to encode run in the
// codec process, and so within codec, as do write and the hashes of the files.
// The hash of the source is within receive.
const (
	StageReceive    Stage = "receive"     // receiving the source and writing it to the spool
	StageHash       Stage = "hash"        // digests of the source and of the files
	StageSpool      Stage = "spool"       // making the source durable
	StageQueue      Stage = "queue"       // waiting for a worker
	StageCodec      Stage = "codec"       // from the request to its last file
	StageDecode     Stage = "decode"      // decoding, shrinking and conversion to sRGB: one stream, so they cannot be separated
	StageOrient     Stage = "orient"      // turning the image upright
	StageResize     Stage = "resize"      // making the smaller rungs and the placeholder
	StageEncodeWebP Stage = "encode_webp" // all rungs together; likewise for the other formats
	StageEncodeJPEG Stage = "encode_jpeg"
	StageEncodeAVIF Stage = "encode_avif"
	StageWrite      Stage = "write" // writing the files, as far as the page cache
	StageSync       Stage = "sync"  // making the set durable and publishing it
)

// Stages lists all stages, in the order in which they begin.
var Stages = []Stage{
	StageReceive, StageHash, StageSpool, StageQueue,
	StageCodec, StageDecode, StageOrient, StageResize, StageEncodeWebP, StageEncodeJPEG, StageEncodeAVIF,
	StageWrite, StageSync,
}

// EncodeStage returns the stage of encoding one format.
func EncodeStage(f Format) Stage { return Stage("encode_" + f) }

// Timings is the wall-clock time of stages, in nanoseconds in JSON. Times of
// parallel threads are added up, so the sum may exceed the elapsed time.
type Timings map[Stage]time.Duration

// Since adds the time since began to a stage.
func (t Timings) Since(began time.Time, s Stage) { t[s] += time.Since(began) }

// Writer returns a writer to w that adds the time of each write to a stage.
func (t Timings) Writer(s Stage, w io.Writer) io.Writer { return timedWriter{t, s, w} }

type timedWriter struct {
	took  Timings
	stage Stage
	to    io.Writer
}

func (w timedWriter) Write(b []byte) (int, error) {
	defer w.took.Since(time.Now(), w.stage)
	return w.to.Write(b)
}

// Plus returns the sum of both without modifying them.
func (t Timings) Plus(more Timings) Timings {
	sum := make(Timings, len(t)+len(more))
	maps.Copy(sum, t)
	for s, d := range more {
		sum[s] += d
	}
	return sum
}

// Milliseconds returns the timings as shown in a manifest, with microsecond
// precision.
func (t Timings) Milliseconds() map[Stage]float64 {
	ms := make(map[Stage]float64, len(t))
	for s, d := range t {
		ms[s] = float64(d.Microseconds()) / 1000
	}
	return ms
}
