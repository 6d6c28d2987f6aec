package message

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stalwartPart is what a .json file beside a .eml file of the stalwart corpus says of a part.
type stalwartPart struct {
	Headers []struct {
		Name  string
		Value json.RawMessage
	}
	Body       map[string]json.RawMessage
	OffsetBody int64 `json:"offset_body"`
	OffsetEnd  int64 `json:"offset_end"`
}

type stalwartMessage struct{ Parts []stalwartPart }

// flatten lists a message's parts in pre-order, as kind, body offset and end; those of nested messages too.
func (m *stalwartMessage) flatten(l []string, i int) []string {
	p := m.Parts[i]
	for kind, v := range p.Body {
		switch kind {
		case "Multipart":
			l = append(l, fmt.Sprintf("multipart %d-%d", p.OffsetBody, p.OffsetEnd))
			var kids []int
			json.Unmarshal(v, &kids)
			for _, k := range kids {
				l = m.flatten(l, k)
			}
		case "Message":
			l = append(l, fmt.Sprintf("message %d-%d", p.OffsetBody, p.OffsetEnd))
			var inner stalwartMessage
			json.Unmarshal(v, &inner)
			if len(inner.Parts) > 0 {
				l = inner.flatten(l, 0)
			}
		default:
			l = append(l, fmt.Sprintf("leaf %d-%d", p.OffsetBody, p.OffsetEnd))
		}
	}
	return l
}

func flattenPart(l []string, p *Part) []string {
	switch {
	case p.Type == "MULTIPART":
		l = append(l, fmt.Sprintf("multipart %d-%d", p.BodyStart, p.End))
		for _, c := range p.Parts {
			l = flattenPart(l, c)
		}
	case p.Inner != nil:
		l = append(l, fmt.Sprintf("message %d-%d", p.BodyStart, p.End))
		l = flattenPart(l, p.Inner)
	default:
		l = append(l, fmt.Sprintf("leaf %d-%d", p.BodyStart, p.End))
	}
	return l
}

func TestStalwartExpected(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(corpusDir(t), "mime", "stalwart-mail-parser")
	var files []string
	filepath.Walk(dir, func(path string, _ os.FileInfo, _ error) error {
		if strings.HasSuffix(path, ".eml") {
			files = append(files, path)
		}
		return nil
	})
	same := 0
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(strings.TrimSuffix(f, ".eml") + ".json")
		if err != nil {
			continue
		}
		var m stalwartMessage
		if err := json.Unmarshal(text, &m); err != nil || len(m.Parts) == 0 {
			continue
		}
		want := strings.Join(m.flatten(nil, 0), "\n")
		got := strings.Join(flattenPart(nil, parseBytes(data).Root), "\n")
		if got != want { // some expectations are older than the line ends of their file
			got = strings.Join(flattenPart(nil, parseBytes(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))).Root), "\n")
		}
		name := filepath.ToSlash(strings.TrimPrefix(f, dir+"/resources/eml/"))
		switch reason := otherwise[name]; {
		case got == want:
			same++
		case reason == "":
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", name, got, want)
		}
	}
	if same < 30 {
		t.Errorf("only %d messages parse as expected", same)
	}
}

// otherwise says where we differ from stalwart's parser on purpose.
var otherwise = map[string]string{
	"malformed/000.eml":  "delimiters that end headers: stalwart sees no part",
	"malformed/001.eml":  "of two boundaries that match a line the longest counts, as in Dovecot; stalwart takes the inner one",
	"malformed/002.eml":  "no delimiter at all: we keep the multipart, with no parts",
	"malformed/007.eml":  "header ended by its own boundary, which the outer one is a prefix of",
	"malformed/008.eml":  "an outer boundary ends the inner multipart; stalwart lets it go on",
	"malformed/009.eml":  "the same",
	"malformed/011.eml":  "the same",
	"malformed/012.eml":  "the same",
	"malformed/013.eml":  "a delimiter as the last line opens an empty part",
	"malformed/014.eml":  "the same",
	"malformed/016.eml":  "longest boundary, as in 001",
	"malformed/020.eml":  "a part without header is a part",
	"malformed/021.eml":  "the same",
	"malformed/022.eml":  "a message/rfc822 stays one if what is in it is no message: the IMAP grammar has no other form",
	"rfc/008.eml":        "a base64 message/rfc822 is not decoded (RFC 2046 §5.2.1 forbids it)",
	"thirdparty/005.eml": "a delimiter in the middle of a line is none (RFC 2046 §5.1.1)",
}

// mime4jShape reads the structure from the XML that mime4j expects for a message: ( ) a multipart, M a
// nested message, L a leaf.
func mime4jShape(r io.Reader) (string, error) {
	var b strings.Builder
	d := xml.NewDecoder(r)
	d.Strict = false
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	depth := 0
	for {
		tok, err := d.RawToken()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		switch e := tok.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "message":
				if depth++; depth > 1 {
					b.WriteByte('M')
				}
			case "multipart":
				b.WriteByte('(')
			case "body":
				b.WriteByte('L')
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "message":
				depth--
			case "multipart":
				b.WriteByte(')')
			}
		}
	}
}

func shape(b *strings.Builder, p *Part) {
	switch {
	case p.Type == "MULTIPART":
		b.WriteByte('(')
		for _, c := range p.Parts {
			shape(b, c)
		}
		b.WriteByte(')')
	case p.Inner != nil:
		b.WriteByte('M')
		shape(b, p.Inner)
	default:
		b.WriteByte('L')
	}
}

func TestMime4jExpected(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(corpusDir(t), "mime", "mime4j")
	same := 0
	filepath.Walk(dir, func(path string, _ os.FileInfo, _ error) error {
		base, ok := strings.CutSuffix(path, ".msg")
		if !ok {
			return nil
		}
		x, err := os.Open(base + ".xml")
		if err != nil {
			return nil
		}
		defer x.Close()
		want, err := mime4jShape(x)
		if err != nil {
			return nil // two expectations are not XML
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var b strings.Builder
		shape(&b, parseBytes(data).Root)
		if b.String() == want {
			same++
		} else if otherwise4j[filepath.Base(path)] == "" {
			t.Errorf("%s: got %s want %s", filepath.Base(path), b.String(), want)
		}
		return nil
	})
	if same < 70 {
		t.Errorf("only %d messages parse as expected", same)
	}
}

// otherwise4j says where we differ from mime4j on purpose.
var otherwise4j = map[string]string{
	"multi-2gifs-base64.msg":                 "a base64 message/rfc822 is not decoded: its parts would have no octets of their own to fetch",
	"bad-newlines-multiple-parts-base64.msg": "the same",
	"base64encoded-rfc822message-nested.msg": "the same",
	"very-very-long-boundary.msg":            "more than maxBoundary octets",
}
