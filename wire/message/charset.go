package message

import (
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// charsetKind sorts charsets by how they are converted.
type charsetKind uint8

const (
	charsetUnknown charsetKind = iota // 7-bit passes, the rest is replaced
	charsetGuess                      // ASCII or nothing declared: UTF-8 where valid, else windows-1252
	charsetUTF8
	charsetUTF7
	charsetISO2022KR
	charsetOther
)

// maxCharset bounds a charset name (RFC 2978 §2.3 allows 40).
const maxCharset = 60

// charset finds a charset by its name.
func charset(name string) (charsetKind, encoding.Encoding) {
	switch name { // most mail, without allocation
	case "utf-8", "UTF-8":
		return charsetUTF8, nil
	case "us-ascii", "US-ASCII", "":
		return charsetGuess, nil
	}
	name = strings.ToLower(strings.Trim(name, " \t\"'"))
	switch name {
	case "utf-8", "utf8", "unicode-1-1-utf-8", "utf_8", "utf-8-strict", "cp65001":
		return charsetUTF8, nil
	case "", "us-ascii", "ascii", "ansi_x3.4-1968", "iso-ir-6", "iso646-us", "us", "ibm367", "cp367", "csascii", "ansi_x3.4-1986", "iso_646.irv:1991", "646",
		"x-unknown", "unknown-8bit", "unknown", "x-user-defined", "default", "8bit", "7bit", "binary", "none", "_autodetect", "default_charset":
		return charsetGuess, nil
	case "utf-7", "unicode-1-1-utf-7", "csunicode11utf7", "utf7", "x-utf-7":
		return charsetUTF7, nil
	case "iso-2022-kr", "csiso2022kr":
		return charsetISO2022KR, nil
	}
	if len(name) > maxCharset {
		return charsetUnknown, nil
	}
	if e := charsetAlias(name); e != nil {
		return charsetOther, e
	}
	if e, err := htmlindex.Get(name); err == nil && e != encoding.Replacement {
		if n, _ := htmlindex.Name(e); n == "utf-8" {
			return charsetUTF8, nil
		}
		return charsetOther, e
	}
	for _, ix := range [...]*ianaindex.Index{ianaindex.MIME, ianaindex.IANA} {
		if e, err := ix.Encoding(name); err == nil && e != nil && e != encoding.Replacement {
			return charsetOther, e
		}
	}
	// cp1252, windows_1251, x-cp850, iso8859-15, ibm-850, latin-1 …
	if n := strings.NewReplacer("_", "-", " ", "-").Replace(strings.TrimPrefix(name, "x-")); n != name {
		return charset(n)
	}
	return charsetUnknown, nil
}

// charsetAlias knows names that real mail uses and the registries do not, or not so.
func charsetAlias(name string) encoding.Encoding {
	switch name {
	case "cp932", "ms932", "x-ms-cp932", "windows-932", "sjis", "shift-jis", "x-sjis", "ms-kanji", "mskanji", "shift_jis-2004", "cp943", "csshiftjis":
		return japanese.ShiftJIS
	case "eucjp", "euc_jp", "x-euc-jp", "ujis", "eucjp-win", "cp51932":
		return japanese.EUCJP
	case "iso-2022-jp-1", "iso-2022-jp-2", "iso-2022-jp-3", "iso-2022-jp-ms", "iso2022-jp", "iso2022jp", "cp50220", "cp50221", "jis":
		return japanese.ISO2022JP
	case "ks_c_5601", "ksc5601", "ksc_5601", "ks_c_5601-1989", "cp949", "uhc", "ms949", "windows-949", "euckr", "euc_kr", "x-windows-949", "korean", "5601":
		return korean.EUCKR
	case "gb2312", "gbk", "cp936", "ms936", "gb_2312-80", "gb2312-80", "euc-cn", "euccn", "x-gbk", "windows-936", "gb_2312", "chinese", "gb18030", "gb-18030", "x-euc-cn":
		return simplifiedchinese.GB18030
	case "hz", "hz-gb-2312", "hzgb2312":
		return simplifiedchinese.HZGB2312
	case "cp950", "ms950", "windows-950", "big5", "big-5", "big5-hkscs", "big5-eten", "x-x-big5", "cn-big5", "x-big5":
		return traditionalchinese.Big5
	case "latin1", "latin-1", "iso8859-1", "iso8859_1", "8859-1", "iso-8859-1-windows-3.1-latin-1", "iso-8859", "iso8859", "iso-latin-1", "cp1252", "windows1252", "ansi", "x-ansi", "latin":
		return charmap.Windows1252
	case "iso-8859-8-i", "iso-8859-8-e", "iso8859-8", "logical":
		return charmap.ISO8859_8
	case "iso-8859-6-i", "iso-8859-6-e":
		return charmap.ISO8859_6
	case "utf-16", "utf16", "iso-10646-ucs-2", "ucs-2", "unicode":
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM) // RFC 2781 §4.3 says big endian, mail without BOM is not
	case "cp850", "ibm850", "850":
		return charmap.CodePage850
	case "cp437", "ibm437", "437":
		return charmap.CodePage437
	case "cp858", "ibm858":
		return charmap.CodePage858
	case "cp852", "ibm852":
		return charmap.CodePage852
	case "cp866", "ibm866":
		return charmap.CodePage866
	case "koi8r", "koi8":
		return charmap.KOI8R
	case "tis-620", "tis620", "cp874", "iso-8859-11", "iso8859-11":
		return charmap.Windows874
	}
	if n, ok := strings.CutPrefix(name, "cp"); ok && len(n) == 4 && strings.HasPrefix(n, "125") {
		e, _ := htmlindex.Get("windows-" + n)
		return e
	}
	if n, ok := strings.CutPrefix(name, "iso8859"); ok {
		e, _ := htmlindex.Get("iso-8859-" + strings.TrimLeft(n, "-_"))
		return e
	}
	return nil
}

// KnownCharset reports whether a charset name is known (IMAP BADCHARSET).
func KnownCharset(name string) bool {
	k, _ := charset(name)
	if k == charsetGuess {
		n := strings.ToLower(name)
		return strings.Contains(n, "ascii") || n == "ansi_x3.4-1968"
	}
	return k != charsetUnknown
}

// CharsetReader converts to UTF-8; unknown charsets pass 7-bit and replace the
// rest. Aliases that real mail uses (cp932, ks_c_5601, x-unknown, utf-7 …) are known. Text
// declared as ASCII, or not at all, that has 8-bit octets is taken for UTF-8 where it is valid
// and for windows-1252 elsewhere. The result is always valid UTF-8.
func CharsetReader(name string, r io.Reader) io.Reader {
	return transform.NewReader(r, charsetTransformer(name))
}

func charsetTransformer(name string) transform.Transformer {
	k, e := charset(name)
	switch k {
	case charsetUTF8:
		return unicode.UTF8.NewDecoder()
	case charsetGuess:
		return guess{}
	case charsetUTF7:
		return &utf7{}
	case charsetISO2022KR:
		return transform.Chain(&iso2022kr{}, korean.EUCKR.NewDecoder())
	case charsetOther:
		return e.NewDecoder()
	}
	return ascii7{}
}

// toUTF8 converts b, which it may return as it is.
func toUTF8(name string, b []byte) []byte {
	k, _ := charset(name)
	if (k == charsetUTF8 || k == charsetGuess) && utf8.Valid(b) {
		return b
	}
	out, _, err := transform.Bytes(charsetTransformer(name), b)
	if err != nil {
		out, _, _ = transform.Bytes(ascii7{}, b)
	}
	return out
}

// ascii7 passes 7-bit octets and replaces others.
type ascii7 struct{ transform.NopResetter }

// Transform implements transform.Transformer.
func (ascii7) Transform(dst, src []byte, _ bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		c := src[nSrc]
		if c < utf8.RuneSelf {
			if nDst == len(dst) {
				return nDst, nSrc, transform.ErrShortDst
			}
			dst[nDst] = c
			nDst++
		} else {
			if nDst+3 > len(dst) {
				return nDst, nSrc, transform.ErrShortDst
			}
			nDst += copy(dst[nDst:], "\ufffd")
		}
		nSrc++
	}
	return nDst, nSrc, nil
}

// guess passes UTF-8 and takes other octets for windows-1252.
type guess struct{ transform.NopResetter }

// Transform implements transform.Transformer.
func (guess) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if c := src[nSrc]; c < utf8.RuneSelf {
			if nDst == len(dst) {
				return nDst, nSrc, transform.ErrShortDst
			}
			dst[nDst] = c
			nDst++
			nSrc++
			continue
		}
		if !atEOF && !utf8.FullRune(src[nSrc:]) {
			return nDst, nSrc, transform.ErrShortSrc
		}
		if nDst+utf8.UTFMax > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		r, n := utf8.DecodeRune(src[nSrc:])
		if r == utf8.RuneError && n == 1 {
			r = charmap.Windows1252.DecodeByte(src[nSrc])
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += n
	}
	return nDst, nSrc, nil
}
