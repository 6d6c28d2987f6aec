// Package message reads Internet messages (RFC 5322, MIME RFC 2045–2049, 2231,
// 2047, 6532): structure with byte offsets, envelope, text. It is lenient (any
// octet string is a message), bounded (every limit is named) and linear.
//
// No clock, goroutine, logger or config; not safe for concurrent use of one value.
package message

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
	SentZone         int16 // minutes east of UTC that Date was written in (SEARCH SENTON compares the local date, RFC 9051 §6.4.4)
	HasAttachment    bool
	Preview          string // RFC 8970: from the first text part, whitespace folded, at most PreviewRunes runes
}

// SortKeys are comparable by bytes (i;unicode-casemap applied already).
type SortKeys struct {
	Subject                []byte // base subject
	From, To, Cc           []byte // mailbox of the first address
	DisplayFrom, DisplayTo []byte // RFC 5957 §3
	SentDate               int64  // Unix seconds; 0 if unusable (then use INTERNALDATE)
	SentDateOK             bool
	SentZone               int16 // minutes east of UTC
	HasAttachment          bool
	IsReplyOrForward       bool
	MessageID              []byte
}

// TextKind says where a text comes from.
type TextKind uint8

// Kinds of text.
const (
	HeaderText TextKind = iota // field is the lower-case header name, text its decoded value
	BodyText                   // text parts, including those of nested messages
	FileName                   // attachment names
	PartHeader                 // MIME header fields of inner parts and all fields of nested messages; field and text as for HeaderText
)
