package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"bahnpost/store/blob"
)

// What the doctor thinks healthy of the place of bodies.
const (
	slowPut       = 250 * time.Millisecond
	bodyTries     = 5
	bodySize      = 64 << 10
	bodiesTimeout = 10 * time.Second // for each way
)

// doctorBodies tries each way to the bodies with a body of its own, and takes it away again.
func doctorBodies(ctx context.Context, c *Config) (fs []Finding) {
	for _, u := range c.Store.Bodies {
		for _, way := range ways(u) {
			name := way.name
			took, err := tryBodies(ctx, way.url)
			text := fmt.Sprintf("%s takes and gives; median of a PUT %.1f ms", name, ms(took))
			switch {
			case err != nil:
				fs = append(fs, Finding{Bad, "bodies", fmt.Sprintf("%s can't be used: %v", name, err)})
			case took > slowPut:
				fs = append(fs, Finding{Bad, "bodies", text + ": slow; large mail waits for one"})
			default:
				fs = append(fs, Finding{Good, "bodies", text})
			}
		}
	}
	if len(fs) == 1 && len(c.Store.Bodies) == 1 {
		fs = append(fs, Finding{Note, "bodies", "there is one way to them: a second endpoint, or a mirror, would be used when it is lost"})
	}
	return fs
}

// way is one endpoint of a place.
type way struct{ name, url string } // name: as a person knows it

// ways are a place's endpoints, each as a URL of its own.
func ways(place string) (out []way) {
	u, err := url.Parse(place)
	if err != nil || u.Scheme != "s3" {
		return []way{{place, place}}
	}
	q := u.Query()
	for _, list := range q["endpoint"] {
		for e := range strings.SplitSeq(list, ",") {
			q.Set("endpoint", e)
			u.RawQuery = q.Encode()
			out = append(out, way{"s3://" + u.Host + " at " + e, u.String()})
		}
	}
	if len(out) == 0 {
		out = append(out, way{"s3://" + u.Host, place})
	}
	return out
}

// tryBodies stores, reads and deletes a body some times, and returns the median of storing.
func tryBodies(ctx context.Context, place string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, bodiesTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "bahnpost-doctor-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	r, err := blob.OpenRemote(blob.RemoteConfig{URLs: []string{place}, Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	defer r.Close()
	if err := r.Ready(ctx); err != nil {
		return 0, err
	}
	var took []time.Duration
	for range bodyTries {
		begin := time.Now()
		ref, err := r.Put(ctx, make([]byte, bodySize))
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
		b, err := r.Open(ctx, ref)
		if err == nil {
			_, err = b.ReadAt(make([]byte, bodySize), 0)
			b.Close()
		}
		if err != nil {
			return 0, err
		}
		if err := r.Delete(ctx, ref); err != nil {
			return 0, err
		}
	}
	slices.Sort(took)
	return took[bodyTries/2], nil
}
