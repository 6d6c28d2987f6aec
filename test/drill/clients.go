package drill

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// deliverer delivers to one, two or three of the readers, and now and then to somebody who fetches by POP3.
func deliverer(c *client) {
	tok := c.next()
	to := []string{reader(c.n + c.number)}
	switch c.n % 7 {
	case 2:
		to = append(to, reader(c.n+c.number+1))
	case 4:
		to = append(to, reader(c.n+c.number+1), reader(c.n+c.number+2))
	case 5, 6:
		to = []string{popper(c.n)}
	}
	c.deliver(tok, to)
	c.rest(c.pace)
}

// deliverProbe measures when a delivery is possible. It is no MTA: what was refused or not answered is forgotten.
func deliverProbe(c *client) {
	if !c.lmtp() {
		return
	}
	tok := fmt.Sprintf("%s-%d-s0", c.name, c.n)
	c.n++
	if left := c.once(tok, message(tok), []string{probed}); len(left) == 0 {
		c.l.g.done("deliver", c.name)
		c.rest(c.pace)
	}
}

// readProbe measures when reading is possible.
func readProbe(c *client) {
	ready, anew := c.imap(lookedAt, "INBOX")
	if !ready {
		return
	}
	if !anew {
		if _, err := c.w.imap("SELECT INBOX"); err != nil {
			c.failed("IMAP", err)
			return
		}
	}
	lines, err := c.w.imap("UID FETCH 1:* BODY.PEEK[]")
	if err == nil && len(lines) < 2 {
		err = errors.New("the message is not there")
	}
	if err != nil {
		c.failed("IMAP", err)
		return
	}
	c.l.g.done("read", c.name)
	c.rest(c.pace)
}

var (
	appendUID  = regexp.MustCompile(`\[APPENDUID (\d+) (\d+)\]`)
	uidOf      = regexp.MustCompile(`\bUID (\d+)`)
	modseqOf   = regexp.MustCompile(`\bMODSEQ \((\d+)\)`)
	highestOf  = regexp.MustCompile(`\[HIGHESTMODSEQ (\d+)\]`)
	uidnextOf  = regexp.MustCompile(`\[UIDNEXT (\d+)\]`)
	validityOf = regexp.MustCompile(`\[UIDVALIDITY (\d+)\]`)
)

// number reads the number that re finds, 0 if it finds none.
func number(re *regexp.Regexp, s string) uint64 {
	m := re.FindStringSubmatch(s)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseUint(m[1], 10, 64)
	return n
}

// high is the entry for the answer to a SELECT.
func high(user, box string, lines []string) Entry {
	all := strings.Join(lines, "\n")
	return Entry{Act: High, Account: user, Box: box, ModSeq: number(highestOf, all), UID: uint32(number(uidnextOf, all)), Validity: uint32(number(validityOf, all))}
}

// append appends a message and returns its UID, 0 if that failed.
func (c *client) append(user, box, tok string) uint32 {
	text := message(tok)
	try := c.l.j.Begin(Entry{Act: Send, Account: user, Box: box, Token: tok})
	lines, err := c.w.imap("APPEND %s {%d+}\r\n%s", box, len(text), text)
	if err != nil {
		if refused(err) {
			c.l.j.End(try, Refused)
		}
		c.failed("IMAP", err)
		return 0
	}
	if m := appendUID.FindStringSubmatch(lines[len(lines)-1]); m != nil {
		v, _ := strconv.ParseUint(m[1], 10, 32)
		u, _ := strconv.ParseUint(m[2], 10, 32)
		try.Validity, try.UID = uint32(v), uint32(u)
	}
	c.l.j.End(try, Kept)
	return try.UID
}

// appender appends. Without an answer it appends again, as a careless client would.
func appender(c *client) {
	tok := c.next()
	user := reader(c.number)
	for !c.stopped() {
		if ready, _ := c.imap(user, boxAppended); ready && c.append(user, boxAppended, tok) != 0 {
			break
		}
	}
	c.rest(c.pace)
}

// values of a flag: keywords v1 … v150. An account has room for more, but the room is not what is tested.
const values = 150

// flagged is how many messages a flagger works on.
const flagged = 10

// flagger sets the flags of its messages to one value after the other.
func flagger(c *client) {
	user := reader(c.number + 2)
	ready, _ := c.imap(user, boxFlags)
	if !ready {
		return
	}
	if len(c.own) < flagged {
		if uid := c.append(user, boxFlags, c.next()); uid != 0 {
			c.own = append(c.own, uid)
		}
		return
	}
	c.n++
	which := c.n % flagged
	try := c.l.j.Begin(Entry{Act: Mark, Account: user, Box: boxFlags, Token: token(c.name, which+1), UID: c.own[which], Value: c.n%values + 1})
	lines, err := c.w.imap("UID STORE %d FLAGS (v%d)", try.UID, try.Value)
	switch {
	case err != nil && !refused(err):
		c.failed("IMAP", err)
		return
	case err != nil:
		c.l.j.End(try, Unmarked)
		c.failed("IMAP", err)
		return
	}
	for _, s := range lines {
		if number(uidOf, s) == uint64(try.UID) && strings.Contains(s, " FETCH ") {
			try.ModSeq = max(try.ModSeq, number(modseqOf, s))
		}
	}
	if try.ModSeq == 0 { // the message is not known there yet
		c.l.j.End(try, Unmarked)
		c.failed("IMAP", errLate)
		return
	}
	c.l.j.End(try, Marked)
	c.rest(c.pace)
}

// expunger appends and expunges.
func expunger(c *client) {
	user := reader(c.number + 4)
	if ready, _ := c.imap(user, boxGone); !ready {
		return
	}
	tok := c.next()
	uid := c.append(user, boxGone, tok)
	if uid == 0 {
		return
	}
	const tries = 5 // what is gone by a try without an answer is not found by the next
	for range tries {
		if ready, _ := c.imap(user, boxGone); c.stopped() || ready && c.expunge(user, tok, uid) {
			break
		}
	}
	c.rest(c.pace)
}

// expunge expunges a message and says whether that was acknowledged.
func (c *client) expunge(user, tok string, uid uint32) bool {
	if _, err := c.w.imap(`UID STORE %d +FLAGS.SILENT (\Deleted)`, uid); err != nil {
		c.failed("IMAP", err)
		return false
	}
	try := c.l.j.Begin(Entry{Act: Drop, Account: user, Box: boxGone, Token: tok, UID: uid})
	lines, err := c.w.imap("UID EXPUNGE %d", uid)
	if err != nil {
		if refused(err) {
			c.l.j.End(try, Stays)
		}
		c.failed("IMAP", err)
		return false
	}
	for _, s := range lines {
		if strings.HasPrefix(s, "* ") && strings.HasSuffix(s, " EXPUNGE") {
			c.l.j.End(try, Dropped)
			return true
		}
	}
	return false
}

// popSessions fetches all by POP3 and deletes all but a few, one session.
func popSessions(c *client) {
	user := popper(c.number)
	w, err := dialPOP3(c.node(), user, c.patience)
	if err != nil {
		c.failed("POP3", err)
		return
	}
	defer w.Close()
	if err := c.popSession(w, user); err != nil {
		c.failed("POP3", err)
		return
	}
	c.rest(c.pace)
}

// leave is how many messages stay on the server.
const leave = 3

func (c *client) popSession(w *wire, user string) error {
	lines, err := w.popLines("UIDL")
	if err != nil {
		return err
	}
	var tries []Entry
	for _, s := range lines {
		var n int
		e := Entry{Act: Saw, Account: user, Box: "INBOX"}
		if _, err := fmt.Sscanf(s, "%d %d.%d", &n, &e.Validity, &e.UID); err != nil {
			return errSaid("UIDL " + s)
		}
		text, err := w.popLines("RETR %d", n)
		if err != nil {
			return err
		}
		whole := strings.Join(text, "\r\n") + "\r\n"
		if e.Token = tokenOf(whole); e.Token == "" || !intact(whole, e.Token) {
			c.l.g.hurt(fmt.Sprintf("POP3: %s UID %d is not what was sent", user, e.UID))
			continue
		}
		c.l.j.Add(e)
		if n > leave {
			if _, err := w.pop("DELE %d", n); err != nil {
				return err
			}
			e.Act = Drop
			tries = append(tries, e)
		}
	}
	// RFC 1939 §6: only QUIT deletes.
	for i := range tries {
		tries[i] = c.l.j.Begin(tries[i])
	}
	if _, err := w.pop("QUIT"); err != nil {
		return err
	}
	for _, try := range tries {
		c.l.j.End(try, Dropped)
	}
	return nil
}

// idler waits for new mail in a reader's INBOX, for as long as its connection lives.
func idler(c *client) {
	user := reader(c.number)
	ready, _ := c.imap(user, "INBOX")
	if !ready {
		return
	}
	unhook := context.AfterFunc(c.ctx, func() { c.w.SetDeadline(time.Now()) })
	defer unhook()
	if err := c.idle(user); err != nil {
		c.failed("IDLE", err)
	}
}

// idle shows what is new and waits for more, again and again.
func (c *client) idle(user string) error {
	told, since := time.Time{}, time.Time{}
	for {
		if err := c.shown(user, told, since); err != nil {
			return err
		}
		c.w.tags++
		tag := "d" + strconv.Itoa(c.w.tags)
		if err := c.w.say("%s IDLE\r\n", tag); err != nil {
			return err
		}
		since = time.Now()
		c.w.SetDeadline(time.Time{})
		if c.stopped() {
			return nil
		}
		for {
			s, err := c.w.line()
			if err != nil {
				return err
			}
			if strings.HasPrefix(s, "* BYE") || strings.HasPrefix(s, tag) {
				return errSaid(s)
			}
			if strings.HasSuffix(s, " EXISTS") {
				break
			}
		}
		told = time.Now()
		if err := c.w.say("DONE\r\n"); err != nil {
			return err
		}
		if _, err := c.w.answer(tag); err != nil {
			return err
		}
	}
}

// shown fetches what is newer than the last, and notes when the client was told.
func (c *client) shown(user string, told, since time.Time) error {
	for more := true; more; {
		lines, err := c.w.imap("UID FETCH %d:* (UID MODSEQ BODY.PEEK[HEADER.FIELDS (SUBJECT)])", c.last+1)
		if err != nil {
			return err
		}
		more = false
		for _, s := range lines {
			// What comes while we fetch is told here, and not again by IDLE.
			more = more || strings.HasSuffix(s, " EXISTS")
			uid, tok := uint32(number(uidOf, s)), tokenOf(s)
			if uid <= c.last || tok == "" {
				continue
			}
			c.last = uid
			c.l.j.Add(Entry{Act: Saw, Account: user, Box: "INBOX", Token: tok, UID: uid, ModSeq: number(modseqOf, s)})
			c.l.j.Add(Entry{Act: Told, Account: user, Box: "INBOX", Token: tok})
			if !since.IsZero() {
				c.l.g.heard(news{user + " " + tok, c.node(), since, told})
			}
		}
	}
	return nil
}
