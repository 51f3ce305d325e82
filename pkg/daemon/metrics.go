package daemon

import (
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

// metrics holds the Prometheus collectors.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	jobs     *prometheus.CounterVec
	waited   prometheus.Histogram
	worked   prometheus.Histogram
	stages   *prometheus.HistogramVec
}

func newMetrics(d *Daemon) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "optimizerd_http_requests_total", Help: "Requests answered.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "optimizerd_http_request_seconds", Help: "Time from the request header to the end of the response.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"route"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "optimizerd_http_bytes_total", Help: "Bytes of request bodies (in) and response bodies (out).",
		}, []string{"direction"}),
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "optimizerd_jobs_total", Help: "Jobs that ended, by error code or ok.",
		}, []string{"result"}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "optimizerd_job_wait_seconds", Help: "Time from accepting a job to its start.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}),
		worked: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "optimizerd_job_work_seconds", Help: "Time from the start of a job to its end.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 11),
		}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "optimizerd_stage_seconds", Help: "Time spent in each stage of a job, summed over threads.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"stage"}),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	count := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value)
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.requests, m.seconds, m.bytes, m.jobs, m.waited, m.worked, m.stages,
		gauge("optimizerd_jobs_pending", "Jobs waiting.", func() float64 { pending, _ := d.queue.Depth(); return float64(pending) }),
		gauge("optimizerd_jobs_running", "Jobs running.", func() float64 { _, running := d.queue.Depth(); return float64(running) }),
		gauge("optimizerd_hot", "1 while workers are throttled because the board is hot or undervolted.", func() float64 {
			if d.governor.Hot() {
				return 1
			}
			return 0
		}),
		gauge("optimizerd_images", "Published image sets.", func() float64 { return float64(d.store.Len()) }),
		gauge("optimizerd_webhooks_pending", "Webhooks waiting for delivery.", func() float64 { return float64(d.outbox.Stats().Pending) }),
		count("optimizerd_webhooks_delivered_total", "Webhooks delivered (answered 2xx).", func() float64 { return float64(d.outbox.Stats().Delivered) }),
		count("optimizerd_webhook_failures_total", "Failed webhook delivery attempts.", func() float64 { return float64(d.outbox.Stats().Failed) }),
		count("optimizerd_webhooks_given_up_total", "Webhooks given up.", func() float64 { return float64(d.outbox.Stats().GivenUp) }),
		count("optimizerd_codec_processes_started_total", "Codec processes started.", func() float64 { return float64(d.pool.Stats().Started) }),
		count("optimizerd_codec_crashes_total", "Codec processes that died while rendering.", func() float64 { return float64(d.pool.Stats().Crashed) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "optimizerd_build_info", Help: "Build information; always 1.",
			ConstLabels: prometheus.Labels{"version": buildinfo.Version(), "libvips": d.pool.About().Libvips},
		}, func() float64 { return 1 }),
	)
	m.registry.MustRegister(d.storeMetrics...)
	m.registry.MustRegister(d.fleetMetrics()...)
	if d.config.Tunnel.Mode == tunnel.Embedded {
		m.registry.MustRegister(
			tunnelLocations{d},
			gauge("optimizerd_tunnel_connections", "Registered connections to Cloudflare's edge.", func() float64 { return float64(len(d.tunnel.Stats().Locations)) }),
			count("optimizerd_tunnel_registrations_total", "Connections registered with the edge.", func() float64 { return float64(d.tunnel.Stats().Registered) }),
			count("optimizerd_tunnel_lost_total", "Registered connections that were lost.", func() float64 { return float64(d.tunnel.Stats().Lost) }),
			gauge("optimizerd_tunnel_last_failure_timestamp_seconds", "Time of the last failed or lost connection to the edge; 0 if none.", func() float64 { return unixSeconds(d.tunnel.Stats().Failure) }),
			count("optimizerd_tunnel_failures_total", "Failed attempts to connect to the edge.", func() float64 { return float64(d.tunnel.Stats().Failed) }),
		)
	}
	return m
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// tunnelLocations collects the number of connections to the edge by location.
type tunnelLocations struct{ d *Daemon }

var tunnelLocation = prometheus.NewDesc("optimizerd_tunnel_edge_connections", "Registered connections to Cloudflare's edge by location.", []string{"location"}, nil)

// Describe implements prometheus.Collector.
func (tunnelLocations) Describe(c chan<- *prometheus.Desc) { c <- tunnelLocation }

// Collect implements prometheus.Collector.
func (t tunnelLocations) Collect(c chan<- prometheus.Metric) {
	at := make(map[string]int)
	for _, location := range t.d.tunnel.Stats().Locations {
		at[location]++
	}
	for location, n := range at {
		c <- prometheus.MustNewConstMetric(tunnelLocation, prometheus.GaugeValue, float64(n), location)
	}
}

func (m *metrics) observe(o httpapi.Observation) {
	m.requests.WithLabelValues(o.Route, strconv.Itoa(o.Status)).Inc()
	m.seconds.WithLabelValues(o.Route).Observe(o.Took.Seconds())
	m.bytes.WithLabelValues("in").Add(float64(o.BytesIn))
	m.bytes.WithLabelValues("out").Add(float64(o.BytesOut))
}

func (m *metrics) ended(j job.Job) {
	result := "ok"
	if j.Error != nil {
		result = string(j.Error.Code)
	}
	m.jobs.WithLabelValues(result).Inc()
	if j.StartedAt == nil { // it was canceled
		return
	}
	if j.Retries == 0 { // otherwise it waited for an operator
		m.waited.Observe(j.StartedAt.Sub(j.CreatedAt.Time).Seconds())
	}
	m.worked.Observe(j.FinishedAt.Sub(j.StartedAt.Time).Seconds())
	for stage, took := range j.Timings {
		m.stages.WithLabelValues(string(stage)).Observe(took.Seconds())
	}
}

// adminHandler serves the status page, metrics and pprof. httpapi.Guard protects it; the tunnel
// never reaches it.
func adminHandler(d *Daemon) http.Handler {
	mux := http.NewServeMux()
	d.serveStatus(mux)
	mux.HandleFunc("POST /webhooks/{id}/retry", httpapi.RequireToken(d.retryWebhook, d.config.TokenStrings()))
	mux.HandleFunc("POST "+fleet.DrainPath, httpapi.RequireToken(d.drainNode, d.config.TokenStrings()))
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return httpapi.Problems(mux)
}
