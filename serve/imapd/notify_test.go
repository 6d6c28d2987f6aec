package imapd

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bahnpost/store/mailstore"
)

// watcher is a client that only listens, and what it believes.
type watcher struct {
	*strict
	p        *pumped
	messages map[string]int64 // by mailbox, from STATUS
	names    map[string]bool
	subs     map[string]bool
	exists   int // of the selected mailbox
}

// hearAll takes all that was said until now.
func (w *watcher) hearAll(t *testing.T) {
	synctest.Wait()
	for w.r.Buffered() > 0 || len(w.p.rest) > 0 || len(w.p.chunks) > 0 {
		if first := w.token(); first.text != "*" {
			t.Fatalf("heard %q", first.text)
		}
		w.take(t, w.line())
	}
}

func (w *watcher) take(t *testing.T, r response) {
	switch {
	case r[0].text == "STATUS":
		for i := 0; i+1 < len(r[2].list); i += 2 {
			if r[2].list[i].text == "MESSAGES" {
				w.messages[r[1].text] = r[2].list[i+1].num()
			}
		}
	case r[0].text == "LIST":
		w.list(r)
	case r[1].text == "EXISTS":
		w.exists = int(r[0].num())
	case r[1].text == "EXPUNGE":
		w.exists--
	case r[1].text == "RECENT", r[1].text == "FETCH", r[0].text == "FLAGS", r[0].text == "OK":
	default:
		t.Fatalf("heard %v", r)
	}
}

func (w *watcher) list(r response) {
	name, flags := r[3].text, r[1].String()
	if len(r) > 4 { // ("OLDNAME" (old)): its children move along (RFC 5465 §5.4)
		w.rename(r[4].list[1].list[0].text, name)
	}
	w.names[name] = true
	if strings.Contains(flags, `\NonExistent`) || strings.Contains(flags, `\Noselect`) {
		delete(w.messages, name)
	}
	if strings.Contains(flags, `\NonExistent`) {
		delete(w.names, name)
	}
	w.subs[name] = strings.Contains(flags, `\Subscribed`)
}

// RFC 5465: a client that only listens knows at any time which mailboxes there are and how many messages each has.
func TestNotifyKeepsTrue(t *testing.T) {
	t.Parallel()
	for seed := range int64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { notifyWalk(t, rand.New(rand.NewSource(seed))) })
		})
	}
}

func notifyWalk(t *testing.T, r *rand.Rand) {
	w := newTown(t, Config{})
	nc, err := w.dial(false)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Hour))
	p := pump(nc).(*pumped)
	c := &watcher{strict: &strict{t: t, r: bufio.NewReader(p), w: nc}, p: p, messages: map[string]int64{}, names: map[string]bool{}, subs: map[string]bool{}}
	c.r.ReadString('\n')
	c.do("LOGIN alice secret")
	c.do("SELECT INBOX")
	for _, l := range c.do(`LIST "" * RETURN (SUBSCRIBED)`) {
		c.take(t, l)
	}
	for _, l := range c.do("NOTIFY SET STATUS (selected (MessageNew MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge FlagChange MailboxName)) (subtree \"\" (SubscriptionChange MailboxName))") {
		c.take(t, l)
	}
	names := []string{"INBOX", "Sent", "Junk"}
	for step := range 120 {
		if r.Intn(4) == 0 {
			c.hearAll(t)
			c.act(t, r, &names, step)
		}
		w.happen(t, r, &names, step)
		if r.Intn(3) > 0 {
			c.hearAll(t)
			c.compare(t, w, step)
		}
	}
	c.hearAll(t)
	c.compare(t, w, 120)
}

// act does something itself, of which it is not told.
func (c *watcher) act(t *testing.T, r *rand.Rand, names *[]string, step int) {
	name := (*names)[r.Intn(len(*names))]
	say := func(format string, args ...any) {
		for _, rp := range c.do(format, args...) {
			c.take(t, rp)
		}
	}
	switch r.Intn(5) {
	case 0:
		n := fmt.Sprintf("%s/o%d", name, step)
		say("CREATE %s", n)
		*names = append(*names, n)
		c.names[n] = true
	case 1:
		if name != "INBOX" {
			to := fmt.Sprintf("rm%d", step)
			say("RENAME %s %s", name, to)
			for i, n := range *names {
				if rest, ok := below(n, name); ok {
					(*names)[i] = to + rest
				}
			}
			c.rename(name, to)
		}
	case 2:
		on := r.Intn(2) == 0
		say("%sSUBSCRIBE %s", map[bool]string{false: "UN"}[on], name)
		c.subs[name] = on
	case 3:
		if name != "INBOX" && !slices.ContainsFunc(*names, func(n string) bool { return strings.HasPrefix(n, name+"/") }) {
			say("DELETE %s", name)
			*names = slices.DeleteFunc(*names, func(n string) bool { return n == name })
			delete(c.names, name)
			delete(c.messages, name)
		}
	default:
		say("APPEND %s {4+}\r\n\r\n\r\n", name)
		if name != "INBOX" {
			c.messages[name]++
		}
	}
}

// rename moves a mailbox and its children (RFC 5465 §5.4).
func (w *watcher) rename(old, name string) {
	for n := range maps.Clone(w.names) {
		rest, ok := below(n, old)
		if !ok {
			continue
		}
		delete(w.names, n)
		w.names[name+rest] = true
		if c, ok := w.messages[n]; ok {
			delete(w.messages, n)
			w.messages[name+rest] = c
		}
		w.subs[name+rest] = w.subs[n]
		delete(w.subs, n)
	}
}

// happen does something to alice's mail.
func (w *town) happen(t *testing.T, r *rand.Rand, names *[]string, step int) {
	name := (*names)[r.Intn(len(*names))]
	err := w.mails.Update(context.Background(), mailstore.Ticket{Account: 1, Epoch: 1}, func(tx *mailstore.Tx) error {
		mb, err := tx.MailboxByName(name)
		if err != nil {
			return err
		}
		switch r.Intn(9) {
		case 0:
			n := fmt.Sprintf("%s/x%d", name, step)
			*names = append(*names, n)
			_, err = tx.CreateMailbox(mailstore.MailboxSpec{Name: n})
		case 1:
			if name != "INBOX" && !mb.HasChildren {
				*names = slices.DeleteFunc(*names, func(n string) bool { return n == name })
				err = tx.DeleteMailbox(mb.ID)
			}
		case 2:
			if name != "INBOX" {
				to := fmt.Sprintf("r%d", step)
				for i, n := range *names {
					if n == name || strings.HasPrefix(n, name+"/") {
						(*names)[i] = to + strings.TrimPrefix(n, name)
					}
				}
				err = tx.RenameMailbox(mb.ID, to)
			}
		case 3:
			err = tx.Subscribe(name, r.Intn(2) == 0)
		case 4:
			_, err = tx.StoreFlags(mb.ID, mailstore.Range(1, 5), mailstore.AddFlags, mailstore.Seen, nil, false, 0)
		case 5:
			_, err = tx.Expunge(mb.ID, mailstore.Range(1, mailstore.UID(1+r.Intn(8))), false)
		default:
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	if slices.Contains(*names, name) && r.Intn(2) == 0 {
		if err := w.deliver("alice", name, []byte("Subject: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *watcher) compare(t *testing.T, w *town, step int) {
	mbs, err := w.mails.Mailboxes(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, mb := range mbs {
		names[mb.Name] = true
		if mb.Name == "INBOX" {
			if c.exists != mb.Messages {
				t.Fatalf("step %d: INBOX has %d, heard %d", step, mb.Messages, c.exists)
			}
			continue
		}
		if int(c.messages[mb.Name]) != mb.Messages && !mb.NoSelect {
			t.Fatalf("step %d: %s has %d, heard %d", step, mb.Name, mb.Messages, c.messages[mb.Name])
		}
		if c.subs[mb.Name] != mb.Subscribed {
			t.Fatalf("step %d: %s is subscribed %v, heard %v", step, mb.Name, mb.Subscribed, c.subs[mb.Name])
		}
	}
	if !maps.Equal(names, c.names) {
		t.Fatalf("step %d: mailboxes %v\nheard %v", step, slices.Sorted(maps.Keys(names)), slices.Sorted(maps.Keys(c.names)))
	}
}
