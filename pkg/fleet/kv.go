package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// operationTime bounds one request to NATS.
const operationTime = 5 * time.Second

// readTime bounds one attempt to read.
const readTime = time.Second

// tombstoneTime is how long a deleted key keeps its revision, so that a write that
// began before the deletion fails. It is longer than any job.
const tombstoneTime = 24 * time.Hour

// operation is the header that marks a deletion in a bucket.
const operation = "KV-Operation"

// kv is a bucket of keys with compare-and-swap. All reads go to the leader.
type kv struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	prefix string // of the subjects
}

// value is a key's content.
type value struct {
	data     []byte // nil if there is none
	revision uint64 // 0 if there never was one
	at       time.Time
}

// errChanged is returned by a write whose revision is not the current one.
var errChanged = errors.New("changed meanwhile")

func (f *Fleet) newKV(name string) *kv { return &kv{js: f.js, prefix: "$KV." + f.prefix + name + "."} }

func (f *Fleet) openKV(ctx context.Context, name string) (*kv, error) {
	k := f.newKV(name)
	var err error
	k.stream, err = f.createStream(ctx, jetstream.StreamConfig{
		Name: "KV_" + f.prefix + name, Subjects: []string{k.prefix + ">"}, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
		Storage: jetstream.FileStorage, Replicas: f.config.Replicas, AllowRollup: true, DenyDelete: true, AllowMsgTTL: true, AllowDirect: false,
	})
	return k, err
}

// get returns the current value of a key.
func (k *kv) get(key string) (v value, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), operationTime)
	defer cancel()
	var msg *jetstream.RawStreamMsg
	err = insist(ctx, readTime, func(ctx context.Context) (err error) {
		msg, err = k.stream.GetLastMsgForSubject(ctx, k.prefix+key)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return v, nil
	case err != nil:
		return v, unavailable(fmt.Errorf("read %s: %w", key, err))
	}
	v = value{revision: msg.Sequence, at: msg.Time}
	if msg.Header.Get(operation) == "" {
		v.data = msg.Data
	}
	return v, nil
}

// put writes a key if it still has this revision (0: if it does not exist), and returns
// its new one; errChanged otherwise. With a ttl of 0 the key does not expire.
func (k *kv) put(key string, data []byte, revision uint64, ttl time.Duration) (uint64, error) {
	return k.write(&nats.Msg{Subject: k.prefix + key, Data: data}, ttl, jetstream.WithExpectLastSequencePerSubject(revision))
}

// overwrite writes a key regardless of its revision.
func (k *kv) overwrite(key string, data []byte, ttl time.Duration) error {
	_, err := k.write(&nats.Msg{Subject: k.prefix + key, Data: data}, ttl)
	return err
}

// remove deletes a key that still has this revision, or returns errChanged.
func (k *kv) remove(key string, revision uint64) error {
	mark := &nats.Msg{Subject: k.prefix + key, Header: nats.Header{operation: {"DEL"}}}
	_, err := k.write(mark, tombstoneTime, jetstream.WithExpectLastSequencePerSubject(revision))
	return err
}

func (k *kv) write(msg *nats.Msg, ttl time.Duration, options ...jetstream.PublishOpt) (revision uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), operationTime)
	defer cancel()
	if ttl > 0 {
		options = append(options, jetstream.WithMsgTTL(max(ttl.Round(time.Second), time.Second)))
	}
	ack, err := k.js.PublishMsg(ctx, msg, options...)
	switch {
	case err == nil:
		return ack.Sequence, nil
	case hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		return 0, errChanged
	default:
		return 0, unavailable(fmt.Errorf("write %s: %w", msg.Subject, err))
	}
}

// How a stream is consumed. A server that is busy or dies may lose the pull request;
// the missing heartbeat then makes the client repeat it.
const (
	followExpiry    = jetstream.PullExpiry(10 * time.Second)
	followHeartbeat = jetstream.PullHeartbeat(2 * time.Second)
)

// few calls found with the value of every key that begins with prefix. It sends a
// request for each key, all of them within operationTime, so it is only for short
// lists such as the nodes.
func (k *kv) few(prefix string, found func(v value)) error {
	ctx, cancel := context.WithTimeout(context.Background(), operationTime)
	defer cancel()
	for at := uint64(1); ; {
		msg, err := k.stream.GetMsg(ctx, at, jetstream.WithGetMsgSubject(k.prefix+prefix+">"))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil
		case err != nil:
			return unavailable(fmt.Errorf("read %s: %w", prefix, err))
		case msg.Header.Get(operation) == "":
			found(value{msg.Data, msg.Sequence, msg.Time})
		}
		at = msg.Sequence + 1
	}
}

// each calls found with every key that begins with prefix and has a value. It reads
// them as a stream, however many there are.
func (k *kv) each(ctx context.Context, prefix string, found func(key string, v value) error) error {
	next, idle := uint64(1), 0
	for {
		before := next
		done, err := k.eachFrom(ctx, prefix, &next, found)
		if done || err != nil {
			return err
		}
		if idle++; next > before {
			idle = 0
		}
		if idle == maxIdle {
			return unavailable(errors.New("the servers do not respond"))
		}
	}
}

// eachTime is how long each waits for the next key before it retries: the key may
// have expired, and a request may get lost while the servers of a cluster learn of
// the consumer.
const eachTime = 2 * time.Second

// maxIdle is the number of consecutive requests without a key after which each
// fails.
const maxIdle = 8

// eachFrom is each starting at the sequence next, which it advances. done is false
// if messages stopped coming before the last one.
func (k *kv) eachFrom(ctx context.Context, prefix string, next *uint64, found func(key string, v value) error) (done bool, err error) {
	consumer, err := k.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *next, FilterSubjects: []string{k.prefix + prefix + ">"}, InactiveThreshold: 2 * operationTime,
	})
	if err != nil {
		return false, unavailable(err)
	}
	left := consumer.CachedInfo().NumPending
	if left == 0 {
		return true, nil
	}
	messages, err := consumer.Messages(followExpiry, followHeartbeat) // Next of the consumer itself makes a new one for each message
	if err != nil {
		return false, unavailable(err)
	}
	defer messages.Stop()
	for left > 0 {
		msg, err := messages.Next(jetstream.NextMaxWait(eachTime))
		if err != nil {
			return false, nil // the caller retries
		}
		meta, err := msg.Metadata()
		if err != nil {
			return false, err
		}
		left, *next = meta.NumPending, meta.Sequence.Stream+1
		if msg.Headers().Get(operation) != "" {
			continue
		}
		if err := found(msg.Subject()[len(k.prefix):], value{msg.Data(), meta.Sequence.Stream, meta.Timestamp}); err != nil {
			return false, err
		}
	}
	return true, nil
}

// hasCode reports whether err is a refusal by JetStream with one of these codes.
func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode)
}

// unavailable returns the fault for a request to NATS that failed.
func unavailable(cause error) error {
	return fault.Wrap(fault.Unavailable, cause, "The fleet is currently unreachable; try again later.")
}

// deleteMessage deletes a message of a stream. A missing one is not an error, which
// DeleteMsg does not distinguish from others.
func deleteMessage(ctx context.Context, from jetstream.Stream, sequence uint64) error {
	failure := from.DeleteMsg(ctx, sequence)
	if failure == nil {
		return nil
	}
	if _, err := from.GetMsg(ctx, sequence); errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	return unavailable(failure)
}
