package imapd

import (
	"context"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
	"bahnpost/wire/message"
)

// querier turns search keys into a query of the store (RFC 9051 §6.4.4): numbers become UIDs as of now, text UTF-8.
type querier struct {
	ctx     context.Context
	view    *mailstore.View
	saved   mailstore.UIDSet // $, RFC 5182
	recent  mailstore.UIDSet // RFC 3501 §2.3.2
	charset string
	now     time.Time
}

// query maps one key.
func (q *querier) query(k *imap.SearchKey, fuzzy bool) (*mailstore.Query, error) {
	switch k.Op {
	case imap.KeyAnd, imap.KeyOr, imap.KeyNot, imap.KeyFuzzy:
		return q.compound(k, fuzzy)
	case imap.KeySeq, imap.KeyUID:
		uids, err := q.uids(k)
		return &mailstore.Query{Op: mailstore.QInUIDs, UIDs: uids}, err
	case imap.KeyKeyword:
		return &mailstore.Query{Op: mailstore.QKeyword, Keyword: k.Text}, nil
	case imap.KeyHeader, imap.KeyBody, imap.KeyText:
		return q.text(k, fuzzy)
	case imap.KeyEmailID, imap.KeyThreadID:
		return q.object(k)
	}
	return q.plain(k), nil
}

func (q *querier) compound(k *imap.SearchKey, fuzzy bool) (*mailstore.Query, error) {
	if k.Op == imap.KeyFuzzy {
		return q.query(&k.Subs[0], true)
	}
	op := map[imap.KeyOp]mailstore.QueryOp{imap.KeyAnd: mailstore.QAnd, imap.KeyOr: mailstore.QOr, imap.KeyNot: mailstore.QNot}[k.Op]
	out := &mailstore.Query{Op: op}
	for i := range k.Subs {
		sub, err := q.query(&k.Subs[i], fuzzy)
		if err != nil {
			return nil, err
		}
		out.Subs = append(out.Subs, sub)
	}
	return out, nil
}

// plain maps keys that need nothing but themselves and the time of day.
func (q *querier) plain(k *imap.SearchKey) *mailstore.Query {
	day := k.Date.Unix()
	span := func(op mailstore.QueryOp, from, to int64) *mailstore.Query {
		return &mailstore.Query{Op: op, From: from, To: to}
	}
	const first, last, length = math.MinInt64, math.MaxInt64, 24 * 60 * 60
	switch k.Op {
	case imap.KeyAll, imap.KeySaveDateSupported: // RFC 8514 §4.3: all our mailboxes keep save dates
		return &mailstore.Query{Op: mailstore.QAll}
	case imap.KeyFlag:
		return &mailstore.Query{Op: mailstore.QFlag, Flags: systemFlag(k.Text)}
	case imap.KeyLarger:
		return &mailstore.Query{Op: mailstore.QLarger, Number: k.Num}
	case imap.KeySmaller:
		return &mailstore.Query{Op: mailstore.QSmaller, Number: k.Num}
	case imap.KeyModSeq:
		return &mailstore.Query{Op: mailstore.QModSeq, Number: k.Num}
	case imap.KeyBefore:
		return span(mailstore.QInternal, first, day)
	case imap.KeyOn:
		return span(mailstore.QInternal, day, day+length)
	case imap.KeySince:
		return span(mailstore.QInternal, day, last)
	case imap.KeySentBefore:
		return span(mailstore.QSent, first, day)
	case imap.KeySentOn:
		return span(mailstore.QSent, day, day+length)
	case imap.KeySentSince:
		return span(mailstore.QSent, day, last)
	case imap.KeySavedBefore:
		return span(mailstore.QSaved, first, day)
	case imap.KeySavedOn:
		return span(mailstore.QSaved, day, day+length)
	case imap.KeySavedSince:
		return span(mailstore.QSaved, day, last)
	case imap.KeyOlder: // RFC 5032 §3: at least so many seconds old
		return span(mailstore.QInternalExact, first, q.now.Unix()-k.Num+1)
	case imap.KeyYounger:
		return span(mailstore.QInternalExact, q.now.Unix()-k.Num, last)
	}
	if k.Op == imap.KeyRecent && !q.recent.Empty() {
		return &mailstore.Query{Op: mailstore.QInUIDs, UIDs: q.recent}
	}
	return nothing()
}

// nothing matches no message.
func nothing() *mailstore.Query {
	return &mailstore.Query{Op: mailstore.QNot, Subs: []*mailstore.Query{{Op: mailstore.QAll}}}
}

func systemFlag(name string) mailstore.Flags {
	switch name {
	case `\Answered`:
		return mailstore.Answered
	case `\Flagged`:
		return mailstore.Flagged
	case `\Deleted`:
		return mailstore.Deleted
	case `\Draft`:
		return mailstore.Draft
	}
	return mailstore.Seen
}

// object maps EMAILID and THREADID (RFC 8474 §6). An id that we never gave out
// matches nothing; EMAILID matches copies too.
func (q *querier) object(k *imap.SearchKey) (*mailstore.Query, error) {
	op, prefix := mailstore.QMessage, "M"
	if k.Op == imap.KeyThreadID {
		op, prefix = mailstore.QThread, "T"
	}
	rest, ok := strings.CutPrefix(k.Text, prefix)
	n, err := strconv.ParseInt(rest, 10, 64)
	if !ok || err != nil || n <= 0 || strconv.FormatInt(n, 10) != rest {
		return nothing(), nil
	}
	if op == mailstore.QThread {
		return &mailstore.Query{Op: op, Number: n}, nil
	}
	same, err := q.view.Box().SameEmail(q.ctx, mailstore.MessageID(n))
	out := &mailstore.Query{Op: mailstore.QOr}
	for _, m := range same {
		out.Subs = append(out.Subs, &mailstore.Query{Op: op, Number: int64(m)})
	}
	return out, err
}

// text maps the keys that look at text.
func (q *querier) text(k *imap.SearchKey, fuzzy bool) (*mailstore.Query, error) {
	s, err := q.decode(k.Text)
	if err != nil {
		return nil, err
	}
	out := &mailstore.Query{Text: s, Fuzzy: fuzzy}
	switch k.Op {
	case imap.KeyHeader:
		out.Op, out.Field = mailstore.QHeader, strings.ToLower(k.Field)
	case imap.KeyBody:
		out.Op = mailstore.QBody
	default:
		out.Op = mailstore.QText
	}
	if s == "" && k.Op != imap.KeyHeader {
		out.Op = mailstore.QAll
	}
	return out, nil
}

// decode converts the text of a key to UTF-8.
func (q *querier) decode(s string) (string, error) {
	switch q.charset {
	case "", "UTF-8", "US-ASCII", "UTF8", "ASCII":
		if strings.ToValidUTF8(s, "") != s {
			return "", bad("search text is not valid in its charset")
		}
		return s, nil
	}
	b, err := io.ReadAll(message.CharsetReader(q.charset, strings.NewReader(s)))
	if err != nil {
		return "", bad("search text is not valid in its charset")
	}
	return string(b), nil
}

// checkCharset refuses what we can't decode (RFC 9051 §6.4.4, RFC 5256 §3).
func checkCharset(charset string) error {
	if charset == "" || message.KnownCharset(charset) {
		return nil
	}
	return no("BADCHARSET (US-ASCII UTF-8)", "charset is not known")
}

// uids resolves a set of numbers or UIDs as of now (RFC 9051 §6.4.4). Numbers beyond the mailbox match nothing (RFC 7377 §2).
func (q *querier) uids(k *imap.SearchKey) (mailstore.UIDSet, error) {
	if k.Set.Saved {
		return q.saved, nil
	}
	count := q.view.Count()
	if k.Op == imap.KeySeq {
		set := clipSet(imap.Resolve(k.Set.Ranges, uint32(count)), uint32(count))
		if len(set) == 0 {
			return nil, nil
		}
		return q.view.UIDsOfSeqs(q.ctx, set)
	}
	largest, err := q.view.UID(q.ctx, count)
	if err != nil {
		return nil, err
	}
	return clipSet(imap.Resolve(k.Set.Ranges, uint32(largest)), math.MaxUint32-1), nil
}

// clipSet is rs as a set, without what lies above most.
func clipSet(rs []imap.NumRange, most uint32) (s mailstore.UIDSet) {
	for _, r := range rs {
		if r.Lo <= most {
			s.AddRange(mailstore.UID(r.Lo), mailstore.UID(min(r.Hi, most)))
		}
	}
	return s
}
