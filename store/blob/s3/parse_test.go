package s3

import (
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	got, err := ParseURL("s3://mail-bodies/a/b/?endpoint=https://a:9000,b:9000&endpoint=http://c&region=eu-1&style=host&credentials=/k&profile=p&ca=/c")
	if err != nil || got.Bucket != "mail-bodies" || got.Prefix != "a/b" || strings.Join(got.Endpoints, " ") != "https://a:9000 b:9000 http://c" ||
		got.Region != "eu-1" || !got.HostStyle || got.Credentials != "/k" || got.Profile != "p" || got.CA != "/c" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "s3://", "s3://a", "http://bucket", "s3://bucket?x=1", "s3://bucket?region=a&region=b", "s3://bucket?style=x", "s3://Bucket",
		"s3://bucket?endpoint=ftp://x", "s3://bucket?endpoint=https://x/path", "s3://bucket?endpoint=", "s3://key:geheim@bucket", "s3://bucket?endpoint=https://k:geheim@x",
		"s3://bucket?a=%zz"} {
		_, err := ParseURL(bad)
		if err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("ParseURL(%q) = %v", bad, err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	const file = "[other]\naws_access_key_id=x\n[default]\n# aws_access_key_id=y\naws_access_key_id = A\r\naws_secret_access_key=s=cret\n junk\n[more]\naws_session_token=t\n"
	if k := parseKeys(strings.NewReader(file), "default"); k != (credentials{"A", "s=cret", ""}) {
		t.Error("wrong credentials")
	}
	if k := parseKeys(strings.NewReader(file), "more"); k != (credentials{"", "", "t"}) {
		t.Error("wrong credentials")
	}
}

// FuzzAnswers feeds all that a server, or something in its place, may send to all that reads it.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`<Error><Code>NoSuchKey</Code><Message>x</Message></Error>`))
	f.Add([]byte(`<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code></Error></DeleteResult>`))
	f.Add([]byte(`<ListBucketResult><Contents><Key>a</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents><IsTruncated>true</IsTruncated></ListBucketResult>`))
	f.Add([]byte("bytes 0-9/443"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e := parseRefusal(b); strings.ContainsAny(e.Error(), "\r\n") || len(e.Error()) > 3*maxMessage {
			t.Errorf("not fit for a log: %q", e.Error())
		}
		parseDeleted(b)
		parsePage(b)
		if from, total, ok := parseContentRange(string(b)); ok && (from < 0 || from >= total) {
			t.Errorf("%q: %d of %d", b, from, total)
		}
	})
}

func FuzzParseURL(f *testing.F) {
	f.Add("s3://bucket/prefix?endpoint=https://a:9000,b:9000&region=eu-1&style=host")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseURL(s)
		if err != nil {
			return
		}
		if !validBucket(c.Bucket) || strings.HasPrefix(c.Prefix, "/") {
			t.Errorf("%q: %+v", s, c)
		}
		for _, e := range c.Endpoints {
			if _, err := endpointURL(e); err != nil {
				t.Errorf("%q: endpoint %q: %v", s, e, err)
			}
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add("[default]\naws_access_key_id = A\naws_secret_access_key=s\n")
	f.Fuzz(func(t *testing.T, s string) {
		if k := parseKeys(strings.NewReader(s), "default"); strings.ContainsAny(k.id+k.secret+k.token, "\n\r ") && strings.TrimSpace(k.id) != k.id {
			t.Errorf("%q", s)
		}
	})
}
