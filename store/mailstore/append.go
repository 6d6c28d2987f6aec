package mailstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

const (
	sqlInsertIndex = `INSERT INTO msgidx (account_id, mailbox_id, uid, msg_id, modseq, flags, size, idate, sdate, added, kw_more)
		VALUES (?,?,?,?,?,?,?,?,?,?,?)`
	sqlInsertMessage = `INSERT INTO messages (account_id, id, mailbox_id, uid, thread_id, body_id, pop_order, uidl, prefix, summary)
		VALUES (?,?,?,?,?,?,?,?,?,?)`
	sqlInsertBody    = `INSERT INTO bodies (account_id, body_id, refs, codec, rawsize, crc, sha256, ref, data) VALUES (?,?,1,?,?,?,?,?,?)`
	sqlInsertSummary = `INSERT INTO summaries (account_id, body_id, summary) VALUES (?,?,?)`
	sqlRefBody       = `UPDATE bodies SET refs=refs+1 WHERE account_id=? AND body_id=? AND refs>0`
	sqlRethread      = `UPDATE thread_ref SET thread_id=?4 WHERE account_id=?1 AND ref=?2 AND thread_id=?3`
	sqlFindThread    = `SELECT thread_id FROM thread_ref WHERE account_id=? AND ref=?`
	sqlDedup         = `SELECT mailbox_id, uid, msg_id, thread_id, modseq, expires FROM dedup WHERE account_id=? AND token=?`
	sqlAddDedup      = `INSERT INTO dedup (account_id, token, mailbox_id, uid, msg_id, thread_id, modseq, expires) VALUES (?1,?2,?3,?4,?5,?6,?7,?8)
		ON CONFLICT (account_id, token) DO UPDATE SET mailbox_id=?3, uid=?4, msg_id=?5, thread_id=?6, modseq=?7, expires=?8`
)

// maxMessageID leaves room for the account above it in the key of messages.
const maxMessageID = 1<<32 - 1

// messageKey is the key of messages.
func messageKey(a mail.AccountID, m MessageID) int64 { return int64(a)<<32 | int64(m) }

// Append stores a message; quota is checked and added in the same statement (kind OverQuota).
func (t *Tx) Append(id MailboxID, m NewMessage) (Appended, error) {
	return t.insert(id, &ImportedMessage{NewMessage: m})
}

// Import stores a message with given UID, dates, flags, modseq and UIDL.
func (t *Tx) Import(id MailboxID, m ImportedMessage) (Appended, error) {
	if m.ModSeq > maxImportModSeq {
		return Appended{}, &mail.Error{Kind: mail.BadInput, Text: "modseq is too large"}
	}
	if m.UID != 0 {
		b, err := t.get(id)
		if err != nil {
			return Appended{}, err
		}
		if m.UID < b.wrk.uidNext {
			return t.again(b, &m)
		}
		if m.UID == maxUID {
			return Appended{}, &mail.Error{Kind: mail.BadInput, Text: "UID is too large"}
		}
	}
	return t.insert(id, &m)
}

// maxImportModSeq leaves an account a lifetime of steps below 2⁶³ (RFC 7162 §3.1).
const maxImportModSeq = 1 << 60

// maxUID is never given out: UIDNEXT must stay a UID.
const maxUID = 1<<32 - 1

const sqlSameBody = `SELECT x.msg_id, x.modseq, m.thread_id, b.sha256 FROM msgidx x JOIN messages m ON m.account_id=?4 AND m.id=(?1<<32|x.msg_id)
	JOIN bodies b ON b.account_id=m.account_id AND b.body_id=m.body_id WHERE x.account_id=?1 AND x.mailbox_id=?2 AND x.uid=?3`

// again is an import whose UID is taken: a no-op if it holds the same body.
func (t *tx) again(b *mbox, m *ImportedMessage) (Appended, error) {
	var msg MessageID
	var mod ModSeq
	var thread ThreadID
	var sum []byte
	found, err := t.c.Row(sqlSameBody, db.Int(t.a.id), db.Int(b.id), db.Int(m.UID), t.scope()).Scan(&msg, &mod, &thread, &sum)
	if err != nil {
		return Appended{}, t.fail(err)
	}
	if found && [32]byte(sum) == m.Body.sha {
		return Appended{UID: m.UID, UIDValidity: b.wrk.uidValidity, Message: msg, Thread: thread, ModSeq: mod}, nil
	}
	return Appended{}, &mail.Error{Kind: mail.Conflict, Text: "UID is in use or was used"}
}

// insert stores a message.
func (t *tx) insert(id MailboxID, m *ImportedMessage) (Appended, error) {
	b, err := t.get(id)
	if err != nil {
		return Appended{}, err
	}
	if m.Dedup != "" {
		if done, found, err := t.delivered(m.Dedup); found || err != nil {
			return done, t.fail(err)
		}
	}
	size := int64(len(m.Prefix)) + m.Body.size
	if err := t.room(b, 1, size); err != nil {
		return Appended{}, err
	}
	flags, more, err := t.keywordBits(m.Keywords)
	if err != nil {
		return Appended{}, err
	}
	r := row{flags: m.Flags&SystemFlags | flags, size: uint32(size), date: t.date(m.Internal), saved: t.saved(m.Saved)}
	if len(more) > 0 {
		r.flags |= moreBit
	}
	thread, err := t.thread(m.Body) // before anything is written: it asks
	if err != nil {
		return Appended{}, err
	}
	body, err := t.storeBody(m.Body)
	if err != nil {
		return Appended{}, err
	}
	t.modseq = max(t.modseq, m.ModSeq)
	w := t.touch(b)
	r.uid = max(w.uidNext, m.UID)
	r.msg = uint32(t.a.wrk.nextMsg)
	r.modseq = m.ModSeq
	if r.modseq == 0 {
		r.modseq = t.modseq
	}
	if err := t.writeMessage(b, &r, more, thread, body, m); err != nil {
		return Appended{}, err
	}
	t.a.wrk.nextMsg++
	w.uidNext = r.uid + 1
	t.count(w, &r)
	t.event(event{mailbox: b.id, kind: Added, uids: Range(r.uid, r.uid), rows: []row{r}, more: more})
	out := Appended{UID: r.uid, UIDValidity: w.uidValidity, Message: MessageID(r.msg), Thread: thread, ModSeq: r.modseq}
	if m.Dedup != "" {
		err = t.remember(m.Dedup, b.id, out)
	}
	return out, err
}

// noSummary is what messages.summary holds where summaries has it.
var noSummary = []byte{}

func (t *tx) writeMessage(b *mbox, r *row, more []KeywordID, thread ThreadID, body int64, m *ImportedMessage) error {
	a := t.a.id
	if err := t.send(1, sqlInsertIndex, db.Int(a), db.Int(b.id), db.Int(r.uid), db.Int(r.msg), db.Int(r.modseq), db.Int(r.flags),
		db.Int(r.size), db.Int(r.date), db.Int(r.saved), db.Int(t.modseq), db.Blob(encodeMore(more))); err != nil {
		return err
	}
	prefix := m.Prefix
	if len(prefix) == 0 {
		prefix = nil
	}
	return t.send(1, sqlInsertMessage, t.scope(), db.Int(messageKey(a, MessageID(r.msg))), db.Int(b.id), db.Int(r.uid), db.Int(thread),
		db.Int(body), db.Int(m.Order), db.Text(m.UIDL), db.Blob(prefix), db.Blob(noSummary))
}

// room checks the limits for n more messages of size octets together.
func (t *tx) room(b *mbox, n int, size int64) error {
	w := &t.a.wrk
	switch {
	case w.quotaBytes > 0 && w.usedBytes+size > w.quotaBytes:
		return &mail.Error{Kind: mail.OverQuota, Text: "mailbox is full"}
	case w.quotaMsgs > 0 && w.usedMsgs+int64(n) > w.quotaMsgs:
		return &mail.Error{Kind: mail.OverQuota, Text: "mailbox holds as many messages as it may"}
	case int(b.wrk.msgs)+n > MaxMessages, uint64(b.wrk.uidNext)+uint64(n) >= maxUID, int64(w.nextMsg)+int64(n) > maxMessageID:
		return &mail.Error{Kind: mail.Limit, Text: "too many messages in one mailbox"}
	}
	return nil
}

// count adds r to the counters.
func (t *tx) count(w *mboxRow, r *row) {
	w.msgs++
	w.bytes += int64(r.size)
	if r.flags&Seen == 0 {
		w.unseen++
	}
	if r.flags&Deleted != 0 {
		w.deleted++
	}
	t.a.wrk.usedBytes += int64(r.size)
	t.a.wrk.usedMsgs++
	t.added += int64(r.size)
}

func (t *tx) date(d time.Time) int64 {
	if d.IsZero() {
		return packDate(t.time().Unix(), 0)
	}
	_, off := d.Zone()
	return packDate(d.Unix(), int16(min(max(off/60, 1-zoneBias), zoneBias-1)))
}

func (t *tx) saved(d time.Time) uint32 {
	if d.IsZero() {
		d = t.time()
	}
	return uint32(min(max(d.Unix(), 0), 1<<32-1))
}

// errBodyLost: the disk refused the body's octets after they were staged. Nobody was told yes.
var errBodyLost = errors.New("mailstore: body did not become durable")

// storeBody refers to the body's row, or makes it: all recipients of one mail that share a scope share it.
func (t *tx) storeBody(b *Body) (int64, error) {
	if id := t.ownBody(b); id != 0 {
		return id, nil
	}
	if id := t.bodyRow(b); id != 0 {
		n, err := t.exec(sqlRefBody, t.scope(), db.Int(id))
		if err != nil || n == 1 {
			return id, err
		}
	}
	if b.ref != "" {
		if err := t.claimBlob(b); err != nil {
			return 0, err
		}
	}
	id := t.newBodyRow(b)
	if err := t.send(1, sqlInsertBody, t.scope(), db.Int(id), db.Int(b.codec), db.Int(b.size), db.Int(b.crc), db.Blob(b.sha[:]),
		db.Text(string(b.ref)), db.Blob(b.inline)); err != nil {
		return 0, err
	}
	return id, t.send(1, sqlInsertSummary, t.scope(), db.Int(id), db.Blob(b.summary))
}

// maxThreadRefs is how many ids of References take part in threading: the
// oldest one and the latest, which is where a reply's parents are.
const maxThreadRefs = 16

// maxThreadKeys is what a message registers at most.
const maxThreadKeys = maxThreadRefs + 1

// sqlRefThreads registers so many keys as the index says, those that are not there yet.
var sqlRefThreads = func() (out [maxThreadKeys + 1]string) {
	for n := range out {
		rows := make([]string, n)
		for i := range rows {
			rows[i] = fmt.Sprintf("(?1,?%d,?2)", i+3)
		}
		out[n] = `INSERT INTO thread_ref (account_id, ref, thread_id) VALUES ` + strings.Join(rows, ",") + ` ON CONFLICT DO NOTHING`
	}
	return out
}()

// thread finds or makes the conversation (RFC 8621 §3: an id in common, and the same base subject). Nearly always the
// nearest parent is there or nobody was heard of: one look, one INSERT for all keys.
func (t *tx) thread(b *Body) (ThreadID, error) {
	keys := b.threadKeys
	if t.s.shared {
		return t.threadAhead(keys)
	}
	var known ThreadID
	if len(keys) > 1 {
		if _, err := t.c.Row(sqlFindThread, db.Int(t.a.id), db.Int(keys[0])).Scan(&known); err != nil {
			return 0, t.fail(err)
		}
	}
	id, fresh := known, known == 0
	if fresh {
		id = t.a.wrk.nextThread
	}
	if len(keys) > 0 {
		args := append(make([]db.Value, 0, 2+maxThreadKeys), db.Int(t.a.id), db.Int(id))
		for _, k := range keys {
			args = append(args, db.Int(k))
		}
		n, err := t.exec(sqlRefThreads[len(keys)], args...)
		if err != nil {
			return 0, err
		}
		if fresh && int(n) < len(keys) {
			return t.joinThread(keys, id)
		}
	}
	if fresh {
		t.a.wrk.nextThread++
		t.wrote = true
	}
	return id, nil
}

// sqlKnownThreads looks for so many keys as the index says.
var sqlKnownThreads = func() (out [maxThreadKeys + 1]string) {
	for n := range out {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf("?%d", i+2)
		}
		out[n] = `SELECT ref, thread_id FROM thread_ref WHERE account_id=?1 AND ref IN (` + strings.Join(list, ",") + `) ORDER BY ref`
	}
	return out
}()

func knownThreadArgs(a mail.AccountID, keys []int64) []db.Value {
	args := append(make([]db.Value, 0, 1+maxThreadKeys), db.Int(a))
	for _, k := range keys {
		args = append(args, db.Int(k))
	}
	return args
}

// askThreads is what threadAhead asks.
func askThreads(a mail.AccountID, keys []int64) []db.Question {
	if len(keys) == 0 {
		return nil
	}
	return []db.Question{db.Ask(sqlKnownThreads[len(keys)], knownThreadArgs(a, keys)...)}
}

// threadAhead is thread where a question costs a round trip: one for all keys, which can be asked ahead, and nobody waits for
// the INSERT. The account is ours, so what it finds stays so.
func (t *tx) threadAhead(keys []int64) (ThreadID, error) {
	known := make(map[int64]ThreadID)
	if len(keys) > 0 {
		for r, err := range t.c.Rows(sqlKnownThreads[len(keys)], knownThreadArgs(t.a.id, keys)...) {
			if err != nil {
				return 0, t.fail(err)
			}
			known[r.Int(0)] = ThreadID(r.Int(1))
		}
	}
	id := t.a.wrk.nextThread
	var missing []int64
	for _, k := range keys {
		if at, ok := known[k]; !ok {
			missing = append(missing, k)
		} else if id == t.a.wrk.nextThread {
			id = at
		}
	}
	if id == t.a.wrk.nextThread {
		t.a.wrk.nextThread++
		t.wrote = true
	}
	if len(missing) == 0 {
		return id, nil
	}
	args := append(make([]db.Value, 0, 2+maxThreadKeys), db.Int(t.a.id), db.Int(id))
	for _, k := range missing {
		args = append(args, db.Int(k))
	}
	return id, t.send(int64(len(missing)), sqlRefThreads[len(missing)], args...)
}

// joinThread is for a message that a conversation knows, but not by its nearest parent: by one further up, or because
// someone cited it before it came. Keys were registered as fresh where they were new.
func (t *tx) joinThread(keys []int64, fresh ThreadID) (ThreadID, error) {
	id := fresh
	for i := 0; i < len(keys) && id == fresh; i++ {
		if _, err := t.c.Row(sqlFindThread, db.Int(t.a.id), db.Int(keys[i])).Scan(&id); err != nil {
			return 0, t.fail(err)
		}
	}
	for _, k := range keys {
		if _, err := t.exec(sqlRethread, db.Int(t.a.id), db.Int(k), db.Int(fresh), db.Int(id)); err != nil {
			return 0, err
		}
	}
	return id, nil
}

// threadKey is what thread_ref is keyed by: id and subject together.
func threadKey(id string, subject string) int64 {
	h := sha256.New()
	h.Write([]byte(id))
	h.Write([]byte{0})
	h.Write([]byte(subject))
	var sum [32]byte
	return int64(binary.BigEndian.Uint64(h.Sum(sum[:0])))
}

func dedupToken(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:16]
}

// delivered looks for an earlier delivery with the same key.
func (t *tx) delivered(key string) (a Appended, found bool, err error) {
	var box MailboxID
	var expires int64
	found, err = t.c.Row(sqlDedup, db.Int(t.a.id), db.Blob(dedupToken(key))).Scan(&box, &a.UID, &a.Message, &a.Thread, &a.ModSeq, &expires)
	if err != nil || !found || expires <= t.time().Unix() {
		return Appended{}, false, err
	}
	if m := t.a.byID(box); m != nil {
		a.UIDValidity = m.wrk.uidValidity
	}
	return a, true, nil
}

// dedupKeep is how long a delivery is remembered: longer than any hop retries (RFC 5321 §4.5.4.1: 4–5 days).
const dedupKeep = 7 * 24 * time.Hour

func (t *tx) remember(key string, box MailboxID, a Appended) error {
	return t.send(1, sqlAddDedup, db.Int(t.a.id), db.Blob(dedupToken(key)), db.Int(box), db.Int(a.UID), db.Int(a.Message),
		db.Int(a.Thread), db.Int(a.ModSeq), db.Int(t.time().Add(dedupKeep).Unix()))
}
