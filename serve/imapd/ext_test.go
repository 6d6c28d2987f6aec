package imapd

import (
	"fmt"
	"strings"
	"testing"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// RFC 5464 §4.3: a value or a number of entries over the limit is refused with its own code, and nothing of the command is kept.
func TestMetadataLimits(t *testing.T) {
	t.Parallel()
	w := newTown(t, Config{})
	c := dialStrict(t, w.tcp())
	big := strings.Repeat("x", mailstore.MaxMetadataValue+1)
	_, status := c.try("SETMETADATA INBOX (/private/a \"kept?\" /private/b {%d+}\r\n%s)", len(big), big)
	if !strings.HasPrefix(status, "NO [METADATA MAXSIZE 65536]") {
		t.Errorf("too long: %s", status)
	}
	rs := c.do("GETMETADATA INBOX /private/a")
	if got := fmt.Sprint(rs[0][2]); got != "(/private/a NIL)" {
		t.Errorf("a refused SETMETADATA left %s", got)
	}
	big = big[1:]
	c.do("SETMETADATA INBOX (/private/b {%d+}\r\n%s)", len(big), big)
	if rs = c.do("GETMETADATA INBOX /private/b"); rs[0][2].list[1].text != big {
		t.Error("the longest value does not come back")
	}
	for i := 0; ; i++ {
		_, status := c.try("SETMETADATA \"\" (/private/vendor/x/%d \"v\")", i)
		if strings.HasPrefix(status, "NO [METADATA TOOMANY]") && i >= 10 {
			break
		}
		if !strings.HasPrefix(status, "OK") || i > mailstore.MaxMetadataCount {
			t.Fatalf("entry %d: %s", i, status)
		}
	}
}

// RFC 5465 §5.8: news that nobody takes are bounded.
func TestNotifyOverflows(t *testing.T) {
	t.Parallel()
	s := &session{}
	st := &notifyState{pending: map[mailstore.MailboxID]imap.Event{}}
	for i := range maxNotifyPending + 10 {
		st.collect(s, []mailstore.Change{{Mailbox: mailstore.MailboxID(i + 1), Kind: mailstore.Added, ModSeq: 9}})
	}
	if p, over := st.take(); !over || len(p) != 0 {
		t.Errorf("%d mailboxes pending, overflow %v", len(p), over)
	}
	s.own.Store(9)
	st.collect(s, []mailstore.Change{{Mailbox: 1, Kind: mailstore.Added, ModSeq: 9}, {Mailbox: 2, Kind: mailstore.Added, ModSeq: 10}})
	if p, over := st.take(); over || len(p) != 1 || p[2] != imap.MessageNew {
		t.Errorf("own step was not left out: %v", p)
	}
}

// RFC 5465 §6, RFC 7377 §2.2.
func TestMailboxFilters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f    imap.MailboxFilter
		name string
		want bool
	}{
		{imap.MailboxFilter{Kind: imap.FilterSubtree, Names: []string{"a/b"}}, "a/b", true},
		{imap.MailboxFilter{Kind: imap.FilterSubtree, Names: []string{"a/b"}}, "a/b/c/d", true},
		{imap.MailboxFilter{Kind: imap.FilterSubtree, Names: []string{"a/b"}}, "a/bc", false},
		{imap.MailboxFilter{Kind: imap.FilterSubtree, Names: []string{"a/b"}}, "a", false},
		{imap.MailboxFilter{Kind: imap.FilterSubtree, Names: []string{"a/"}}, "a/x", true},
		{imap.MailboxFilter{Kind: imap.FilterSubtreeOne, Names: []string{"a"}}, "a/b", true},
		{imap.MailboxFilter{Kind: imap.FilterSubtreeOne, Names: []string{"a"}}, "a/b/c", false},
		{imap.MailboxFilter{Kind: imap.FilterSubtreeOne, Names: []string{""}}, "a", true},
		{imap.MailboxFilter{Kind: imap.FilterSubtreeOne, Names: []string{""}}, "a/b", false},
		{imap.MailboxFilter{Kind: imap.FilterSubtree, Names: []string{""}}, "a/b", true},
		{imap.MailboxFilter{Kind: imap.FilterMailboxes, Names: []string{"*", "x"}}, "y", false},
		{imap.MailboxFilter{Kind: imap.FilterPersonal}, "y", true},
		{imap.MailboxFilter{Kind: imap.FilterSelected}, "y", false},
	} {
		if got := matches(&c.f, c.name, false, false); got != c.want {
			t.Errorf("%v of %q: %v", c.f, c.name, got)
		}
	}
}

// RFC 9394 §3.1.
func TestWindow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p      imap.PartialRange
		n      int
		lo, hi int
	}{
		{imap.PartialRange{First: 1, Last: 3}, 10, 0, 3}, {imap.PartialRange{First: 9, Last: 30}, 10, 8, 10}, {imap.PartialRange{First: 11, Last: 30}, 10, 0, 0},
		{imap.PartialRange{First: 1, Last: 3, FromEnd: true}, 10, 7, 10}, {imap.PartialRange{First: 9, Last: 30, FromEnd: true}, 10, 0, 2},
		{imap.PartialRange{First: 11, Last: 12, FromEnd: true}, 10, 0, 0}, {imap.PartialRange{First: 1, Last: 1}, 0, 0, 0},
		{imap.PartialRange{First: 1, Last: 1<<32 - 1, FromEnd: true}, 1, 0, 1},
	} {
		if lo, hi := window(c.p, c.n); lo != c.lo || hi != c.hi {
			t.Errorf("%+v of %d: %d:%d, want %d:%d", c.p, c.n, lo, hi, c.lo, c.hi)
		}
	}
}
