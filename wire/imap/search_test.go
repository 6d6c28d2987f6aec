package imap

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// wireText is a Source over a command as it stands on the wire, literals included.
type wireText struct{ rest []byte }

func (w *wireText) Line() ([]byte, error) {
	if w.rest == nil {
		return nil, io.ErrUnexpectedEOF
	}
	line, rest, found := bytes.Cut(w.rest, []byte("\r\n"))
	if !found {
		rest = nil
	}
	w.rest = rest
	return line, nil
}

func (w *wireText) Literal(n int64, _ bool) (io.Reader, error) {
	if n > int64(len(w.rest)) {
		return nil, io.ErrUnexpectedEOF
	}
	r := bytes.NewReader(w.rest[:n])
	w.rest = w.rest[n:]
	return r, nil
}

func decodeText(s string) *Decoder {
	w := &wireText{rest: []byte(s)}
	line, _ := w.Line()
	d := &Decoder{}
	d.Reset(w, line)
	return d
}

func TestSearchArgs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{ // want: printed key, or the reason of the refusal behind "!"
		{" ALL", "ALL"},
		{" all ", "ALL"},
		{" UNSEEN", "NOT SEEN"},
		{" NEW", "RECENT NOT SEEN"},
		{" OLD", "NOT RECENT"},
		{" 1:3,7,9:*", "1:3,7,9:*"},
		{" *:4", "4:*"},
		{" $", "$"},
		{" UID $ SMALLER 4096", "UID $ SMALLER 4096"},
		{" NOT UID 1:5", "NOT UID 1:5"},
		{" OR SEEN (FROM a TO b)", "OR SEEN (HEADER FROM a HEADER TO b)"},
		{" (OR $ 1,3000:3021) TEXT {8+}\r\nYYYYYYYY", "OR $ 1,3000:3021 TEXT YYYYYYYY"},
		{" HEADER message-id \"<a b>\"", `HEADER message-id "<a b>"`},
		{" HEADER X-Foo \"\"", `HEADER X-Foo ""`},
		{" SUBJECT {4}\r\na\r\nb", "HEADER SUBJECT {4}\r\na\r\nb"},
		{" KEYWORD $Important UNKEYWORD foo", "KEYWORD $Important NOT KEYWORD foo"},
		{" SINCE 1-Feb-1994 BEFORE \"05-Mar-1994\"", "SINCE 1-Feb-1994 BEFORE 5-Mar-1994"},
		{" SENTON 31-Dec-1999", "SENTON 31-Dec-1999"},
		{" SAVEDON 31-Dec-1999 SAVEDATESUPPORTED", "SAVEDON 31-Dec-1999 SAVEDATESUPPORTED"},
		{" OLDER 3600 YOUNGER 7200", "OLDER 3600 YOUNGER 7200"},
		{" LARGER 0 SMALLER 4294967296", "LARGER 0 SMALLER 4294967296"},
		{" MODSEQ 620162338", "MODSEQ 620162338"},
		{` MODSEQ "/flags/\\draft" all 620162338`, "MODSEQ 620162338"},
		{` MODSEQ "/Flags/\\Draft" All 620162338`, "MODSEQ 620162338"},
		{" EMAILID M6d99ac3275bb4e THREADID T64b478a75b7ea9", "EMAILID M6d99ac3275bb4e THREADID T64b478a75b7ea9"},
		{" FUZZY (SUBJECT \"IMAP break\")", `FUZZY HEADER SUBJECT "IMAP break"`},
		{" CHARSET UTF-8 TEXT \"\u00e4\"", "TEXT \"\u00e4\""},
		{" RETURN () ALL", "ALL"},
		{" RETURN (MIN COUNT) CHARSET us-ascii SEEN", "SEEN"},
		{" RETURN (UPDATE(UID FLAGS) PARTIAL -1:-100) SEEN", "SEEN"},
		{" RETURN (COUNT UPDATE (UID BODY[HEADER.FIELDS (TO)])) FROM boss", "HEADER FROM boss"},

		{"", "!expected a space"},
		{" ", "!expected an atom"},
		{" FOO", "!search key FOO is not known"},
		{" OR SEEN", "!expected a space"},
		{" NOT", "!expected a space"},
		{" (SEEN", "!expected a space"},
		{" ()", "!expected an atom"},
		{" SEEN)", "!expected a space"},
		{" SEEN  ALL", "SEEN ALL"},
		{" SINCE 30-Feb-1994", "!date must look like"},
		{" KEYWORD \\Seen", "!wants a keyword"},
		{" OLDER 0", "!number must not be zero"},
		{" LARGER -1", "!expected a number"},
		{" UID", "!expected a space"},
		{" 0", "!number must not be zero"},
		{" MODSEQ \"/foo\" all 1", "!MODSEQ entry must"},
		{" HEADER \"a b\" c", "!name of a header field"},
		{" RETURN (ALL PARTIAL 1:2) ALL", "!exclude each other"},
		{" RETURN (PARTIAL 0:2) ALL", "!number must not be zero"},
		{" RETURN (PARTIAL 1:-2) ALL", "!expected a number"},
		{" RETURN (FOO) ALL", "!result option FOO"},
		{" RETURN (RELEVANCY) ALL", "!needs a FUZZY"},
		{" RETURN (ALL)", "!expected a space"},
		{" " + strings.Repeat("NOT ", 1100) + "SEEN", "!nested more than"},
		{" ALL" + strings.Repeat(" ALL", 3000), "!more than 2000 keys"},
	} {
		d := decodeText(c.in)
		s := d.SearchArgs()
		d.End()
		err := d.Err()
		if want, bad := strings.CutPrefix(c.want, "!"); bad {
			if se := (*SyntaxError)(nil); !errors.As(err, &se) || !strings.Contains(se.Text, want) {
				t.Errorf("%.60q: got %v, want %q", c.in, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
		} else if got := string(AppendSearchKey(nil, &s.Key)); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestSortThreadESearchArgs(t *testing.T) {
	t.Parallel()
	sort := func(in string) any { d := decodeText(in); s := d.SortArgs(); d.End(); return result(s, d) }
	thread := func(in string) any { d := decodeText(in); s := d.ThreadArgs(); d.End(); return result(s, d) }
	esearch := func(in string) any { d := decodeText(in); s := d.ESearchArgs(); d.End(); return result(s, d) }
	all := SearchKey{}
	for _, c := range []struct {
		got  any
		want any
	}{
		{sort(" (SUBJECT REVERSE DATE) UTF-8 ALL"), Search{Sort: []Sorter{{SortSubject, false}, {SortDate, true}}, Charset: "UTF-8", Key: all}},
		{sort(` RETURN (PARTIAL 1:10) (REVERSE DISPLAYFROM) "utf-8" ALL`),
			Search{Return: SearchReturn{Set: true, Partial: &PartialRange{1, 10, false}}, Sort: []Sorter{{SortDisplayFrom, true}}, Charset: "UTF-8", Key: all}},
		{sort(" () UTF-8 ALL"), "expected an atom at octet 3, got ')'"},
		{sort(" (REVERSE) UTF-8 ALL"), "expected a space at octet 10, got ')'"},
		{sort(" (RELEVANCY) UTF-8 ALL"), "sorting by RELEVANCY needs a FUZZY key (RFC 6203 §6)"},
		{sort(" (FOO) UTF-8 ALL"), "sort criterion FOO is not known"},
		{thread(" REFERENCES US-ASCII ALL"), Search{Thread: ThreadReferences, Charset: "US-ASCII", Key: all}},
		{thread(" FOO US-ASCII ALL"), "threading algorithm FOO is not known"},
		{esearch(" ALL"), Search{Key: all}},
		{esearch(` IN (mailboxes ("folder1" inbox) subtree-one folder2) RETURN (COUNT) ALL`),
			Search{Return: SearchReturn{Set: true, Count: true}, Key: all, In: []MailboxFilter{
				{Kind: FilterMailboxes, Names: []string{"folder1", "INBOX"}}, {Kind: FilterSubtreeOne, Names: []string{"folder2"}}}}},
		{esearch(" IN (personal selected) ALL"), Search{In: []MailboxFilter{{Kind: FilterPersonal}, {Kind: FilterSelected}}, Key: all}},
		{esearch(" IN (selected-delayed) ALL"), "selected-delayed can't be searched (RFC 7377 §2.2)"},
		{esearch(" IN () ALL"), "expected an atom at octet 6, got ')'"},
		{esearch(" IN (personal (foo)) ALL"), "search scope option FOO is not known"},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("got %+v, want %+v", c.got, c.want)
		}
	}
}

func result(s *Search, d *Decoder) any {
	if err := d.Err(); err != nil {
		return err.Error()
	}
	return *s
}

func FuzzSearchKeys(f *testing.F) {
	for _, s := range []string{" ALL", " OR SEEN (FROM a TO b)", " SUBJECT {4}\r\na\r\nb", " NOT UID 1:5,$", " FUZZY BODY \"x\\\\\"",
		" RETURN (COUNT UPDATE (UID)) FROM boss", ` MODSEQ "/flags/\\draft" all 620162338`, " SINCE 1-Feb-1994"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		d := decodeText(in)
		s := d.SearchArgs()
		d.End()
		if d.Err() != nil {
			return
		}
		text := " " + string(AppendSearchKey(nil, &s.Key))
		d = decodeText(text)
		again := d.SearchArgs()
		d.End()
		if err := d.Err(); err != nil {
			t.Fatalf("%q printed as %q: %v", in, text, err)
		}
		if !reflect.DeepEqual(s.Key, again.Key) {
			t.Fatalf("%q printed as %q\n%+v\n%+v", in, text, s.Key, again.Key)
		}
	})
}
