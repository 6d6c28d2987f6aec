package drill

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// gauge notes when the probes were served, and which errors clients saw. It is safe for concurrent use.
type gauge struct {
	mu     sync.Mutex
	served map[string]map[string][]time.Time // what → probe → when it was done
	errs   map[string]int
	hard   []string // refusals for good
	broken []string // messages that were shown with other octets than were sent
	news   []news
}

// news is that a client who idled at a node since then was told of a message.
type news struct {
	key         string // account token
	node        *Node
	since, told time.Time
}

func newGauge() *gauge {
	return &gauge{served: map[string]map[string][]time.Time{}, errs: map[string]int{}}
}

// done notes that a probe was served.
func (g *gauge) done(what, probe string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.served[what] == nil {
		g.served[what] = map[string][]time.Time{}
	}
	g.served[what][probe] = append(g.served[what][probe], time.Now())
}

// heard notes that an idling client was told of a message.
func (g *gauge) heard(n news) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.news = append(g.news, n)
}

// hurt notes that a message was shown with other octets than were sent.
func (g *gauge) hurt(what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.broken = append(g.broken, what)
}

// failed counts an error under a short name.
func (g *gauge) failed(protocol string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.errs[protocol+" "+short(err)]++
	if permanent(err) {
		g.hard = append(g.hard, protocol+": "+err.Error())
	}
}

// errLate: a node does not know yet what another has acknowledged. It may, for as long as a hint needs.
var errLate = errors.New("not known there yet")

var code = regexp.MustCompile(`^([245]\d\d)|\[([A-Z/]+)\]`)

// short is what kind of error it is.
func short(err error) string {
	if s, ok := errors.AsType[errSaid](err); ok {
		if m := code.FindStringSubmatch(string(s)); m != nil {
			return m[1] + m[2]
		}
		return strings.Join(strings.Fields(string(s) + " ? ?")[:2], " ")
	}
	if errors.Is(err, errLate) {
		return "late"
	}
	if strings.Contains(err.Error(), "* BYE") {
		return "BYE"
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		return "no answer"
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	return "cut off"
}

// permanent says whether a client would take err for the end of the matter: no fault of a machine may look like that.
func permanent(err error) bool {
	s, ok := errors.AsType[errSaid](err)
	if !ok {
		return false
	}
	t := string(s)
	temporary := strings.Contains(t, "[UNAVAILABLE]") || strings.Contains(t, "[INUSE]") || strings.Contains(t, "[SERVERBUG]") || strings.Contains(t, "[SYS/TEMP]") ||
		strings.Contains(t, "[IN-USE]") || strings.Contains(t, "[LOGIN-DELAY]") || strings.HasPrefix(t, "4") || strings.HasPrefix(t, "* BYE")
	return !temporary
}

// outage is the longest time, of all probes of what, that a probe was not served between from and to.
func (g *gauge) outage(what string, from, to time.Time) (gap time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, times := range g.served[what] {
		before := from
		for _, at := range append(slices.Clone(times), to) {
			if at.After(from) {
				gap = max(gap, at.Sub(before))
			}
			if before = at; !at.Before(to) {
				break
			}
		}
	}
	return gap
}

// since is when the last probe of what was first served after t; zero if one never was.
func (g *gauge) since(what string, t time.Time) (last time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, times := range g.served[what] {
		i := slices.IndexFunc(times, func(at time.Time) bool { return at.After(t) })
		if i < 0 {
			return time.Time{}
		}
		if times[i].After(last) {
			last = times[i]
		}
	}
	return last
}

// errors names the errors with their counts, the most frequent first.
func (g *gauge) errors() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	names := slices.SortedFunc(maps.Keys(g.errs), func(a, b string) int {
		if d := g.errs[b] - g.errs[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, n := range names {
		parts = append(parts, fmt.Sprintf("%s ×%d", n, g.errs[n]))
	}
	return strings.Join(parts, ", ")
}

// hearingTimes are how long after its acknowledgement by another node (or by any, if there is one only) news was told to clients
// that had idled since before, in order.
func (l *Load) hearingTimes() (waits []time.Duration) {
	l.g.mu.Lock()
	defer l.g.mu.Unlock()
	for _, n := range l.g.news {
		v, ok := l.acked.Load(n.key)
		if a, _ := v.(ack); ok && a.at.After(n.since) && (a.node != n.node || len(l.nodes) == 1) {
			waits = append(waits, max(0, n.told.Sub(a.at)))
		}
	}
	slices.Sort(waits)
	return waits
}
