package mailstore

import (
	"slices"
	"strings"
	"unique"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// Mailbox reads inside the transaction.
func (t *Tx) Mailbox(id MailboxID) (Mailbox, error) {
	m := t.a.byID(id)
	if m == nil || !m.wrk.live {
		return Mailbox{}, errNoMailbox
	}
	return t.describe(m), nil
}

// MailboxByName finds a mailbox by its path.
func (t *Tx) MailboxByName(name string) (Mailbox, error) {
	m, err := t.find(name)
	if err != nil {
		return Mailbox{}, err
	}
	return t.describe(m), nil
}

func (t *tx) find(name string) (*mbox, error) {
	if m := t.a.wfind(name); m != nil { // already normal: the usual case
		return m, nil
	}
	name, err := NormalName(name)
	if err != nil {
		return nil, err
	}
	if m := t.a.wfind(name); m != nil {
		return m, nil
	}
	return nil, errNoMailbox
}

func (t *tx) describe(m *mbox) Mailbox { return m.wrk.describe(m.id, t.a.path(m, wrkRow)) }

const (
	sqlInsertMailbox = `INSERT INTO mailboxes (account_id, mailbox_id, parent_id, name, special_use, noselect, uidvalidity, created,
		uidnext, modseq, msgs, unseen, deleted, bytes) VALUES (?,?,?,?,?,0,?,?,1,?,0,0,0,0)`
	sqlSubscribed = `SELECT COUNT(*) FROM subscriptions WHERE account_id=? AND name=?`
	sqlSetCreated = `UPDATE mailboxes SET created=?3 WHERE account_id=?1 AND mailbox_id=?2`
	sqlSetTree    = `UPDATE mailboxes SET parent_id=?3, name=?4, noselect=?5, special_use=?6, uidvalidity=?7 WHERE account_id=?1 AND mailbox_id=?2`
)

// CreateMailbox makes name and its missing parents. Existing: kind MailboxExists. RFC 9051 §6.3.4 (a separator
// at the end only says that children will come), RFC 6154 §3.
func (t *Tx) CreateMailbox(spec MailboxSpec) (Mailbox, error) {
	name, err := NormalName(strings.TrimSuffix(spec.Name, string(Separator)))
	if err != nil {
		return Mailbox{}, err
	}
	use, err := normalUse(spec.SpecialUse)
	if err != nil {
		return Mailbox{}, err
	}
	m := t.a.wfind(name)
	if m != nil && !m.wrk.noSelect {
		return Mailbox{}, &mail.Error{Kind: mail.MailboxExists, Text: "mailbox already exists"}
	}
	if m == nil {
		m, err = t.makePath(name, use)
	} else {
		err = t.revive(m, use)
	}
	if err != nil {
		return Mailbox{}, err
	}
	if spec.Subscribe {
		if err := t.Subscribe(name, true); err != nil {
			return Mailbox{}, err
		}
	}
	return t.describe(m), nil
}

// makePath makes the last component of name and what is missing above it.
func (t *tx) makePath(name, use string) (*mbox, error) {
	var parent *mbox
	var at MailboxID
	parts := strings.Split(name, string(Separator))
	if t.missing(parts) > MaxMailboxes-t.a.wrk.mailboxes {
		return nil, &mail.Error{Kind: mail.Limit, Text: "too many mailboxes"}
	}
	for i, part := range parts {
		m := t.a.wchild(at, part)
		if m == nil {
			u := ""
			if i == len(parts)-1 {
				u = use
			}
			var err error
			if m, err = t.makeOne(parent, part, strings.Join(parts[:i+1], string(Separator)), u); err != nil {
				return nil, err
			}
		}
		parent, at = m, m.id
	}
	return parent, nil
}

// missing counts the components of a path that are not there.
func (t *tx) missing(parts []string) int {
	var at MailboxID
	for i, part := range parts {
		m := t.a.wchild(at, part)
		if m == nil {
			return len(parts) - i
		}
		at = m.id
	}
	return 0
}

func (t *tx) makeOne(parent *mbox, part, path, use string) (*mbox, error) {
	w := &t.a.wrk
	var subscribed int
	if _, err := t.c.Row(sqlSubscribed, db.Int(t.a.id), db.Text(path)).Scan(&subscribed); err != nil {
		return nil, t.fail(err)
	}
	m := &mbox{id: w.nextMailbox, wrk: mboxRow{name: unique.Make(part).Value(), use: use, uidValidity: t.validity(), uidNext: 1,
		modseq: t.modseq, created: t.modseq, live: true, subscribed: subscribed > 0}}
	if parent != nil {
		m.wrk.parent = parent.id
	}
	if _, err := t.exec(sqlInsertMailbox, db.Int(t.a.id), db.Int(m.id), db.Int(m.wrk.parent), db.Text(part), db.Text(use),
		db.Int(m.wrk.uidValidity), db.Int(t.modseq), db.Int(t.modseq)); err != nil {
		return nil, err
	}
	w.nextMailbox++
	w.mailboxes++
	t.structural = true
	t.a.mu.Lock()
	t.a.boxes = append(t.a.boxes, m)
	t.a.mu.Unlock()
	if parent != nil {
		t.touch(parent).kids++
	}
	t.touch(m)
	t.rename(m, nameKey{})
	t.announce(m.id, MailboxCreated)
	return m, nil
}

// validity is a UIDVALIDITY that no mailbox of the account ever had: it grows, and follows the clock (RFC 9051 §2.3.1.1).
func (t *tx) validity() uint32 {
	w := &t.a.wrk
	w.nextValidity = max(w.nextValidity+1, uint32(t.time().Unix()))
	return w.nextValidity
}

// revive makes a NoSelect name a mailbox again, under a new UIDVALIDITY. Its id stayed, since children hang on it; id
// and Created together tell it from the mailbox that it was (RFC 8474 §4).
func (t *tx) revive(m *mbox, use string) error {
	w := t.touch(m)
	t.structural = true
	w.noSelect, w.use, w.uidValidity, w.uidNext, w.created = false, use, t.validity(), 1, t.modseq
	t.announce(m.id, MailboxCreated)
	if _, err := t.exec(sqlSetCreated, db.Int(t.a.id), db.Int(m.id), db.Int(t.modseq)); err != nil {
		return err
	}
	return t.saveTree(m)
}

func (t *tx) saveTree(m *mbox) error {
	w := &m.wrk
	t.reshaped = true
	_, err := t.exec(sqlSetTree, db.Int(t.a.id), db.Int(m.id), db.Int(w.parent), db.Text(w.name), db.Bool(w.noSelect), db.Text(w.use),
		db.Int(w.uidValidity))
	return err
}

// rename remembers that m's place in the tree changed; readers see it after the commit.
func (t *tx) rename(m *mbox, before nameKey) {
	if t.a.wname == nil {
		t.a.wname = make(map[nameKey]*mbox)
	}
	t.a.wname[nameKey{m.wrk.parent, m.wrk.name}] = m
	t.names = append(t.names, rename{m, before})
	t.structural = true
}

// rename moves a committed change of the tree into the readers' index; under mu, on the writer's goroutine.
func (a *acct) rename(r rename) {
	if r.before != (nameKey{}) && a.names[r.before] == r.m {
		delete(a.names, r.before)
	}
	k := nameKey{r.m.cur.parent, r.m.cur.name}
	if r.m.cur.live {
		a.names[k] = r.m
	} else if a.names[k] == r.m {
		delete(a.names, k)
	}
	if a.wname[k] == r.m {
		delete(a.wname, k)
	}
	if !r.m.cur.live {
		if i, ok := slices.BinarySearchFunc(a.boxes, r.m.id, func(m *mbox, id MailboxID) int { return int(m.id - id) }); ok {
			a.boxes = slices.Delete(a.boxes, i, i+1)
		}
	}
}

// ImportMailbox makes or adjusts a mailbox with given UIDVALIDITY and UIDNEXT (moves).
// UIDNEXT only grows; a new UIDVALIDITY is taken only by an empty mailbox, otherwise kind Conflict.
func (t *Tx) ImportMailbox(spec MailboxSpec, uidValidity uint32, uidNext UID) (Mailbox, error) {
	name, err := NormalName(spec.Name)
	if err != nil {
		return Mailbox{}, err
	}
	m := t.a.wfind(name)
	if m != nil && m.wrk.msgs > 0 && uidValidity != 0 && m.wrk.uidValidity != uidValidity {
		return Mailbox{}, &mail.Error{Kind: mail.Conflict, Text: "mailbox has messages under another UIDVALIDITY"}
	}
	if m == nil || m.wrk.noSelect {
		if _, err := t.CreateMailbox(spec); err != nil {
			return Mailbox{}, err
		}
		m = t.a.wfind(name)
	} else if err := t.adjust(m, name, spec); err != nil {
		return Mailbox{}, err
	}
	if uidValidity != 0 && m.wrk.uidValidity != uidValidity {
		t.touch(m).uidValidity = uidValidity
		t.structural = true
		t.a.wrk.nextValidity = max(t.a.wrk.nextValidity, uidValidity)
		t.announce(m.id, MailboxChanged)
		if err := t.saveTree(m); err != nil {
			return Mailbox{}, err
		}
	}
	if uidNext > m.wrk.uidNext {
		t.touch(m).uidNext = uidNext
	}
	return t.describe(m), nil
}

// adjust gives an existing mailbox the special use and subscription of spec.
func (t *Tx) adjust(m *mbox, name string, spec MailboxSpec) error {
	if len(spec.SpecialUse) > 0 {
		if err := t.SetSpecialUse(m.id, spec.SpecialUse); err != nil {
			return err
		}
	}
	if spec.Subscribe && !m.wrk.subscribed {
		return t.Subscribe(name, true)
	}
	return nil
}

// RenameMailbox moves a mailbox and all below it; INBOX: its messages move, it stays (RFC 9051 §6.3.6).
// Subscriptions go along, see moveSubscriptions.
func (t *Tx) RenameMailbox(id MailboxID, to string) error {
	m := t.a.byID(id)
	if m == nil || !m.wrk.live {
		return errNoMailbox
	}
	to, err := NormalName(to)
	if err != nil {
		return err
	}
	if t.a.wfind(to) != nil {
		return &mail.Error{Kind: mail.MailboxExists, Text: "mailbox already exists"}
	}
	from := t.a.path(m, wrkRow)
	if from == Inbox {
		return t.renameInbox(m, to)
	}
	if strings.HasPrefix(to, from+string(Separator)) {
		return badName("a mailbox cannot move below itself")
	}
	if err := t.fits(m, from, to); err != nil {
		return err
	}
	var parent *mbox
	part := to
	if i := strings.LastIndexByte(to, Separator); i >= 0 {
		part = to[i+1:]
		if parent = t.a.wfind(to[:i]); parent == nil {
			if parent, err = t.makePath(to[:i], ""); err != nil {
				return err
			}
		}
	}
	if err := t.relocate(m, parent, part); err != nil {
		return err
	}
	return t.moveSubscriptions(m, from, to)
}

// fits checks that no descendant of m gets a name beyond the limits.
func (t *tx) fits(m *mbox, from, to string) error {
	if m.wrk.kids == 0 || len(to) <= len(from) && strings.Count(to, string(Separator)) <= strings.Count(from, string(Separator)) {
		return nil
	}
	for _, x := range t.a.boxes {
		if !x.wrk.live {
			continue
		}
		if p := t.a.path(x, wrkRow); strings.HasPrefix(p, from+string(Separator)) {
			if _, err := NormalName(to + p[len(from):]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tx) relocate(m, parent *mbox, part string) error {
	before := nameKey{m.wrk.parent, m.wrk.name}
	if old := t.a.byID(m.wrk.parent); old != nil {
		t.touch(old).kids--
	}
	w := t.touch(m)
	w.parent, w.name = 0, unique.Make(part).Value()
	if parent != nil {
		w.parent = parent.id
		t.touch(parent).kids++
	}
	t.rename(m, before)
	t.announce(m.id, MailboxChanged)
	return t.saveTree(m)
}

// renameInbox makes to and moves all messages there; INBOX keeps its id and its children (RFC 8474 §4.2, RFC 9051 §6.3.6).
func (t *Tx) renameInbox(inbox *mbox, to string) error {
	m, err := t.makePath(to, "")
	if err != nil {
		return err
	}
	if inbox.wrk.msgs == 0 {
		return nil
	}
	_, err = t.Move(inbox.id, Range(1, maxUID), m.id)
	return err
}

const sqlDeleteMailbox = `DELETE FROM mailboxes WHERE account_id=? AND mailbox_id=?`

// DeleteMailbox removes a mailbox with its messages; with children it becomes NoSelect. INBOX: kind NoPermission.
// The messages' rows are the reaper's: a mailbox of a million goes as fast as an empty one.
func (t *Tx) DeleteMailbox(id MailboxID) error {
	m := t.a.byID(id)
	if m == nil || !m.wrk.live {
		return errNoMailbox
	}
	if m.wrk.parent == 0 && m.wrk.name == Inbox {
		return &mail.Error{Kind: mail.NoPermission, Text: "INBOX cannot be deleted"}
	}
	if m.wrk.kids > 0 && m.wrk.noSelect {
		return &mail.Error{Kind: mail.NoPermission, Text: "mailbox has children"}
	}
	w := t.touch(m)
	t.a.wrk.usedBytes -= w.bytes
	t.a.wrk.usedMsgs -= int64(w.msgs)
	t.structural = true
	if w.kids > 0 {
		return t.hollow(m, w)
	}
	if err := t.grave(id, nil); err != nil {
		return err
	}
	if p := t.a.byID(w.parent); p != nil {
		t.touch(p).kids--
	}
	w.live = false
	t.a.wrk.mailboxes--
	t.rename(m, nameKey{w.parent, w.name})
	t.announce(id, MailboxDeleted)
	t.event(event{mailbox: id, kind: MailboxDeleted})
	return t.strip(id, sqlDeleteMailbox)
}

// strip removes what hangs on a mailbox that goes, and runs more in the same way.
func (t *Tx) strip(id MailboxID, more ...string) error {
	for _, sql := range append(more, `DELETE FROM acl WHERE account_id=? AND mailbox_id=?`, `DELETE FROM metadata WHERE account_id=? AND mailbox_id=?`) {
		if _, err := t.exec(sql, db.Int(t.a.id), db.Int(id)); err != nil {
			return err
		}
	}
	return nil
}

// hollow turns a mailbox that has children into a mere name: its id stays with the name (children hang on it), so its
// messages are expunged rather than left behind under a dead id.
func (t *Tx) hollow(m *mbox, w *mboxRow) error {
	t.a.wrk.usedBytes += w.bytes // Expunge takes them off
	t.a.wrk.usedMsgs += int64(w.msgs)
	if w.msgs > 0 {
		if _, err := t.Expunge(m.id, Range(1, maxUID), false); err != nil {
			return err
		}
	}
	w.noSelect, w.use = true, ""
	t.announce(m.id, MailboxDeleted)
	t.event(event{mailbox: m.id, kind: MailboxDeleted})
	if err := t.strip(m.id); err != nil {
		return err
	}
	return t.saveTree(m)
}

// SetSpecialUse replaces the special-use attributes.
func (t *Tx) SetSpecialUse(id MailboxID, use []string) error {
	u, err := normalUse(use)
	if err != nil {
		return err
	}
	m, err := t.get(id)
	if err != nil || m.wrk.use == u {
		return err
	}
	t.touch(m).use = unique.Make(u).Value()
	t.announce(id, MailboxChanged)
	return t.saveTree(m)
}
