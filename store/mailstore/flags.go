package mailstore

import (
	"encoding/binary"
	"slices"
	"strings"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// StoreResult tells what StoreFlags did.
type StoreResult struct {
	Changed  UIDSet // rows that got the new modseq
	Modified UIDSet // not touched because newer than unchangedSince (RFC 7162 §3.1.3)
}

// flagChange is a STORE as rows see it.
type flagChange struct {
	op    FlagOp
	mask  Flags       // bits to set, add or remove
	more  []KeywordID // keywords beyond the bits, ascending
	check bool
	since ModSeq
}

// apply returns f after the change, without regard to more.
func (c *flagChange) apply(f Flags) Flags {
	switch c.op {
	case AddFlags:
		return f | c.mask
	case RemoveFlags:
		return f &^ c.mask
	}
	return f&moreBit | c.mask
}

// slow reports whether rows must be looked at one by one: keywords beyond the bits may be concerned.
func (c *flagChange) slow() bool { return len(c.more) > 0 }

// StoreFlags changes flags of the existing ones of uids. Rows whose flags would
// not change keep their modseq. unchangedSince 0 with check false: unconditional.
// A range over the whole mailbox is one UPDATE.
func (t *Tx) StoreFlags(id MailboxID, uids UIDSet, op FlagOp, f Flags, keywords []string, check bool, unchangedSince ModSeq) (StoreResult, error) {
	var res StoreResult
	b, err := t.get(id)
	if err != nil {
		return res, err
	}
	bits, more, err := t.storeKeywords(op, keywords)
	if err != nil {
		return res, err
	}
	c := &flagChange{op: op, mask: f&SystemFlags | bits, more: more, check: check, since: unchangedSince}
	uids = uids.Intersect(Range(1, max(b.wrk.uidNext, 2)-1))
	d := delta{}
	if err := t.plan(b, uids, c, &d, &res); err != nil {
		return res, t.fail(err)
	}
	if len(res.Changed) == 0 {
		return res, nil
	}
	w := t.touch(b)
	w.unseen += d.unseen
	w.deleted += d.deleted
	if err := t.updateFlags(b, uids, c, &d, res.Changed); err != nil {
		return res, err
	}
	t.record(id, FlagsChanged, res.Changed)
	t.event(event{mailbox: id, kind: FlagsChanged, uids: res.Changed, flags: c, moreRows: d.slow})
	return res, nil
}

// storeKeywords is keywordBits; removing a keyword that nobody has must not put it into the dictionary.
func (t *tx) storeKeywords(op FlagOp, keywords []string) (Flags, []KeywordID, error) {
	if op == RemoveFlags {
		keywords = slices.DeleteFunc(slices.Clone(keywords), func(k string) bool { return t.a.wkeyword(k) < 0 })
	}
	return t.keywordBits(keywords)
}

// delta is what a flag change does besides the rows' bits.
type delta struct {
	unseen, deleted int32
	slow            []slowRow // rows whose kw_more may change, to be written singly
}

// slowRow is a row with keywords beyond the bits, after the change.
type slowRow struct {
	uid   UID
	flags Flags
	more  []KeywordID
}

const sqlScanFlags = `SELECT uid, flags, modseq, kw_more FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid BETWEEN ? AND ? ORDER BY uid`

// plan finds out which rows change. If the shared index in memory is at the
// writer's state it answers, otherwise the table.
func (t *tx) plan(b *mbox, uids UIDSet, c *flagChange, d *delta, res *StoreResult) error {
	look := func(uid UID, flags Flags, mod ModSeq, more func() []KeywordID) {
		now := c.apply(flags)
		var kw []KeywordID
		changed := now != flags
		if c.slow() || flags&moreBit != 0 && c.op == SetFlags {
			old := more()
			kw = mergeMore(old, c)
			if !slices.Equal(kw, old) {
				changed = true
			}
			now &^= moreBit
			if len(kw) > 0 {
				now |= moreBit
			}
		}
		switch {
		case c.check && mod > c.since:
			res.Modified.Add(uid)
			return
		case !changed:
			return
		}
		res.Changed.Add(uid)
		d.unseen += int32(flags&Seen) - int32(now&Seen)
		d.deleted += (int32(now&Deleted) - int32(flags&Deleted)) / int32(Deleted)
		if c.slow() || flags&moreBit != 0 && c.op == SetFlags {
			d.slow = append(d.slow, slowRow{uid, now, kw})
		}
	}
	if t.s.boxes.rows(t, b, func(x *Box) {
		for _, r := range uids {
			x.rows.each(r.Lo, r.Hi, func(r *row) bool {
				look(r.uid, r.flags, r.modseq, func() []KeywordID { return x.more[r.uid] })
				return true
			})
		}
	}) {
		return nil
	}
	for _, r := range uids {
		for q, err := range t.c.Rows(sqlScanFlags, db.Int(t.a.id), db.Int(b.id), db.Int(r.Lo), db.Int(r.Hi)) {
			if err != nil {
				return err
			}
			look(UID(q.Int(0)), Flags(q.Int(1)), ModSeq(q.Int(2)), func() []KeywordID { return decodeMore(q.RawBytes(3)) })
		}
	}
	return nil
}

// One UPDATE per range; the condition is that of plan, so that both agree on the rows.
const (
	sqlAddFlags = `UPDATE msgidx SET flags=flags|?5, modseq=?6 WHERE account_id=?1 AND mailbox_id=?2 AND uid BETWEEN ?3 AND ?4
		AND flags&?5<>?5 AND modseq<=?7`
	sqlRemoveFlags = `UPDATE msgidx SET flags=flags&~?5, modseq=?6 WHERE account_id=?1 AND mailbox_id=?2 AND uid BETWEEN ?3 AND ?4
		AND flags&?5<>0 AND modseq<=?7`
	sqlSetFlags = `UPDATE msgidx SET flags=?5, modseq=?6 WHERE account_id=?1 AND mailbox_id=?2 AND uid BETWEEN ?3 AND ?4
		AND flags<>?5 AND flags&128=0 AND modseq<=?7`
	sqlSlowFlags = `UPDATE msgidx SET flags=?4, modseq=?5, kw_more=?6 WHERE account_id=?1 AND mailbox_id=?2 AND uid=?3`
)

const noSince ModSeq = 1<<63 - 1

func (t *tx) updateFlags(b *mbox, uids UIDSet, c *flagChange, d *delta, changed UIDSet) error {
	for _, r := range d.slow {
		if err := t.send(1, sqlSlowFlags, db.Int(t.a.id), db.Int(b.id), db.Int(r.uid), db.Int(r.flags), db.Int(t.modseq),
			db.Blob(encodeMore(r.more))); err != nil {
			return err
		}
	}
	if c.slow() {
		return nil
	}
	sql := [...]string{SetFlags: sqlSetFlags, AddFlags: sqlAddFlags, RemoveFlags: sqlRemoveFlags}[c.op]
	since := noSince
	if c.check {
		since = c.since
	}
	if len(changed) < len(uids) {
		uids = changed
	}
	for _, r := range uids {
		if err := t.send(db.AnyCount, sql, db.Int(t.a.id), db.Int(b.id), db.Int(r.Lo), db.Int(r.Hi), db.Int(c.mask), db.Int(t.modseq), db.Int(since)); err != nil {
			return err
		}
	}
	return nil
}

// mergeMore returns old after the change; the result is not old's memory if it differs.
func mergeMore(old []KeywordID, c *flagChange) []KeywordID {
	switch c.op {
	case SetFlags:
		return c.more
	case RemoveFlags:
		return slices.DeleteFunc(slices.Clone(old), func(k KeywordID) bool { return slices.Contains(c.more, k) })
	}
	out := append(slices.Clone(old), c.more...)
	slices.Sort(out)
	return slices.Compact(out)
}

func encodeMore(ids []KeywordID) []byte {
	if len(ids) == 0 {
		return nil
	}
	b := make([]byte, 0, 2*len(ids))
	for _, id := range ids {
		b = binary.BigEndian.AppendUint16(b, uint16(id))
	}
	return b
}

func decodeMore(b []byte) []KeywordID {
	var ids []KeywordID
	for ; len(b) >= 2; b = b[2:] {
		ids = append(ids, KeywordID(binary.BigEndian.Uint16(b)))
	}
	return ids
}

// keywordBits maps keywords to bits and further ids, and adds new ones to the dictionary.
func (t *tx) keywordBits(keywords []string) (bits Flags, more []KeywordID, err error) {
	if err := t.checkKeywords(keywords); err != nil {
		return 0, nil, err
	}
	for _, k := range keywords {
		id := t.a.wkeyword(k)
		if id < 0 {
			if id, err = t.addKeyword(k); err != nil {
				return 0, nil, err
			}
		}
		if id < KeywordBits {
			bits |= Keyword(KeywordID(id))
		} else {
			more = append(more, KeywordID(id))
		}
	}
	slices.Sort(more)
	return bits, slices.Compact(more), nil
}

// wkeyword is the id of a keyword in any case (RFC 9051 §2.3.2), -1 if it has none.
func (a *acct) wkeyword(k string) int {
	return slices.IndexFunc(a.wkw, func(x string) bool { return len(x) == len(k) && strings.EqualFold(x, k) })
}

// checkKeywords refuses before anything is done.
func (t *tx) checkKeywords(keywords []string) error {
	fresh := 0
	for i, k := range keywords {
		if t.a.wkeyword(k) >= 0 || slices.ContainsFunc(keywords[:i], func(x string) bool { return strings.EqualFold(x, k) }) {
			continue
		}
		if !validKeyword(k) {
			return &mail.Error{Kind: mail.BadInput, Text: "keyword is empty, too long or has a forbidden character"}
		}
		fresh++
	}
	if fresh > 0 && len(t.a.wkw)+fresh > MaxKeywords {
		return &mail.Error{Kind: mail.Limit, Text: "too many different keywords"}
	}
	return nil
}

func (t *tx) addKeyword(k string) (int, error) {
	id := len(t.a.wkw)
	if err := t.send(1, `INSERT INTO keywords (account_id, kw_id, name) VALUES (?,?,?)`, db.Int(t.a.id), db.Int(id), db.Text(k)); err != nil {
		return 0, err
	}
	t.structural = true
	t.a.wkw = append(t.a.wkw, k) // readers see a shorter slice of the same array
	return id, nil
}

// validKeyword checks flag-keyword = atom (RFC 9051 §9).
func validKeyword(k string) bool {
	if k == "" || len(k) > MaxKeywordLength {
		return false
	}
	for i := 0; i < len(k); i++ {
		if c := k[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}
