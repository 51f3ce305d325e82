package daemon

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// notify sends a state to systemd, if it supervises this process.
func (d *Daemon) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		d.log.Warn("sd_notify failed", zap.String("state", state), zap.Error(err))
	}
}

// feedWatchdog notifies the watchdog twice per interval until ctx ends. Reading
// the queue's depth first proves that its lock is not stuck.
func (d *Daemon) feedWatchdog(ctx context.Context) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return err
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			d.queue.Depth()
			d.notify(daemon.SdNotifyWatchdog)
		case <-ctx.Done():
			return nil
		}
	}
}
