package imapd

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// RFC 9585 §4: a long command says so every now and then, with its tag unless that would end the response code; a short one says nothing.
func TestInProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			tag, want string
			took      time.Duration
		}{
			{"a1", "", progressEvery - time.Second},
			{"a1", "* OK [INPROGRESS (\"a1\" NIL NIL)] still at work\r\n* OK [INPROGRESS (\"a1\" NIL NIL)] still at work\r\n", 2*progressEvery + time.Second},
			{"a]1", "* OK [INPROGRESS (NIL NIL NIL)] still at work\r\n", progressEvery + time.Second},
		} {
			var out bytes.Buffer
			s := &session{}
			s.out.dst, s.cmd.tag = &out, []byte(c.tag)
			oops := errors.New("oops")
			err := s.inProgress(func() error { time.Sleep(c.took); return oops })
			if out.String() != c.want || err != oops {
				t.Errorf("%s for %v: said %q, %v", c.tag, c.took, out.String(), err)
			}
		}
	})
}
