// Package leaktest makes goleak wait for goroutines that are exiting.
package leaktest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a goroutine may take to end after the last test. goleak itself
// waits for less than half a second, which a busy machine may need.
const patience = time.Minute

// Settle returns m for goleak.VerifyTestMain, which gets the same options: its tests have
// run when no goroutine is left behind, or none ends any more.
func Settle(m *testing.M, options ...goleak.Option) goleak.TestingM { return settled{m, options} }

type settled struct {
	m       *testing.M
	options []goleak.Option
}

// Run implements goleak.TestingM.
func (s settled) Run() (code int) {
	code = s.m.Run()
	for limit := time.Now().Add(patience); code == 0 && goleak.Find(s.options...) != nil && time.Now().Before(limit); {
		continue // Find waits
	}
	return code
}
