package imap

import (
	"strings"
	"time"
)

// Limits of searching commands.
const (
	MaxSearchKeys = 2000 // in one command; each costs time for each message
	MaxSearchNest = 1000 // OR and NOT within one another: clients chain an OR for each Message-ID they look for
	MaxSources    = 100  // mailbox selectors of one ESEARCH IN or NOTIFY SET
)

// KeyOp is what a SearchKey asks.
type KeyOp uint8

// Search keys, RFC 9051 §6.4.4 and the extensions named.
const (
	KeyAll     KeyOp = iota
	KeyAnd           // of Subs
	KeyOr            // of two Subs
	KeyNot           // of one Sub
	KeyFuzzy         // one Sub matched as the server sees fit, RFC 6203 §3
	KeySeq           // Set: sequence numbers, or $ (RFC 5182)
	KeyUID           // Set
	KeyFlag          // Text is a system flag: \Seen …
	KeyRecent        // RFC 3501 §6.4.4
	KeyKeyword       // Text
	KeyHeader        // Field as written, Text
	KeyBody          // Text
	KeyText          // Text
	KeyLarger        // Num octets
	KeySmaller       // Num octets
	KeyBefore        // Date against INTERNALDATE; and so on
	KeyOn
	KeySince
	KeySentBefore
	KeySentOn
	KeySentSince
	KeySavedBefore // RFC 8514 §4.3
	KeySavedOn
	KeySavedSince
	KeySaveDateSupported
	KeyOlder    // Num seconds, RFC 5032 §3
	KeyYounger  // Num seconds
	KeyModSeq   // Num, RFC 7162 §3.1.5
	KeyEmailID  // Text, RFC 8474 §6
	KeyThreadID // Text
)

// SearchKey is a node of a search criterion.
type SearchKey struct {
	Op    KeyOp
	Subs  []SearchKey
	Set   NumSet
	Field string
	Text  string
	Num   int64
	Date  time.Time // midnight UTC of the day
}

// Sorter is one sort criterion.
type Sorter struct {
	Key     SortKey
	Reverse bool
}

// SortKey is what a Sorter compares, RFC 5256 §3 and the extensions named.
type SortKey uint8

// Sort keys.
const (
	SortArrival SortKey = iota
	SortCc
	SortDate
	SortFrom
	SortSize
	SortSubject
	SortTo
	SortDisplayFrom // RFC 5957 §4
	SortDisplayTo
	SortRelevancy // RFC 6203 §6
)

var sortNames = [...]string{"ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO", "RELEVANCY"}

// ThreadAlgorithm is how THREAD groups messages, RFC 5256 §3.
type ThreadAlgorithm uint8

// Threading algorithms.
const (
	ThreadOrderedSubject ThreadAlgorithm = iota
	ThreadReferences
)

// SearchReturn holds the result options of RETURN (RFC 4731 §3.1, RFC 5267 §4, RFC 9394, RFC 5182, RFC 6203 §4).
type SearchReturn struct {
	Set                                                       bool // RETURN was there: answer with ESEARCH
	Min, Max, All, Count, Save, Context, Relevancy, HasUpdate bool
	Partial                                                   *PartialRange
	Update                                                    []FetchItem // RFC 5465 §7: what to say of new messages
}

// Search is what SEARCH, SORT, THREAD and ESEARCH ask for.
type Search struct {
	Return    SearchReturn
	Sort      []Sorter
	Thread    ThreadAlgorithm
	Charset   string          // upper case, "" if not given
	In        []MailboxFilter // ESEARCH; nil: the selected mailbox
	Key       SearchKey       // KeyAnd of the keys, or the only one
	HasModSeq bool            // a MODSEQ criterion is there: answer with MODSEQ, RFC 7162 §3.1.5
	HasFuzzy  bool            // RFC 6203 §4: RELEVANCY may be asked for
	HasSeq    bool            // a sequence set is there, RFC 9586 §3.5
}

// SearchArgs reads the arguments of SEARCH: [SP return] SP [CHARSET …] keys (RFC 9051 §6.4.4).
func (d *Decoder) SearchArgs() *Search {
	s := &Search{}
	d.SP()
	d.searchReturn(s)
	d.searchProgram(s)
	return s
}

// SortArgs reads the arguments of SORT: [SP return] SP criteria SP charset SP keys (RFC 5256 §5, RFC 5267 §5).
func (d *Decoder) SortArgs() *Search {
	s := &Search{}
	d.SP()
	d.searchReturn(s)
	d.List(false, func() { s.Sort = append(s.Sort, d.sorter()) })
	d.SP()
	s.Charset = upperString([]byte(d.AString()))
	d.SP()
	d.searchKeys(s)
	for _, k := range s.Sort {
		if k.Key == SortRelevancy && !s.HasFuzzy {
			d.Fail("sorting by RELEVANCY needs a FUZZY key (RFC 6203 §6)")
		}
	}
	return s
}

// ThreadArgs reads the arguments of THREAD: SP algorithm SP charset SP keys (RFC 5256 §5).
func (d *Decoder) ThreadArgs() *Search {
	s := &Search{}
	d.SP()
	switch alg := d.Keyword(); alg {
	case "ORDEREDSUBJECT":
	case "REFERENCES":
		s.Thread = ThreadReferences
	default:
		d.Fail("threading algorithm %s is not known", clip(alg))
	}
	d.SP()
	s.Charset = upperString([]byte(d.AString()))
	d.SP()
	d.searchKeys(s)
	return s
}

// ESearchArgs reads the arguments of ESEARCH: [SP IN (…)] [SP return] SP program (RFC 7377 §4).
func (d *Decoder) ESearchArgs() *Search {
	s := &Search{}
	d.SP()
	if d.Is("IN") {
		d.SP()
		s.In = d.esearchSources()
		d.SP()
	}
	d.searchReturn(s)
	d.searchProgram(s)
	return s
}

func (d *Decoder) sorter() (k Sorter) {
	kw := d.Keyword()
	if kw == "REVERSE" {
		k.Reverse = true
		d.SP()
		kw = d.Keyword()
	}
	for i, n := range sortNames {
		if n == kw {
			k.Key = SortKey(i)
			return k
		}
	}
	d.Fail("sort criterion %s is not known", clip(kw))
	return k
}

// searchReturn reads RETURN (…) SP if it is there.
func (d *Decoder) searchReturn(s *Search) {
	if !d.Is("RETURN") {
		return
	}
	r := &s.Return
	r.Set = true
	d.SP()
	d.List(true, func() { d.returnItem(r) })
	if r.All && r.Partial != nil {
		d.Fail("ALL and PARTIAL exclude each other (RFC 5267 §4.4)")
	}
	d.SP()
}

func (d *Decoder) returnItem(r *SearchReturn) {
	switch kw := d.Keyword(); kw {
	case "MIN":
		r.Min = true
	case "MAX":
		r.Max = true
	case "ALL":
		r.All = true
	case "COUNT":
		r.Count = true
	case "SAVE":
		r.Save = true
	case "CONTEXT":
		r.Context = true
	case "RELEVANCY":
		r.Relevancy = true
	case "UPDATE":
		r.HasUpdate = true
		d.updateItems(r)
	case "PARTIAL":
		if r.Partial != nil {
			d.Fail("PARTIAL may be given once (RFC 5267 §4.4)")
		}
		d.SP()
		p := d.PartialRange()
		r.Partial = &p
	case "":
	default:
		d.Fail("result option %s is not known", clip(kw))
	}
}

// updateItems reads the FETCH items behind UPDATE, with or without the space that the grammar of RFC 5465 §8 lacks and its example has.
func (d *Decoder) updateItems(r *SearchReturn) {
	rest := d.Rest()
	if len(rest) > 1 && rest[0] == ' ' && rest[1] == '(' {
		d.TakeSP()
	}
	if d.Peek() == '(' {
		d.List(false, func() { r.Update = appendItem(r.Update, d.FetchItem()) })
	}
}

func (d *Decoder) searchProgram(s *Search) {
	if d.Is("CHARSET") {
		d.SP()
		s.Charset = upperString([]byte(d.AString()))
		d.SP()
	}
	d.searchKeys(s)
}

// searchKeys reads key *(SP key) up to the end of the command.
func (d *Decoder) searchKeys(s *Search) {
	p := searchParser{d: d, s: s}
	keys := p.keys(0)
	s.Key = and(keys)
	if s.Return.Relevancy && !s.HasFuzzy {
		d.Fail("RELEVANCY needs a FUZZY key (RFC 6203 §4)")
	}
}

func and(keys []SearchKey) SearchKey {
	if len(keys) == 1 {
		return keys[0]
	}
	return SearchKey{Op: KeyAnd, Subs: keys}
}

type searchParser struct {
	d *Decoder
	s *Search
	n int
}

func (p *searchParser) keys(depth int) (ks []SearchKey) {
	d := p.d
	for d.err == nil {
		ks = append(ks, p.key(depth))
		if depth == 0 {
			if rest := d.Rest(); len(rest) == 0 || rest[0] == ' ' && allSpaces(rest) {
				break // some clients end the line with a space
			}
		} else if d.Peek() == ')' {
			break
		}
		d.SP()
	}
	return ks
}

func allSpaces(b []byte) bool {
	for _, c := range b {
		if c != ' ' {
			return false
		}
	}
	return true
}

func (p *searchParser) key(depth int) (k SearchKey) {
	d := p.d
	if p.n++; p.n > MaxSearchKeys {
		d.Fail("search has more than %d keys", MaxSearchKeys)
	}
	if depth > MaxSearchNest {
		d.Fail("search is nested more than %d deep", MaxSearchNest)
	}
	switch c := d.Peek(); {
	case d.err != nil:
		return k
	case c == '(':
		d.Open()
		ks := p.keys(depth + 1)
		d.Close()
		return and(ks)
	case c == '*' || c == '$' || c >= '0' && c <= '9':
		p.s.HasSeq = p.s.HasSeq || c != '$'
		return SearchKey{Op: KeySeq, Set: d.SeqSet()}
	}
	kw := d.Keyword()
	if row, ok := searchKeys[kw]; ok {
		return p.simple(kw, row)
	}
	return p.compound(kw, depth)
}

// keyRow says how a simple key is read.
type keyRow struct {
	op    KeyOp
	arg   keyArg
	not   bool   // UNSEEN is NOT SEEN
	fixed string // flag or header field
}

type keyArg uint8

const (
	argNone keyArg = iota
	argString
	argFlag
	argDate
	argNumber64
	argNzNumber
	argUIDs
)

var searchKeys = map[string]keyRow{
	"ALL":        {op: KeyAll},
	"ANSWERED":   {op: KeyFlag, fixed: `\Answered`},
	"DELETED":    {op: KeyFlag, fixed: `\Deleted`},
	"DRAFT":      {op: KeyFlag, fixed: `\Draft`},
	"FLAGGED":    {op: KeyFlag, fixed: `\Flagged`},
	"SEEN":       {op: KeyFlag, fixed: `\Seen`},
	"UNANSWERED": {op: KeyFlag, fixed: `\Answered`, not: true},
	"UNDELETED":  {op: KeyFlag, fixed: `\Deleted`, not: true},
	"UNDRAFT":    {op: KeyFlag, fixed: `\Draft`, not: true},
	"UNFLAGGED":  {op: KeyFlag, fixed: `\Flagged`, not: true},
	"UNSEEN":     {op: KeyFlag, fixed: `\Seen`, not: true},
	"RECENT":     {op: KeyRecent},
	"OLD":        {op: KeyRecent, not: true},
	"KEYWORD":    {op: KeyKeyword, arg: argFlag},
	"UNKEYWORD":  {op: KeyKeyword, arg: argFlag, not: true},
	"BCC":        {op: KeyHeader, arg: argString, fixed: "BCC"},
	"CC":         {op: KeyHeader, arg: argString, fixed: "CC"},
	"FROM":       {op: KeyHeader, arg: argString, fixed: "FROM"},
	"SUBJECT":    {op: KeyHeader, arg: argString, fixed: "SUBJECT"},
	"TO":         {op: KeyHeader, arg: argString, fixed: "TO"},
	"BODY":       {op: KeyBody, arg: argString},
	"TEXT":       {op: KeyText, arg: argString},
	"LARGER":     {op: KeyLarger, arg: argNumber64},
	"SMALLER":    {op: KeySmaller, arg: argNumber64},
	"BEFORE":     {op: KeyBefore, arg: argDate},
	"ON":         {op: KeyOn, arg: argDate},
	"SINCE":      {op: KeySince, arg: argDate},
	"SENTBEFORE": {op: KeySentBefore, arg: argDate},
	"SENTON":     {op: KeySentOn, arg: argDate},
	"SENTSINCE":  {op: KeySentSince, arg: argDate},

	"SAVEDBEFORE":       {op: KeySavedBefore, arg: argDate},
	"SAVEDON":           {op: KeySavedOn, arg: argDate},
	"SAVEDSINCE":        {op: KeySavedSince, arg: argDate},
	"SAVEDATESUPPORTED": {op: KeySaveDateSupported},
	"OLDER":             {op: KeyOlder, arg: argNzNumber},
	"YOUNGER":           {op: KeyYounger, arg: argNzNumber},
	"EMAILID":           {op: KeyEmailID, arg: argString},
	"THREADID":          {op: KeyThreadID, arg: argString},
	"UID":               {op: KeyUID, arg: argUIDs},
}

func (p *searchParser) simple(kw string, row keyRow) SearchKey {
	d := p.d
	k := SearchKey{Op: row.op}
	if row.op == KeyHeader {
		k.Field = row.fixed
	} else {
		k.Text = row.fixed
	}
	if row.arg != argNone {
		d.SP()
	}
	switch row.arg {
	case argString:
		k.Text = d.AString()
	case argFlag:
		if k.Text = d.Flag(); len(k.Text) > 0 && k.Text[0] == '\\' {
			d.Fail("%s wants a keyword, not a system flag", kw)
		}
	case argDate:
		k.Date = d.Date()
	case argNumber64:
		k.Num = d.Number64()
	case argNzNumber:
		k.Num = int64(d.NzNumber())
	case argUIDs:
		k.Set = d.SeqSet()
	}
	if row.not {
		return SearchKey{Op: KeyNot, Subs: []SearchKey{k}}
	}
	return k
}

func (p *searchParser) compound(kw string, depth int) SearchKey {
	d := p.d
	sub := func() SearchKey { d.SP(); return p.key(depth + 1) }
	switch kw {
	case "NEW": // RFC 3501 §6.4.4: (RECENT UNSEEN)
		return SearchKey{Op: KeyAnd, Subs: []SearchKey{{Op: KeyRecent}, {Op: KeyNot, Subs: []SearchKey{{Op: KeyFlag, Text: `\Seen`}}}}}
	case "NOT":
		return SearchKey{Op: KeyNot, Subs: []SearchKey{sub()}}
	case "OR":
		a := sub()
		return SearchKey{Op: KeyOr, Subs: []SearchKey{a, sub()}}
	case "FUZZY":
		p.s.HasFuzzy = true
		return SearchKey{Op: KeyFuzzy, Subs: []SearchKey{sub()}}
	case "HEADER":
		d.SP()
		k := SearchKey{Op: KeyHeader, Field: d.AString()}
		if k.Field == "" || !isFieldName(k.Field) {
			d.Fail("HEADER wants the name of a header field")
		}
		d.SP()
		k.Text = d.AString()
		return k
	case "MODSEQ":
		p.s.HasModSeq = true
		d.SP()
		if d.Peek() == '"' {
			p.entryType()
		}
		return SearchKey{Op: KeyModSeq, Num: d.Number64()}
	}
	d.Fail("search key %s is not known", clip(kw))
	return SearchKey{}
}

// entryType reads the entry name and type of MODSEQ and forgets them: all flags share one modseq (RFC 7162 §3.1.5).
func (p *searchParser) entryType() {
	d := p.d
	if name := d.String(); d.err == nil && (len(name) < 8 || !strings.EqualFold(name[:7], "/flags/")) {
		d.Fail("MODSEQ entry must be \"/flags/\" and a flag")
	}
	d.SP()
	if kw := d.Keyword(); kw != "PRIV" && kw != "SHARED" && kw != "ALL" {
		d.Fail("MODSEQ entry type must be priv, shared or all")
	}
	d.SP()
}

func isFieldName(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return true
}
