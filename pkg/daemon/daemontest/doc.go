// Package daemontest runs a complete optimizerd for tests: in the test's
// process, or as a separate process.
//
//	func TestMain(m *testing.M) { daemontest.Main(m) }
//
//	func TestUpload(t *testing.T) {
//		s := daemontest.Start(t, func(c *config.Config) { c.Ladder.Widths = []int{64} })
//		m := s.Upload(daemontest.SmallJPEG(t, 1)).Manifest(t, http.StatusCreated)
//		s.CheckDir(m)
//		s.CheckNothingLeft()
//	}
//
// A Server is a daemon in the test's process: its log can be read, its codec
// processes stopped. A Process is a separate process, as a user runs it: it
// can be killed, and its memory measured. Both embed a Client, which checks
// every response against the daemon's /openapi.json, and a Conn writes what no
// HTTP client would.
//
// A test waits with Eventually, or with one of the methods that wait, and never
// for a fixed time. Patience only guards against hanging.
package daemontest
