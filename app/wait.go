package app

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"bahnpost/store"
)

// Times of a start without a database.
const (
	openTry   = 10 * time.Second       // for one try
	openPause = 500 * time.Millisecond // between two, and up to as much again, so that nodes do not come all at once
	openSay   = 10 * time.Second       // between two lines of the log
)

// openStore is store.Open, and waits for a database that is away.
func openStore(ctx context.Context, cfg store.Config, wait time.Duration, log *slog.Logger) (*store.Store, error) {
	begin := time.Now()
	var said time.Time
	for {
		s, err := tryStore(ctx, cfg)
		if err == nil && !said.IsZero() {
			log.Info("the database is there", "waited", time.Since(begin).Round(time.Millisecond))
		}
		if err == nil || !store.Away(err) || ctx.Err() != nil {
			return s, err
		}
		place, _ := store.ParseDatabase(cfg.Database) // checked by LoadConfig
		if time.Since(begin) >= wait {
			return nil, fmt.Errorf("the %v can't be reached, waited %v: %w", place, wait, err)
		}
		if time.Since(said) >= openSay {
			said = time.Now()
			log.Warn("waiting for the database", "database", place.String(), "waited", time.Since(begin).Round(time.Second), "at_most", wait, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(openPause + rand.N(openPause)):
		}
	}
}

func tryStore(ctx context.Context, cfg store.Config) (*store.Store, error) {
	if cfg.Database == "" {
		return store.Open(ctx, cfg)
	}
	ctx, cancel := context.WithTimeout(ctx, openTry)
	defer cancel()
	return store.Open(ctx, cfg)
}
