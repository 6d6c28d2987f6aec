// Package message reads Internet messages (RFC 5322, MIME RFC 2045–2049, 2231,
// 2047, 6532): structure with byte offsets, envelope, text. It is lenient (any
// octet string is a message), bounded (every limit is named) and linear.
//
// No clock, goroutine, logger or config; not safe for concurrent use of one value.
package message

import "io"

// Limits. Beyond them a message is still a message: deeper parts are leaves of
// type application/octet-stream, further parts belong to the last one.
const (
	MaxDepth       = 100
	MaxParts       = 10000
	MaxHeaderBytes = 1 << 20 // of one part; the rest counts as header but is not looked at
	MaxHeaderField = 256 << 10
	MaxAddresses   = 10000 // per field
	MaxReferences  = 1000  // ids kept for threading; the last ones win
	PreviewRunes   = 200   // RFC 8970 §3.1
)

// Part is one node of the MIME tree. Offsets are octets from the start of the
// outermost message as stored (CRLF line ends are kept as they came).
type Part struct {
	HeaderStart int64 // first octet of the part's MIME header (of the message header, for the root)
	BodyStart   int64 // after the empty line
	End         int64 // after the last body octet (the CRLF before a boundary is not the body's)
	Lines       int64 // lines of the body

	Type, Subtype string // upper case, defaults applied ("TEXT","PLAIN")
	Params        []Param
	ID            string // raw header value, unfolded
	Description   string
	Encoding      string // upper case as given, "7BIT" if absent
	MD5           string
	Disposition   string // upper case token, "" if absent
	DispParams    []Param
	Language      []string
	Location      string

	Parts    []*Part   // children of multipart/*
	Envelope *Envelope // for MESSAGE/RFC822 and MESSAGE/GLOBAL: of the message inside
	Inner    *Part     // for the same: root of the message inside
}

// Param is a parameter of Content-Type or Content-Disposition, in order. Name
// is upper case; Value is unquoted, RFC 2231 continuations joined; encoded ones
// (charset'lang'%xx) are decoded to UTF-8.
type Param struct{ Name, Value string }

// Envelope holds RFC 3501 §7.4.2 envelope fields as raw unfolded header text
// (encoded-words not decoded). Absent header and empty header differ: nil / "".
type Envelope struct {
	Date, Subject, InReplyTo, MessageID *string
	From, Sender, ReplyTo, To, Cc, Bcc  []Address // Sender and ReplyTo already defaulted to From
}

// Address is one address of a header field, raw (display name as written,
// unquoted, comments removed; encoded-words not decoded). Group start: Mailbox
// is the group's name and Host "" with Group set; group end: all empty with Group set.
type Address struct {
	Name, Route, Mailbox, Host string
	Group                      bool
}

// Summary is all that a server needs to know of a message without reading it again.
type Summary struct {
	Root     *Part
	Envelope Envelope
	Size     int64

	MessageID        string   // normalised id without angle brackets, "" if none
	References       []string // RFC 5256 §3 THREAD=REFERENCES: ids of References, else In-Reply-To, normalised, oldest first
	BaseSubject      string   // RFC 5256 §2.1, decoded, folded for comparison (RFC 5051 i;unicode-casemap)
	IsReplyOrForward bool     // RFC 5256 §2.1 found a re:/fw: or [fwd:] or (fwd)
	SentDate         int64    // Date header as Unix seconds UTC; 0 and SentDateOK false if unusable
	SentDateOK       bool
	HasAttachment    bool
	Preview          string // RFC 8970: from the first text part, whitespace folded, at most PreviewRunes runes
}

// Parser is a push parser: Write the message in any chunks, then Finish. It
// keeps no body, only headers and (for the preview) a bounded start of the first text part.
type Parser struct{ parser }

// NewParser returns a Parser; Reset makes one ready for the next message.
func NewParser() *Parser { return newParser() }

// Write implements io.Writer; it never fails.
func (p *Parser) Write(b []byte) (int, error) { return p.write(b) }

// Finish ends the message. The Summary shares nothing with the Parser.
func (p *Parser) Finish() *Summary { return p.finish() }

// Parse is Parser over r.
func Parse(r io.Reader) (*Summary, error) { return parse(r) }

// Encode appends the compact stored form of s: a version octet, then the IMAP
// ENVELOPE and BODYSTRUCTURE texts ready to send (RFC 9051 §7.5.2; they never
// change once a message arrived), then the part table with offsets, then the rest.
func (s *Summary) Encode(b []byte) []byte { return s.encode(b) }

// Stored is an encoded Summary; its methods read single fields without decoding the rest and
// without allocating. A damaged one yields ErrCorrupt from Decode and empty values from the others.
type Stored []byte

// Envelope returns the text of IMAP ENVELOPE: "(...)". Strings that need it are literals.
func (e Stored) Envelope() []byte { return e.envelope() }

// BodyStructure returns the text of IMAP BODYSTRUCTURE: "(...)".
func (e Stored) BodyStructure() []byte { return e.bodyStructure() }

// Body appends the text of IMAP BODY (without extension data).
func (e Stored) Body(b []byte) []byte { return e.body(b) }

// Root decodes the part tree (offsets, types, encodings, params).
func (e Stored) Root() (*Part, error) { return e.root() }

// Preview returns the preview text (UTF-8).
func (e Stored) Preview() []byte { return e.preview() }

// Decode decodes all.
func (e Stored) Decode() (*Summary, error) { return e.decode() }

// SortKeys returns what SORT and THREAD compare (RFC 5256 §2.1, §3; RFC 5957), without allocation where the field is ASCII.
func (e Stored) SortKeys() SortKeys { return e.sortKeys() }

// SortKeys are comparable by bytes (i;unicode-casemap applied already).
type SortKeys struct {
	Subject                []byte // base subject
	From, To, Cc           []byte // mailbox of the first address
	DisplayFrom, DisplayTo []byte // RFC 5957 §3
	SentDate               int64  // Unix seconds; 0 if unusable (then use INTERNALDATE)
	SentDateOK             bool
	IsReplyOrForward       bool
	MessageID              []byte
}

// Find returns the part that an IMAP section part specifier (1-based numbers, RFC 9051 §6.4.5) names, nil if there is none.
// For a message/rfc822 part numbers go on inside it. An empty path is the root.
func (p *Part) Find(path []int) *Part { return p.find(path) }

// Fields iterates over the header fields of raw header bytes (up to the empty
// line): name as written, raw value with folding, and the whole field's octets.
func Fields(header []byte, yield func(name string, value, whole []byte) bool) { fields(header, yield) }

// DecodeHeader decodes encoded-words (RFC 2047, RFC 2231 language) and 8-bit text of an
// unfolded value to UTF-8; unknown charsets stay as they are. Result is NFC.
func DecodeHeader(raw string) string { return decodeHeader(raw) }

// ParseAddressList parses an address header value leniently.
func ParseAddressList(raw string) []Address { return parseAddressList(raw) }

// Decoder undoes a Content-Transfer-Encoding (BASE64, QUOTED-PRINTABLE,
// 7BIT/8BIT/BINARY; X-UUENCODE where possible), leniently. ok is false for an
// unknown encoding (RFC 3516 §4.3 UNKNOWN-CTE).
func Decoder(encoding string, r io.Reader) (_ io.Reader, ok bool) { return decoder(encoding, r) }

// CharsetReader converts to UTF-8; unknown charsets pass 7-bit and replace the
// rest. Aliases that real mail uses (cp932, ks_c_5601, x-unknown, utf-7 …) are known.
func CharsetReader(charset string, r io.Reader) io.Reader { return charsetReader(charset, r) }

// KnownCharset reports whether a charset name is known (IMAP BADCHARSET).
func KnownCharset(charset string) bool { return knownCharset(charset) }

// Fold is the comparison form of text for SEARCH and SORT: i;unicode-casemap
// (RFC 5051): titlecase mapping and decomposition. Appends to b.
func Fold(b []byte, s string) []byte { return fold(b, s) }

// Texts walks the searchable text of a message: every header field (decoded,
// Part 0 path), and of each text/* part (decoded charset, HTML stripped to its
// text) and each attachment's file name. r is the whole message, s its summary.
// yield gets UTF-8, possibly in several chunks per part; it may return false to stop.
func Texts(r io.ReaderAt, root *Part, yield func(kind TextKind, field string, text []byte) bool) error {
	return texts(r, root, yield)
}

// TextKind says where a text comes from.
type TextKind uint8

// Kinds of text.
const (
	HeaderText TextKind = iota // field is the lower-case header name, text its decoded value
	BodyText                   // text parts, including those of nested messages and their headers
	FileName                   // attachment names
)
