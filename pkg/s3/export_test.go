package s3

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"
)

// SetClock makes the bucket sign with the time that now returns.
func (b *Bucket) SetClock(now func() time.Time) { b.now = now }

// SetFirstWait sets the wait before the second attempt.
func (b *Bucket) SetFirstWait(d time.Duration) { b.wait = d }

// SetStallTime sets how long a body may pause.
func (b *Bucket) SetStallTime(d time.Duration) { b.stallTime = d }

func (b *Bucket) transport() *http.Transport { return b.client.Transport.(*http.Transport) }

// HurryPings divides the times of pings.
func (b *Bucket) HurryPings(by time.Duration) {
	b.transport().HTTP2.SendPingTimeout /= by
	b.transport().HTTP2.PingTimeout /= by
}

// Trust makes the bucket accept a certificate.
func (b *Bucket) Trust(c *x509.Certificate) {
	pool := x509.NewCertPool()
	pool.AddCert(c)
	b.transport().TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}
