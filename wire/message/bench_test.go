package message

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// typical10K is a usual mail: 30 header lines, multipart/alternative, about 10 KB.
func typical10K() []byte {
	var b bytes.Buffer
	for i := range 5 {
		fmt.Fprintf(&b, "Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\r\n\tby mx.example.org (Postfix) with ESMTPS id 4BCDEF%d\r\n\tfor <user@example.org>; Tue, 24 Nov 2026 05:37:2%d +0000 (UTC)\r\n", i, i, i, i, i)
	}
	b.WriteString("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=2026;\r\n\tbh=" + strings.Repeat("A", 44) + ";\r\n\tb=" + strings.Repeat("bcde", 80) + "\r\n")
	b.WriteString("From: =?utf-8?Q?J=C3=BCrgen_M=C3=BCller?= <juergen@example.net>\r\nTo: Alice <alice@example.org>, \"Bob, B.\" <bob@example.org>\r\nCc: team@example.org\r\nSubject: Re: [list] =?utf-8?Q?Gr=C3=BC=C3=9Fe?= from the office\r\nDate: Tue, 24 Nov 2026 06:37:23 +0100\r\n")
	b.WriteString("Message-ID: <20261124.063723@example.net>\r\nIn-Reply-To: <abc@example.org>\r\nReferences: <1@example.org> <2@example.org>\r\n <abc@example.org>\r\nMIME-Version: 1.0\r\nX-Mailer: test\r\nContent-Type: multipart/alternative; boundary=\"----=_Part_1\"\r\n\r\nThis is a multi-part message.\r\n")
	b.WriteString("------=_Part_1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	b.WriteString(strings.Repeat("The quick brown fox jumps over the lazy dog, gr=C3=BC=C3=9Fe.\r\n", 40))
	b.WriteString("------=_Part_1\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<html><body>")
	b.WriteString(strings.Repeat("<p>The quick brown fox <b>jumps</b> over the lazy dog.</p>\r\n", 90))
	b.WriteString("------=_Part_1--\r\n")
	return b.Bytes()
}

func BenchmarkParse10K(b *testing.B) {
	data := typical10K()
	p := NewParser()
	var out []byte
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		p.Write(data)
		out = p.Finish().Encode(out[:0])
	}
	b.ReportMetric(float64(len(out)), "stored_bytes")
}

// bigMessage has a base64 attachment of about n octets.
func bigMessage(n int) []byte {
	line := strings.Repeat("QUJDRA", 13)[:76] + "\r\n"
	return []byte("Subject: big\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		strings.Repeat(line, n/len(line)) + "--b--\r\n")
}

func BenchmarkParseBig(b *testing.B) {
	data := bigMessage(4 << 20)
	p := NewParser()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		p.Reset()
		for d := data; len(d) > 0; {
			n := min(len(d), 32<<10)
			p.Write(d[:n])
			d = d[n:]
		}
		p.Finish()
	}
}

func BenchmarkCorpus(b *testing.B) {
	var files [][]byte
	n := 0
	corpusFiles(b, func(_ string, data []byte) { files = append(files, data); n += len(data) })
	p := NewParser()
	var out []byte
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for b.Loop() {
		for _, data := range files {
			p.Reset()
			p.Write(data)
			out = p.Finish().Encode(out[:0])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(files)), "µs/message")
}

func BenchmarkDecode(b *testing.B) {
	e := Stored(parseBytes(typical10K()).Encode(nil))
	b.Run("Root", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e.Root()
		}
	})
	b.Run("SortKeys", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e.SortKeys()
		}
	})
	b.Run("BodyStructure", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e.BodyStructure()
		}
	})
}

func BenchmarkTexts(b *testing.B) {
	line := "The quick brown fox jumps over the lazy dog and runs away from it.\r\n"
	for _, c := range []struct{ name, head, body string }{
		{"plain", "Content-Type: text/plain\r\n\r\n", strings.Repeat(line, 4000)},
		{"utf8", "Content-Type: text/plain; charset=utf-8\r\n\r\n", strings.Repeat("Grüße "+line, 4000)},
		{"latin1", "Content-Type: text/plain; charset=iso-8859-1\r\n\r\n", strings.Repeat("Gr\xfc\xdfe "+line, 4000)},
		{"qp", "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", strings.Repeat("Gr=C3=BC=C3=9Fe "+line, 4000)},
		{"base64", "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n", strings.Repeat(strings.Repeat("QUJDRA", 13)[:76]+"\r\n", 4000)},
		{"html", "Content-Type: text/html; charset=utf-8\r\n\r\n", strings.Repeat("<p class=\"x\"><a href='y'>"+line+"</a>&nbsp;</p>\r\n", 3000)},
	} {
		b.Run(c.name, func(b *testing.B) {
			data := []byte(c.head + c.body)
			s := parseBytes(data)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Texts(bytes.NewReader(data), s.Root, func(TextKind, string, []byte) bool { return true }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecoder(b *testing.B) {
	data := bytes.Repeat([]byte(strings.Repeat("QUJDRA", 13)[:76]+"\r\n"), 10000)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r, _ := Decoder("BASE64", bytes.NewReader(data))
		io.Copy(io.Discard, r)
	}
}
