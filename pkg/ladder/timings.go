package ladder

import (
	"io"
	"maps"
	"time"
)

// Stage is a part of the way from a picture to its published set.
type Stage string

// The stages, in the order in which they begin. Those from decode to encode
// are in the codec process, and so within codec; so are write and the hashes
// of the files. The hash of the source is within receive.
const (
	StageReceive    Stage = "receive"     // the source comes in, and is written to the spool
	StageHash       Stage = "hash"        // the digests of the source and of the files
	StageSpool      Stage = "spool"       // the source is made durable
	StageQueue      Stage = "queue"       // the job waits for a worker
	StageCodec      Stage = "codec"       // from the order to its last file
	StageDecode     Stage = "decode"      // and shrunk, and to sRGB: it is one stream, in which they cannot be told apart
	StageOrient     Stage = "orient"      // the picture is turned upright
	StageResize     Stage = "resize"      // to the smaller rungs, and the placeholder
	StageEncodeWebP Stage = "encode_webp" // all rungs together, as with the other formats
	StageEncodeJPEG Stage = "encode_jpeg"
	StageEncodeAVIF Stage = "encode_avif"
	StageWrite      Stage = "write" // the files of the set, as far as memory
	StageSync       Stage = "sync"  // the set is made durable, and published
)

// Stages are all stages, in the order in which they begin.
var Stages = []Stage{
	StageReceive, StageHash, StageSpool, StageQueue,
	StageCodec, StageDecode, StageOrient, StageResize, StageEncodeWebP, StageEncodeJPEG, StageEncodeAVIF,
	StageWrite, StageSync,
}

// EncodeStage is the encoding of one format.
func EncodeStage(f Format) Stage { return Stage("encode_" + f) }

// Timings is how long stages took by the clock, in nanoseconds in JSON. What
// several threads do at once is added up, so that it may be more than the time
// that passed.
type Timings map[Stage]time.Duration

// Since adds the time since a stage began.
func (t Timings) Since(began time.Time, s Stage) { t[s] += time.Since(began) }

// Writer passes on to w, and adds the time that this takes to a stage.
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

// Plus is the sum of both, which stay as they are.
func (t Timings) Plus(more Timings) Timings {
	sum := make(Timings, len(t)+len(more))
	maps.Copy(sum, t)
	for s, d := range more {
		sum[s] += d
	}
	return sum
}

// Milliseconds is what a manifest shows of them, to the microsecond.
func (t Timings) Milliseconds() map[Stage]float64 {
	ms := make(map[Stage]float64, len(t))
	for s, d := range t {
		ms[s] = float64(d.Microseconds()) / 1000
	}
	return ms
}
