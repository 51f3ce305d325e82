package daemon

import (
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
)

// retain deletes what exceeds the retention settings.
func (d *Daemon) retain() {
	d.retaining.Lock()
	defer d.retaining.Unlock()
	now, ok := d.mayDelete()
	if !ok {
		return
	}
	_, err := d.store.Prune(d.running, d.config.Retention, now)
	d.warn("cannot prune images", err)
}

// mayDelete reports whether there is retention and the clock can be trusted, and
// returns the time. d.retaining must be held.
func (d *Daemon) mayDelete() (now time.Time, ok bool) {
	if d.config.Retention == (catalog.Retention{}) || !d.elected() {
		return now, false
	}
	return d.plausibleTime()
}

// plausibleTime returns the time of day. ok is false if it is implausible, which is
// logged when it begins. d.retaining must be held.
func (d *Daemon) plausibleTime() (now time.Time, ok bool) {
	now, err := d.clock.Check(d.store.Newest())
	if err != nil && !d.clockDoubted {
		d.log.Error("nothing is deleted by age: the clock is implausible", zap.Error(err))
	}
	d.clockDoubted = err != nil
	return now, err == nil
}

// pruneRecords deletes the records of jobs that ended, and of webhooks that were
// given up, longer ago than jobs.keep. The record of a failed upload is deleted with
// its source, so the clock must be right. In a fleet they expire in NATS, by its clock.
func (d *Daemon) pruneRecords() {
	d.retaining.Lock()
	now, ok := d.plausibleTime()
	d.retaining.Unlock()
	if !ok && d.fleet == nil {
		return
	}
	d.warn("cannot prune jobs", d.queue.Prune(now))
	d.warn("cannot prune webhooks", d.outbox.Prune(now, d.config.Jobs.Keep))
}

// makeRoom deletes what retention allows until the disk has space for need bytes
// more, and reports whether it has. With retention.max_bytes it may delete
// the oldest sets even below that, because the operator has agreed to lose the oldest
// for new ones; but at least half of it stays: then something else fills the disk. It
// deletes nothing from a bucket, which would free nothing on the disk.
func (d *Daemon) makeRoom(need int64) bool {
	d.retaining.Lock()
	defer d.retaining.Unlock()
	enough := func() bool { return d.reserve.Check(need) == nil }
	if enough() { // another upload has made room
		return true
	}
	if d.config.Storage.S3.Enabled() {
		return false
	}
	now, ok := d.mayDelete()
	if !ok {
		return false
	}
	if _, err := d.store.Prune(d.running, d.config.Retention, now); err != nil {
		d.warn("cannot prune images", err)
		return false
	}
	if least := d.config.Retention.MaxBytes / 2; least > 0 {
		_, err := d.store.DeleteOldest(d.running, "the disk is full", func() bool { return enough() || d.store.Bytes() <= least })
		d.warn("cannot prune images", err)
	}
	return enough()
}
