package imapd

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"time"

	"bahnpost/store/mailstore"
)

// progressEvery is after what time, and how often, a command that takes long
// says that it is still at work (RFC 9585 §4: at most every 10 seconds or so).
const progressEvery = 10 * time.Second

// fewMessages is how many messages a change may touch and be sure to be quick.
const fewMessages = 100

// updateMany is update for a change of uids (empty: all): if they may be many
// it says INPROGRESS while the store works.
func (s *session) updateMany(uids mailstore.UIDSet, fn func(*mailstore.Tx) error) error {
	if n := uids.Count(); n > 0 && n <= fewMessages {
		return s.update(fn)
	}
	return s.inProgress(func() error { return s.update(fn) })
}

// inProgress runs fn, which must not touch the session's output, and says INPROGRESS
// meanwhile. The usual, fast case costs a timer.
func (s *session) inProgress(fn func() error) error {
	t := time.NewTimer(progressEvery)
	defer t.Stop()
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if p := recover(); p != nil { // a bug of ours: let this command fail, not the process
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			done <- err
		}()
		err = fn()
	}()
	for {
		select {
		case err := <-done:
			return err
		case <-t.C:
			s.sayProgress()
			t.Reset(progressEvery)
		}
	}
}

// sayProgress says INPROGRESS with the tag of the command, goal unknown (RFC 9585 §4.1).
func (s *session) sayProgress() {
	tag := append(append([]byte{'"'}, s.cmd.tag...), '"')
	if bytes.IndexByte(tag, ']') >= 0 {
		tag = []byte("NIL") // RFC 9585 §4: it would end the response code
	}
	b := append(append(s.out.b, "* OK [INPROGRESS ("...), tag...)
	s.out.b = append(b, " NIL NIL)] still at work\r\n"...)
	s.out.flush()
}
