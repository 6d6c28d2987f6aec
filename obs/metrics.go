package obs

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is the node's registry with the instruments every protocol shares.
type Metrics struct {
	registry *prometheus.Registry
	command  *prometheus.HistogramVec
	fates    *prometheus.CounterVec
	logins   *prometheus.CounterVec

	mu       sync.RWMutex
	observed map[commandKey]prometheus.Observer // rows of command: looking them up by labels costs more than observing
	logged   map[commandKey]prometheus.Counter  // the same of logins, without command
}

// commandKey is the labels of a row.
type commandKey struct {
	protocol, command string
	ok                bool
}

// latencyBuckets are seconds: from a cached answer to a client that should have given up.
var latencyBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// NewMetrics returns a registry with Go's and the process's own figures.
func NewMetrics(version, commit string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		observed: make(map[commandKey]prometheus.Observer),
		logged:   make(map[commandKey]prometheus.Counter),
		command: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bahnpost_command_seconds", Help: "Time to answer a command, by protocol and command.", Buckets: latencyBuckets,
		}, []string{"protocol", "command", "result"}),
		fates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bahnpost_recipients_total", Help: "Recipients by protocol and fate (delivered, deferred, refused).",
		}, []string{"protocol", "fate"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bahnpost_logins_total", Help: "Login attempts by protocol and result.",
		}, []string{"protocol", "result"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "bahnpost_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit}})
	build.Set(1)
	m.registry.MustRegister(m.command, m.fates, m.logins, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Command records how long a command took. command must come from a table, never from a client.
func (m *Metrics) Command(protocol, command string, d time.Duration, ok bool) {
	m.row(commandKey{protocol, command, ok}).Observe(d.Seconds())
}

func (m *Metrics) row(k commandKey) prometheus.Observer {
	m.mu.RLock()
	o := m.observed[k]
	m.mu.RUnlock()
	if o == nil {
		o = m.command.WithLabelValues(k.protocol, k.command, result(k.ok))
		m.mu.Lock()
		m.observed[k] = o
		m.mu.Unlock()
	}
	return o
}

// Fate records the end of one recipient of one mail.
func (m *Metrics) Fate(protocol, fate string) { m.fates.WithLabelValues(protocol, fate).Inc() }

// Login records a login attempt.
func (m *Metrics) Login(protocol string, ok bool) {
	k := commandKey{protocol: protocol, ok: ok}
	m.mu.RLock()
	c := m.logged[k]
	m.mu.RUnlock()
	if c == nil {
		c = m.logins.WithLabelValues(protocol, result(ok))
		m.mu.Lock()
		m.logged[k] = c
		m.mu.Unlock()
	}
	c.Inc()
}

func result(ok bool) string {
	if ok {
		return "ok"
	}
	return "no"
}

// Gauge registers a figure that is read when somebody looks.
func (m *Metrics) Gauge(name, help string, labels map[string]string, f func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f))
}

// Counter registers a growing figure that is read when somebody looks.
func (m *Metrics) Counter(name, help string, labels map[string]string, f func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, f))
}

// Handler serves the registry in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}
