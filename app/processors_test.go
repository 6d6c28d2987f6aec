package app

import (
	"testing"
	"time"
)

func TestCalm(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		was        bool
		work, span time.Duration
		calm       bool
	}{
		{false, 0, busyEvery, true},
		{false, busyEvery / 5, busyEvery, true},
		{false, busyEvery / 3, busyEvery, false},
		{false, 2 * busyEvery, busyEvery, false},
		{true, calmEvery / 3, calmEvery, true}, // between the two it stays as it is
		{true, calmEvery * 2 / 3, calmEvery, false},
		{true, calmEvery, calmEvery, false}, // all that one processor gives
	} {
		if got := isCalm(x.was, x.work, x.span); got != x.calm {
			t.Errorf("was %v, %v of %v: calm %v", x.was, x.work, x.span, got)
		}
	}
}
