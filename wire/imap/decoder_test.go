package imap

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"
)

func TestAString(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want, err string }{
		{`abc`, "abc", ""},
		{`a]b`, "a]b", ""},
		{`"a \"b\" \\"`, `a "b" \`, ""},
		{`"ä"`, "ä", ""},
		{"{3}\r\na b", "a b", ""},
		{"{3+}\r\na b", "a b", ""},
		{"{0}\r\n", "", ""},
		{`""`, "", ""},
		{`"a`, "", "quoted string is not closed"},
		{`"a\b"`, "", `only \" and \\ may be escaped in a quoted string`},
		{"\"\xff\"", "", "quoted string is not valid UTF-8"},
		{`{3`, "", "literal must be announced as {octets} at the end of a line"},
		{`{99999999999999999999}`, "", "literal must be announced as {octets} at the end of a line"},
		{`{999999}`, "", "literal is too long here"},
		{"{2}\r\na\x00", "", "literal has a NUL octet"},
		{`(`, "", "expected a string at octet 1, got '('"},
		{``, "", "expected a string, got the end of the line"},
	} {
		d := decodeText(c.in)
		got := d.AString()
		if got != c.want || errText(d.Err()) != c.err {
			t.Errorf("%q: got %q, %v", c.in, got, d.Err())
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSeqSet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, raw, resolved string }{
		{"1", "1", "1"},
		{"1:3,2:9", "1:3,2:9", "1:9"},
		{"*", "*", "10"},
		{"7:*", "7:*", "7:10"},
		{"12:*", "12:*", "10:12"},
		{"*:4,1", "4:*,1", "1,4:10"},
		{"5:2", "2:5", "2:5"},
		{"4294967294", "4294967294", "4294967294"},
		{"12:4294967295", "12:4294967294", "12:4294967294"}, // not 10, which 12:* is
		{"4294967295:*", "4294967294:*", "10:4294967294"},
	} {
		d := decodeText(c.in)
		s := d.SeqSet()
		d.End()
		if d.Err() != nil || string(AppendRanges(nil, s.Ranges)) != c.raw || string(AppendRanges(nil, Resolve(s.Ranges, 10))) != c.resolved {
			t.Errorf("%s: %s, %s, %v", c.in, AppendRanges(nil, s.Ranges), AppendRanges(nil, Resolve(s.Ranges, 10)), d.Err())
		}
	}
	for _, in := range []string{"", "0", "1:", "1,,2", "a", "4294967296", "1:0", ",1", "99999999999999999999", strings.Repeat("1,", MaxRanges) + "1"} {
		d := decodeText(in)
		d.SeqSet()
		if d.Err() == nil {
			t.Errorf("%.20s: no error", in)
		}
	}
	if got := Resolve([]NumRange{{Star, Star}}, 0); len(got) != 0 {
		t.Errorf("* of an empty mailbox: %v", got)
	}
}

func TestMailbox(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ wire, name string }{
		{"INBOX", "INBOX"},
		{"inbox", "INBOX"},
		{"iNbOx/x", "INBOX/x"},
		{"inboxes", "inboxes"},
		{"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"}, // RFC 3501 §5.1.3
		{"&Jjo-!", "☺!"},
		{"a&-b", "a&b"},
		{"&2D3eCg-", "\U0001F60A"},
		{`"a b"`, "a b"},
	} {
		d := decodeText(c.wire)
		got := d.Mailbox()
		if got != c.name || d.Err() != nil {
			t.Errorf("%s: got %q, %v", c.wire, got, d.Err())
		}
	}
	for _, bad := range []string{"a&", "&AGE-", "&2D0-", "&3go-", "&AA-", "&*-", "&Jjo-&Jjo-", "&AGEAYg-", "&====-", "&JjoA-"} {
		d := decodeText(`"` + bad + `"`)
		if got := d.Mailbox(); d.Err() == nil {
			t.Errorf("%s: taken as %q", bad, got)
		}
	}
}

func TestMatchMailbox(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b", true}, {"%", "a/b", false}, {"%", "a", true}, {"%/%", "a/b", true}, {"a/*", "a", false},
		{"*b", "a/b", true}, {"%b", "a/b", false}, {"a%c", "abc", true}, {"a%c", "a/c", false}, {"a*c", "a/b/c", true},
		{"*%", "a/b", true}, {"%*", "a/b", true}, {"%%", "ab", true}, {"", "", true}, {"", "a", false}, {"a", "a", true},
		{"*a%b", "xa/ayb", true}, {"%a*", "ba/x", true}, {"*/%", "a/b/c", true},
	} {
		if got := MatchMailbox(c.pattern, c.name, '/'); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.name, got)
		}
	}
	p := strings.Repeat("*a%", 50)
	begun := time.Now()
	MatchMailbox(p, strings.Repeat("a", 4000)+"/b", '/')
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("hostile pattern took %v", took)
	}
}

func TestDateTime(t *testing.T) {
	t.Parallel()
	for _, s := range []string{`"17-Jul-1996 02:44:25 -0700"`, `" 1-Jan-2000 00:00:00 +0000"`, `"29-Feb-2024 23:59:59 +1345"`} {
		d := decodeText(s)
		got := d.DateTime()
		_, off := got.Zone()
		if d.Err() != nil || string(AppendDateTime(nil, got.Unix(), off/60)) != s {
			t.Errorf("%s: got %v, %v", s, got, d.Err())
		}
	}
	for _, s := range []string{`"30-Feb-2024 00:00:00 +0000"`, `"17-Jul-1996 02:44:25"`, `"17-Foo-1996 02:44:25 -0700"`, `"17-Jul-1996 25:44:25 -0700"`, `"17-Jul-1996 02:44:25 -9900"`, `x`, `"00-Jan-2000 00:00:00 +0000"`} {
		d := decodeText(s)
		if d.DateTime(); d.Err() == nil {
			t.Errorf("%s: no error", s)
		}
	}
}

func TestFetchItems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"ALL", "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE"},
		{"full", "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY"},
		{"(UID uid flags)", "UID FLAGS"},
		{"(UID  FLAGS)", "UID FLAGS"},
		{"BODY", "BODY"},
		{"BODY[]", "BODY[]"},
		{"body.peek[1.2.mime]<5.10>", "BODY[1.2.MIME]<5>"},
		{`(BODY[HEADER.FIELDS (A "b c")] BODY.PEEK[TEXT])`, `BODY[HEADER.FIELDS (A "b c")] BODY[TEXT]`},
		{"BODY[1.HEADER.FIELDS.NOT (x)]", "BODY[1.HEADER.FIELDS.NOT (x)]"},
		{"(BODY[]<5> BINARY.PEEK[2.TEXT] BINARY.SIZE[1.MIME])", "BODY[]<5> BINARY[2.TEXT] BINARY.SIZE[1.MIME]"},
		{"(BINARY[1] BINARY.PEEK[2.3]<0.1> BINARY.SIZE[])", "BINARY[1] BINARY[2.3]<0> BINARY.SIZE[]"},
		{"(PREVIEW (LAZY) EMAILID)", "PREVIEW EMAILID"},
		{"(BODY[1] BODY.PEEK[1])", "BODY[1]"},
	} {
		d := decodeText(c.in)
		items := d.FetchItems()
		d.End()
		if got := itemNamesOf(items); got != c.want || d.Err() != nil {
			t.Errorf("%s: got %s, %v", c.in, got, d.Err())
		}
	}
	for _, bad := range []string{"", "()", "(UID", "FOO", "BODY[", "BODY[0]", "BODY[1", "BODY[1.]", "BODY[FOO]", "BODY[MIME]", "BODY[HEADER.FIELDS]", "BODY[HEADER.FIELDS ()]",
		"BODY[]<1.0>", "BODY[]<1.>", "BODY[]<-1.5>", "BINARY[MIME]", "BINARY[1.FOO]", "BODY[" + strings.Repeat("1.", 65) + "1]", "RFC822[]"} {
		d := decodeText(bad)
		d.FetchItems()
		if d.End(); d.Err() == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func itemNamesOf(items []FetchItem) string {
	var b []byte
	for i := range items {
		if i > 0 {
			b = append(b, ' ')
		}
		b = AppendItemName(b, &items[i])
	}
	return string(b)
}

func TestFetchModifiers(t *testing.T) {
	t.Parallel()
	d := decodeText("PREVIEW (CHANGEDSINCE 5 VANISHED PARTIAL -1:-30)")
	d.FetchItems()
	m := d.FetchModifiers()
	if d.End(); d.Err() != nil || m.ChangedSince != 5 || !m.Vanished || m.Partial == nil || *m.Partial != (PartialRange{1, 30, true}) {
		t.Errorf("%+v, %v", m, d.Err())
	}
}

func TestMessageURL(t *testing.T) {
	t.Parallel()
	u, ok := ParseMessageURL("/Entw%C3%BCrfe;UIDVALIDITY=385759045/;UID=20/;SECTION=1.2.MIME/;PARTIAL=5.10")
	if !ok || u.Mailbox != "Entwürfe" || u.UIDValidity != 385759045 || u.UID != 20 || u.Offset != 5 || u.Count != 10 || string(AppendSection(nil, &u.Section)) != "1.2.MIME" {
		t.Errorf("%+v %v", u, ok)
	}
	for _, bad := range []string{"", "/INBOX", "imap://h/INBOX/;UID=1", "//h/INBOX/;UID=1", "/a/;UID=0", "/a/;UID=x", "/a/;UID=1/;SECTION=FOO", "/a/;UID=1/;FOO=1", "/%ZZ/;UID=1", "/a;UIDVALIDITY=x/;UID=1"} {
		if _, ok := ParseMessageURL(bad); ok {
			t.Errorf("%s: taken", bad)
		}
	}
}

// TestStream proves that a literal can be streamed, refused, and the rest read.
func TestStream(t *testing.T) {
	t.Parallel()
	d := decodeText("(\\Seen) ~{5}\r\nhello more")
	o := d.AppendOptions()
	var got []byte
	d.AppendData(func(a Announced) error { return nil }, func(r io.Reader) (err error) {
		got, err = io.ReadAll(iotest.OneByteReader(io.LimitReader(r, 5)))
		return err
	}, nil)
	d.SP()
	if rest := string(d.Rest()); d.Err() != nil || len(o.Flags) != 1 || string(got) != "hello" || rest != "more" {
		t.Errorf("%q %q %v", got, rest, d.Err())
	}
	refused := errors.New("no")
	d = decodeText("{5}")
	d.AppendData(func(Announced) error { return refused }, nil, nil)
	if d.Err() != refused || d.Unfinished() {
		t.Errorf("%v %v", d.Err(), d.Unfinished())
	}
}

// FuzzDecoder reads any line with every entry point.
func FuzzDecoder(f *testing.F) {
	for _, s := range []string{"1:* (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (A B)]<1.2>) (CHANGEDSINCE 5)", `(SUBSCRIBED RECURSIVEMATCH) "" (a% "b*") RETURN (STATUS (MESSAGES) METADATA ("/shared/x"))`,
		"(\\Seen) \"17-Jul-1996 02:44:25 -0700\" CATENATE (URL \"/a/;UID=1\" TEXT {3}\r\nabc)", "INBOX (MESSAGES)", "{3+}\r\nabc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, fn := range []func(*Decoder){
			func(d *Decoder) { d.AString(); d.SP(); d.Mailbox() },
			func(d *Decoder) { d.SeqSet(); d.SP(); d.FetchItems(); d.FetchModifiers() },
			func(d *Decoder) { d.ListArgs() },
			func(d *Decoder) { d.FlagsOrList(); d.SP(); d.DateTime(); d.SP(); d.Date() },
			func(d *Decoder) {
				d.AppendOptions()
				d.AppendData(func(Announced) error { return nil }, func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }, func(u string) error { ParseMessageURL(u); return nil })
			},
			func(d *Decoder) { d.Bytes8(); d.SP(); d.StatusItems() },
		} {
			d := decodeText(s)
			fn(d)
			d.End()
		}
	})
}

// FuzzRoundTrip checks that what is printed is read as the same.
func FuzzRoundTrip(f *testing.F) {
	f.Add("a b\"\\ä\r\n", "INBOX/ä&b", "(BODY[1.2.HEADER.FIELDS (A)]<5.6> UID)")
	f.Fuzz(func(t *testing.T, s, name, items string) {
		if d := decodeText(string(AppendString(nil, s, utf8.ValidString(s)))); !strings.Contains(s, "\x00") && len(s) < 1000 && (d.String() != s || d.Err() != nil) {
			t.Errorf("string %q: %v", s, d.Err())
		}
		if utf8.ValidString(name) && !strings.ContainsAny(name, "\x00\r\n") && len(name) < 1000 {
			if got, ok := DecodeUTF7(string(AppendUTF7(nil, name))); !ok || got != name {
				t.Errorf("utf7 %q: %q", name, got)
			}
			d := decodeText(string(AppendMailbox(nil, name, false)))
			if got := d.Mailbox(); got != FoldInbox(name) {
				t.Errorf("mailbox %q: %q %v", name, got, d.Err())
			}
		}
		d := decodeText(items)
		got := d.FetchItems()
		if d.End(); d.Err() != nil || strings.Contains(items, "{") {
			return
		}
		var b bytes.Buffer
		for i := range got {
			it := got[i]
			line := AppendItemName(nil, &it)
			if it.Partial {
				line = append(line[:len(line)-1], "."...)
				line = append(AppendUint(line, it.Count), '>')
			}
			b.Write(append(line, ' '))
		}
		again := decodeText("(" + strings.TrimRight(b.String(), " ") + ")")
		if is := itemNamesOf(again.FetchItems()); is != itemNamesOf(got) || again.Err() != nil {
			t.Errorf("%q: %s, %v", items, is, again.Err())
		}
	})
}
