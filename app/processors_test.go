package app

import (
	"testing"
	"time"
)

func TestCalm(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		was        bool
		work, wait time.Duration
		span       time.Duration
		calm       bool
	}{
		{false, 0, 0, busyEvery, true},
		{false, busyEvery / 5, 0, busyEvery, true},
		{false, busyEvery / 3, 0, busyEvery, false},
		{false, 2 * busyEvery, 0, busyEvery, false},
		{false, busyEvery / 5, busyEvery / 3, busyEvery, false}, // we get little, others keep the machine busy
		{true, calmEvery / 3, 0, calmEvery, true},               // between the two it stays as it is
		{true, calmEvery * 2 / 3, 0, calmEvery, false},
		{true, calmEvery / 5, 8 * calmEvery, calmEvery, false},
	} {
		if got := isCalm(x.was, effort{x.work, x.wait}, x.span); got != x.calm {
			t.Errorf("was %v, %v done and %v waited of %v: calm %v", x.was, x.work, x.wait, x.span, got)
		}
	}
}
