package drill

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"
)

// Act is what an entry of the journal tells.
type Act string

// Attempts are written down before the command is sent, what became of them
// when the answer has come. An attempt without either had no answer: it may have
// happened or not, and may still happen.
const (
	Send    Act = "send"    // a message is delivered or appended …
	Kept    Act = "kept"    // … acknowledged: 250, OK
	Refused Act = "refused" // … refused for now: it must not be there

	Mark     Act = "mark"     // flags are set to Value …
	Marked   Act = "marked"   // … acknowledged
	Unmarked Act = "unmarked" // … refused for now

	Drop    Act = "drop"    // a message is expunged, or deleted by POP3 …
	Dropped Act = "dropped" // … acknowledged
	Stays   Act = "stays"   // … refused for now

	Saw  Act = "saw"  // a client was shown that UID is Token, with ModSeq if not 0
	High Act = "high" // a client was shown HIGHESTMODSEQ (ModSeq) and UIDNEXT (UID) of a mailbox
	Told Act = "told" // somebody who idles was told of Token
)

// Entry is a line of the journal.
type Entry struct {
	Act      Act       `json:"act"`
	At       time.Time `json:"at"`
	Attempt  int64     `json:"try,omitempty"` // joins an attempt with what became of it
	Account  string    `json:"acc"`
	Box      string    `json:"box,omitempty"`
	Token    string    `json:"tok,omitempty"`
	UID      uint32    `json:"uid,omitempty"`
	Validity uint32    `json:"val,omitempty"` // UIDVALIDITY
	ModSeq   uint64    `json:"mod,omitempty"`
	Value    int       `json:"to,omitempty"`
}

// Journal keeps what the clients tried and were promised, in a file of its own. It is safe for concurrent use.
type Journal struct {
	mu      sync.Mutex
	f       *os.File
	attempt int64
	err     error
}

// NewJournal makes the file.
func NewJournal(t testing.TB, path string) *Journal {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &Journal{f: f}
}

// Begin writes an attempt down and returns it numbered: with another Act it tells later what became of it.
func (j *Journal) Begin(e Entry) Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.attempt++
	e.Attempt = j.attempt
	j.write(e)
	return e
}

// Add writes an entry down.
func (j *Journal) Add(e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.write(e)
}

// End writes down what became of an attempt.
func (j *Journal) End(e Entry, act Act) {
	e.Act, e.At = act, time.Time{}
	j.Add(e)
}

func (j *Journal) write(e Entry) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	b, err := json.Marshal(e)
	if err == nil {
		_, err = j.f.Write(append(b, '\n'))
	}
	if err != nil && j.err == nil {
		j.err = err
	}
}

// Read reads all entries from the file, in their order.
func (j *Journal) Read(yield func(Entry)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return fmt.Errorf("journal: %w", j.err)
	}
	info, err := j.f.Stat()
	if err != nil {
		return err
	}
	d := json.NewDecoder(bufio.NewReader(io.NewSectionReader(j.f, 0, info.Size())))
	for {
		var e Entry
		switch err := d.Decode(&e); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("journal: %w", err)
		}
		yield(e)
	}
}
