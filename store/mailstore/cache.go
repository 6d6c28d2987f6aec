package mailstore

import (
	"context"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"unique"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// The cache holds an account's row, mailbox rows and keyword dictionary, so
// that a delivery needs no SELECT and a SELECT of IMAP no disk.
//
// Each row is kept twice. wrk is what the writer has done, perhaps not yet
// committed; only the writer's goroutine touches it, and a later function of
// the same batch sees the earlier one's work. cur is what is durable; readers
// see it under acct.mu, and the committed callback copies into it. A function
// that fails puts the wrk it touched back; one that changed the mailbox tree
// or the dictionary throws the account out of the cache instead.
//
// A transaction that is lost as a whole (disk full, failed commit) leaves wrk
// ahead of the table. Nobody is told of that. It is found out by the statement
// that ends each step, which demands the modseq it began from (see flush).

// maxCachedRows bounds the cache: mailbox rows of all cached accounts, about 350 octets each.
const maxCachedRows = 50_000

// acctRow mirrors a row of accounts.
type acctRow struct {
	epoch                 home.Epoch
	modseq, shape         ModSeq
	nextMailbox           MailboxID
	nextMsg               MessageID
	nextThread            ThreadID
	nextValidity          uint32
	removed               bool
	usedBytes, usedMsgs   int64
	quotaBytes, quotaMsgs int64
	quotaWarn             string
	mailboxes             int
}

// mboxRow mirrors a row of mailboxes.
type mboxRow struct {
	parent                MailboxID
	name, use             string // one component; special uses separated by space
	uidValidity           uint32
	uidNext               UID
	modseq, created       ModSeq
	bytes                 int64
	msgs, unseen, deleted int32
	kids                  int32 // live children; not stored
	live                  bool
	noSelect, subscribed  bool
}

// mbox is a mailbox in the cache.
type mbox struct {
	id       MailboxID
	cur, wrk mboxRow
	touched  uint64 // serial of the update that saved wrk last
}

type nameKey struct {
	parent MailboxID
	name   string
}

// acct is an account in the cache.
type acct struct {
	id         mail.AccountID
	pending    atomic.Int32 // updates run and not yet committed: not to be evicted
	published  bool         // under Store.mu: cur is what is durable
	prev, next *acct        // LRU, under Store.mu
	weight     int

	// Only the writer's goroutine.
	wrk   acctRow
	wkw   []string          // dictionary with uncommitted entries at its end
	wname map[nameKey]*mbox // names not yet committed

	mu    sync.RWMutex
	cur   acctRow
	kw    []string
	boxes []*mbox           // ascending id; with uncommitted and dead ones
	names map[nameKey]*mbox // committed names
}

// byID returns a mailbox, dead or alive; nil if there never was one in the cache.
func (a *acct) byID(id MailboxID) *mbox {
	i := sort.Search(len(a.boxes), func(i int) bool { return a.boxes[i].id >= id })
	if i < len(a.boxes) && a.boxes[i].id == id {
		return a.boxes[i]
	}
	return nil
}

// child finds a child by name as readers see it.
func (a *acct) child(parent MailboxID, name string) *mbox {
	if m := a.names[nameKey{parent, name}]; m != nil && m.cur.live {
		return m
	}
	return nil
}

// wchild finds a child by name as the writer sees it.
func (a *acct) wchild(parent MailboxID, name string) *mbox {
	k := nameKey{parent, name}
	for _, m := range [2]*mbox{a.wname[k], a.names[k]} {
		if m != nil && m.wrk.live && m.wrk.parent == parent && m.wrk.name == name {
			return m
		}
	}
	return nil
}

// path builds the full name of m; row chooses what the caller may see.
func (a *acct) path(m *mbox, row func(*mbox) *mboxRow) string {
	r := row(m)
	if r.parent == 0 {
		return r.name
	}
	parts := []string{r.name}
	for r.parent != 0 && len(parts) <= MaxDepth {
		p := a.byID(r.parent)
		if p == nil {
			break
		}
		r = row(p)
		parts = append(parts, r.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, string(Separator))
}

func curRow(m *mbox) *mboxRow { return &m.cur }
func wrkRow(m *mbox) *mboxRow { return &m.wrk }

// describe makes the public form of a row.
func (r *mboxRow) describe(id MailboxID, path string) Mailbox {
	m := Mailbox{ID: id, Parent: r.parent, Name: path, UIDValidity: r.uidValidity, UIDNext: r.uidNext, ModSeq: r.modseq,
		Created: r.created, Messages: int(r.msgs), Unseen: int(r.unseen), Deleted: int(r.deleted), Bytes: r.bytes,
		Subscribed: r.subscribed, HasChildren: r.kids > 0, NoSelect: r.noSelect}
	if r.use != "" {
		m.SpecialUse = strings.Fields(r.use)
	}
	return m
}

const (
	sqlAccount = `SELECT epoch, modseq, next_mailbox, next_msg, next_thread, uidvalidity_next, used_bytes, used_msgs,
		quota_bytes, quota_msgs, quota_warn, removed, shape, log_floor FROM accounts WHERE account_id=?`
	sqlMailboxes = `SELECT mailbox_id, parent_id, name, special_use, noselect, uidvalidity, created, uidnext, modseq,
		msgs, unseen, deleted, bytes FROM mailboxes WHERE account_id=? ORDER BY mailbox_id`
	sqlKeywords      = `SELECT name FROM keywords WHERE account_id=? ORDER BY kw_id`
	sqlSubscriptions = `SELECT name FROM subscriptions WHERE account_id=? ORDER BY name`
)

// loadAcct reads an account as the writer sees it now.
func loadAcct(c *db.Conn, id mail.AccountID) (*acct, error) {
	w, _, err := scanAccount(c.Row(sqlAccount, db.Int(id)))
	if err != nil {
		return nil, err
	}
	return loadTree(c, id, w)
}

// scanAccount reads a row of accounts. log_floor is apart: it rises without a step.
func scanAccount(r *db.Row) (w acctRow, floor ModSeq, err error) {
	found, err := r.Scan(&w.epoch, &w.modseq, &w.nextMailbox, &w.nextMsg, &w.nextThread, &w.nextValidity, &w.usedBytes,
		&w.usedMsgs, &w.quotaBytes, &w.quotaMsgs, &w.quotaWarn, &w.removed, &w.shape, &floor)
	if err == nil && (!found || w.removed) {
		err = errNoAccount
	}
	return w, floor, err
}

// loadTree reads what belongs to the account of row w.
func loadTree(c *db.Conn, id mail.AccountID, w acctRow) (*acct, error) {
	a := &acct{id: id, wrk: w}
	for r, err := range c.Rows(sqlMailboxes, db.Int(id)) {
		if err != nil {
			return nil, err
		}
		m := &mbox{id: MailboxID(r.Int(0))}
		m.wrk = mboxRow{parent: MailboxID(r.Int(1)), name: unique.Make(r.Text(2)).Value(), use: unique.Make(r.Text(3)).Value(),
			noSelect: r.Int(4) != 0, uidValidity: uint32(r.Int(5)), created: ModSeq(r.Int(6)), uidNext: UID(r.Int(7)),
			modseq: ModSeq(r.Int(8)), msgs: int32(r.Int(9)), unseen: int32(r.Int(10)), deleted: int32(r.Int(11)),
			bytes: r.Int(12), live: true}
		a.boxes = append(a.boxes, m)
	}
	for r, err := range c.Rows(sqlKeywords, db.Int(id)) {
		if err != nil {
			return nil, err
		}
		a.wkw = append(a.wkw, r.Text(0))
	}
	a.link()
	return a, a.markSubscribed(c)
}

// link builds the name index and the counts that are not stored, and makes cur equal to wrk.
func (a *acct) link() {
	a.names = make(map[nameKey]*mbox, len(a.boxes))
	for _, m := range a.boxes {
		a.names[nameKey{m.wrk.parent, m.wrk.name}] = m
		if p := a.byID(m.wrk.parent); p != nil {
			p.wrk.kids++
		}
	}
	a.wrk.mailboxes = len(a.boxes)
	a.weight = len(a.boxes) + 4
}

func (a *acct) markSubscribed(c *db.Conn) error {
	for r, err := range c.Rows(sqlSubscriptions, db.Int(a.id)) {
		if err != nil {
			return err
		}
		if m := a.wfind(r.Text(0)); m != nil {
			m.wrk.subscribed = true
		}
	}
	for _, m := range a.boxes {
		m.cur = m.wrk
	}
	a.cur, a.kw = a.wrk, a.wkw
	return nil
}

// wfind walks a normalised path as the writer sees it.
func (a *acct) wfind(path string) *mbox { return walk(path, a.wchild) }

func walk(path string, child func(MailboxID, string) *mbox) *mbox {
	var m *mbox
	var at MailboxID
	for part := range strings.SplitSeq(path, string(Separator)) {
		if m = child(at, part); m == nil {
			return nil
		}
		at = m.id
	}
	return m
}

var (
	errNoAccount = &mail.Error{Kind: mail.NoSuchAccount, Text: "no such account"}
	errNoMailbox = &mail.Error{Kind: mail.NoSuchMailbox, Text: "no such mailbox"}
	errNoMessage = &mail.Error{Kind: mail.NoSuchMessage, Text: "no such message"}
)

// cache is the LRU of accounts.
type cache struct {
	mu           sync.Mutex
	accts        map[mail.AccountID]*acct
	lru          acct // ring; next is the one used last
	weight       int
	max          int
	hits, misses atomic.Int64
}

func (c *cache) init(limit int) {
	c.accts = make(map[mail.AccountID]*acct)
	c.lru.prev, c.lru.next = &c.lru, &c.lru
	c.max = limit
}

// get returns a for readers: only what is published.
func (c *cache) get(id mail.AccountID) *acct {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.accts[id]
	if a == nil || !a.published {
		c.misses.Add(1)
		return nil
	}
	c.hits.Add(1)
	if c.lru.next != a {
		a.unlink()
		c.front(a)
	}
	return a
}

// peek returns a for the writer, published or not.
func (c *cache) peek(id mail.AccountID) *acct {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accts[id]
}

// put puts a in place of what was there, unpublished.
func (c *cache) put(a *acct) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.accts[a.id]; old != nil {
		c.remove(old)
	}
	c.accts[a.id] = a
	c.front(a)
	c.weight += a.weight
	for x := c.lru.prev; c.weight > c.max && x != &c.lru; {
		prev := x.prev
		if x != a && x.pending.Load() == 0 {
			c.remove(x)
		}
		x = prev
	}
}

// publish lets readers see a, if it is still the one in use.
func (c *cache) publish(a *acct) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accts[a.id] == a {
		a.published = true
	}
}

// current reports whether a is what readers get now.
func (c *cache) current(a *acct) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return a.published && c.accts[a.id] == a
}

// drop forgets a; who needs the account next reads it anew.
func (c *cache) drop(a *acct) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accts[a.id] == a {
		c.remove(a)
	}
}

func (c *cache) remove(a *acct) {
	delete(c.accts, a.id)
	a.unlink()
	c.weight -= a.weight
}

func (c *cache) front(a *acct) {
	a.prev, a.next = &c.lru, c.lru.next
	a.prev.next, a.next.prev = a, a
}

func (a *acct) unlink() {
	a.prev.next, a.next.prev = a.next, a.prev
	a.prev, a.next = nil, nil
}

// account returns the cached account for reading. It is loaded by way of the
// writer, so that no commit can slip between the reading and the cache.
func (s *Store) account(ctx context.Context, id mail.AccountID) (*acct, error) {
	if s.shared {
		return s.followed(ctx, id)
	}
	if a := s.cache.get(id); a != nil {
		return a, nil
	}
	var a *acct
	err := s.db.Update(ctx, func(t *db.Tx) error {
		if a = s.cache.peek(id); a != nil && a.published {
			return nil
		}
		var err error
		if a, err = loadAcct(&t.Conn, id); err == nil {
			s.cache.put(a)
		}
		return err
	}, func() { s.cache.publish(a) })
	if err != nil {
		return nil, err
	}
	return a, nil
}

// writerAccount returns the account for the writer's goroutine.
func (s *Store) writerAccount(c *db.Tx, id mail.AccountID) (*acct, error) {
	if s.shared {
		return s.hold(c, id)
	}
	if a := s.cache.peek(id); a != nil {
		return a, nil
	}
	a, err := loadAcct(&c.Conn, id)
	if err == nil {
		s.cache.put(a)
	}
	return a, err
}
