package imapd

import (
	"errors"
	"runtime/debug"
	"time"

	"bahnpost/store/mailstore"
)

// slowOpen is what opening a message takes at least when a disk is asked; from memory it is a fraction.
const slowOpen = 60 * time.Microsecond

// maxAhead is the largest message that is opened ahead, in octets: a compressed one lies in memory up to a megabyte while its client
// does not read, and for larger ones opening is a small part of sending.
const maxAhead = 128 << 10

// opener opens the messages of a FETCH. While they come from the disk the next
// one is opened as one is sent, so that a client that fetches a mailbox waits
// for the disk or the line, not for both in turn. It belongs to the session's goroutine.
type opener struct {
	slow    bool
	next    mailstore.MessageID
	pending chan opened // of next; nil: nothing under way
}

type opened struct {
	r    *mailstore.Reader
	err  error
	took time.Duration
}

// open opens e; after is the message that will be asked for then, nil if there is none.
func (o *opener) open(s *session, e, after *mailstore.Entry) (*mailstore.Reader, error) {
	var got opened
	if o.pending != nil && o.next == e.Row.Message {
		got = <-o.pending
		o.pending = nil
	} else {
		o.drop()
		got = s.openTimed(e.Row.Message)
	}
	o.slow = got.took > slowOpen
	if o.slow && after != nil && after.Row.Size <= maxAhead && got.err == nil {
		o.next, o.pending = after.Row.Message, make(chan opened, 1)
		go s.openAhead(o.next, o.pending)
	}
	return got.r, got.err
}

// openAhead answers in any case: a panic must cost this session's command, not the process.
func (s *session) openAhead(id mailstore.MessageID, answer chan<- opened) {
	got := opened{err: errors.New("imapd: opening a message ahead panicked")}
	defer func() {
		if v := recover(); v != nil {
			s.srv.cfg.Log.Error("panic", "session", s.conn.ID(), "panic", v, "stack", string(debug.Stack()))
		}
		answer <- got
	}()
	got = s.openTimed(id)
}

func (s *session) openTimed(id mailstore.MessageID) opened {
	start := time.Now()
	r, err := s.srv.store.OpenMessage(s.ctx, s.login.Account, id)
	return opened{r, err, time.Since(start)}
}

// drop closes what was opened for nothing.
func (o *opener) drop() {
	if o.pending == nil {
		return
	}
	if got := <-o.pending; got.err == nil {
		got.r.Close()
	}
	o.pending = nil
}
