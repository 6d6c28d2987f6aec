package mailstore

import (
	"context"
	"iter"
)

// Check verifies the invariants (counters, UIDs, modseqs, bodies, index) on a live or idle store.
func (s *Store) Check(ctx context.Context, o CheckOptions) iter.Seq2[Problem, error] {
	panic("contract")
}
