package imap

import (
	"reflect"
	"strings"
	"testing"
)

func TestNotifyArgs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want any // Notify, or what the reason of the refusal has in it
	}{
		{" NONE", Notify{}},
		{" set status (selected MessageNew) (subtree Lists MessageNew)", "expected '('"}, // the example of RFC 5465 §3.1 lacks the grammar's parentheses
		{" set status (selected (MessageNew (uid body.peek[header.fields (from)]) MessageExpunge)) (subtree Lists (MessageNew MessageExpunge))",
			Notify{Set: true, Status: true, Groups: []EventGroup{
				{Filter: MailboxFilter{Kind: FilterSelected}, Events: MessageNew | MessageExpunge, Fetch: []FetchItem{{Kind: ItemUID},
					{Kind: ItemSection, Peek: true, Section: Section{Spec: SpecFields, Fields: []string{"from"}}}}},
				{Filter: MailboxFilter{Kind: FilterSubtree, Names: []string{"Lists"}}, Events: MessageNew | MessageExpunge}}}},
		{" SET (mailboxes (inbox b) NONE)", Notify{Set: true, Groups: []EventGroup{{Filter: MailboxFilter{Kind: FilterMailboxes, Names: []string{"INBOX", "b"}}}}}},
		{" SET (personal (FooBar))", Notify{Set: true, Groups: []EventGroup{{Filter: MailboxFilter{Kind: FilterPersonal}, Unknown: "FooBar"}}}},
		{" SET (personal (FlagChange))", "must be given together"},
		{" SET (personal (MessageNew))", "must be given together"},
		{" SET (selected (MailboxName))", "only message events"},
		{" SET (personal (MessageNew (UID) MessageExpunge))", "go with SELECTED only"},
		{" SET (selected NONE) (selected-delayed NONE)", "only one of"},
		{" SET (subtree-one x NONE)", "is ESEARCH's"},
		{" SET (foo NONE)", "filter FOO is not known"},
		{" SET", "expected a space"},
		{" SET ()", "expected an atom"},
		{" SET (personal ())", "expected an atom"},
		{" FOO", "expected SET or NONE"},
	} {
		d := decodeText(c.in)
		n := d.NotifyArgs()
		d.End()
		compare(t, c.in, n, d.Err(), c.want)
	}
}

func compare(t *testing.T, in string, got any, err error, want any) {
	t.Helper()
	if reason, bad := want.(string); bad {
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: got %v, want %q", in, err, reason)
		}
		return
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q: got %+v, %v, want %+v", in, got, err, want)
	}
}

func TestMetadataArgs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want any
	}{
		{` "" /shared/comment`, GetMetadata{MaxSize: -1, Entries: []string{"/shared/comment"}}},
		{` INBOX /private/comment /shared/comment`, GetMetadata{Mailbox: "INBOX", MaxSize: -1, Entries: []string{"/private/comment", "/shared/comment"}}},
		{` INBOX (/Shared/comment /private/comment)`, GetMetadata{Mailbox: "INBOX", MaxSize: -1, Entries: []string{"/shared/comment", "/private/comment"}}},
		{` "INBOX" (MAXSIZE 1024) (/shared/comment)`, GetMetadata{Mailbox: "INBOX", MaxSize: 1024, Entries: []string{"/shared/comment"}}},
		{` (DEPTH infinity MAXSIZE 0) inbox /private`, GetMetadata{Mailbox: "INBOX", Infinity: true, Entries: []string{"/private"}}},
		{` "INBOX" (DEPTH 1) (/private/filters/values)`, GetMetadata{Mailbox: "INBOX", MaxSize: -1, Depth: 1, Entries: []string{"/private/filters/values"}}},
		{` INBOX (DEPTH 2) /private`, "DEPTH must be"},
		{` INBOX (FOO 2) /private`, "option FOO"},
		{` INBOX (MAXSIZE 2 /private/x)`, "share a list"},
		{` INBOX /comment`, "must begin with /private/"},
		{` INBOX /shared/`, "must begin with a slash"},
		{` INBOX /shared//x`, "must begin with a slash"},
		{` INBOX "/shared/*"`, "not allowed"},
		{" INBOX \"/shared/\u00e4\"", "not allowed"},
		{` INBOX ()`, "expected"},
	} {
		d := decodeText(c.in)
		g := d.GetMetadataArgs()
		d.End()
		compare(t, c.in, g, d.Err(), c.want)
	}
	for _, c := range []struct {
		in   string
		want any
	}{
		{" INBOX (/private/comment \"a\" /shared/comment NIL)", []MetadataValue{{"/private/comment", []byte("a")}, {"/shared/comment", nil}}},
		{" INBOX (/private/comment ~{3+}\r\na\x00b)", []MetadataValue{{"/private/comment", []byte("a\x00b")}}},
		{" INBOX (/private/comment \"\")", []MetadataValue{{"/private/comment", []byte{}}}},
		{" INBOX (/private/comment)", "expected a space"},
		{" INBOX (/private \"x\")", "too few components"},
		{" INBOX (/shared/vendor/x \"x\")", "too few components"},
		{" INBOX /private/comment \"x\"", "expected '('"},
	} {
		d := decodeText(c.in)
		_, vs := d.SetMetadataArgs()
		d.End()
		compare(t, c.in, vs, d.Err(), c.want)
	}
}

func TestRights(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want any
	}{
		{"lrswi", RightsChange{0, "lrswi"}},
		{"+cda", RightsChange{'+', "kxtea"}},
		{"-d", RightsChange{'-', "te"}},
		{`""`, RightsChange{}},
		{"lrQs", "uppercase"},
		{"lrq", "'q' is not supported"},
		{"lr0", "'0' is not supported"},
	} {
		d := decodeText(c.in)
		r := d.Rights()
		d.End()
		compare(t, c.in, r, d.Err(), c.want)
	}
	if got := (RightsChange{'+', "kxtea"}).Apply("lrswi"); got != "lrswikxtea" {
		t.Error(got)
	}
	if got := (RightsChange{'-', "rt"}).Apply("lrte"); got != "le" {
		t.Error(got)
	}
	if got := string(AppendRights(nil, "lrte")); got != "lrted" {
		t.Error(got)
	}
	for in, want := range map[string]any{"fred": "fred", `"I\u00adX"`: nil, "\"\u00aa\"": "a", `"-"`: "empty", `""`: "empty", "\"\u0007\"": "SASLprep"} {
		d := decodeText(in)
		_, p := d.Identifier()
		if want != nil {
			if w := want.(string); w == "empty" || w == "SASLprep" {
				compare(t, in, p, d.Err(), w)
			} else if p != w {
				t.Errorf("%q: %q, %v", in, p, d.Err())
			}
		}
	}
}
