package mailstore

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
)

// Config has a working zero value; the default is in brackets.
type Config struct {
	InlineMax       int           // stored octets kept in the row, larger go to blob [4096; 65536 where nodes share a database]
	Compression     string        // "auto": zstd where it pays, "off" [auto]
	ExpungeHistory  time.Duration // QRESYNC and Watch history [60 days]
	IndexMemory     int64         // octets of unused mailbox indexes kept warm [16 MiB]
	SystemMailboxes []MailboxSpec // made with each account [Drafts Sent Junk Trash Archive]

	IndexIdle    time.Duration // an open mailbox nobody looked into for so long gives its rows back [2 min]
	ReapEvery    time.Duration // pause of the reaper when it has nothing to do [1 min]; expunges wake it
	TrimEvery    time.Duration // between two trims of history and deliveries' keys [1 h]
	CompactEvery time.Duration // between two compactions of bodies [1 h]
	SweepEvery   time.Duration // between two searches for bodies without a row [24 h]
	BlobGrace    time.Duration // from a body's last row to its end: readers finish [1 min; 10 min where nodes share a database, as another may be delivering it; negative: none]
	Log          *slog.Logger  // background work that failed [none]
	IndexDelay   time.Duration // from a message's arrival until it is indexed: what comes together costs less [5 s]
	SearchMemory int64         // octets of unpacked search index kept for the next searches [32 MiB]
	CacheRows    int           // mailbox rows of cached accounts, about 350 octets each [50000]
	Patience     time.Duration // where nodes share a database: how long who is Patient waits for one that is away [15 s]
	PollEvery    time.Duration // where nodes share a database: between two looks for what others did that no hint told of [30 s]

	deaf bool // tests only: hints are lost
}

const (
	defaultInlineMax      = 4096
	defaultBlobGrace      = time.Minute
	sharedInlineMax       = 64 << 10 // up to there a row in PostgreSQL costs less than an object beside it
	sharedBlobGrace       = 10 * time.Minute
	defaultExpungeHistory = 60 * 24 * time.Hour
	defaultIndexMemory    = 16 << 20
)

func (c Config) withDefaults(shared bool) Config {
	inline, grace := defaultInlineMax, defaultBlobGrace
	if shared {
		inline, grace = sharedInlineMax, sharedBlobGrace
	}
	c.InlineMax = cmp.Or(c.InlineMax, inline)
	c.BlobGrace = cmp.Or(c.BlobGrace, grace)
	c.Compression = cmp.Or(c.Compression, "auto")
	c.ExpungeHistory = cmp.Or(c.ExpungeHistory, defaultExpungeHistory)
	c.IndexMemory = cmp.Or(c.IndexMemory, defaultIndexMemory)
	c.IndexIdle = cmp.Or(c.IndexIdle, 2*time.Minute)
	c.ReapEvery = cmp.Or(c.ReapEvery, time.Minute)
	c.TrimEvery = cmp.Or(c.TrimEvery, time.Hour)
	c.CompactEvery = cmp.Or(c.CompactEvery, time.Hour)
	c.SweepEvery = cmp.Or(c.SweepEvery, 24*time.Hour)
	c.CacheRows = cmp.Or(c.CacheRows, maxCachedRows)
	c.Patience = cmp.Or(c.Patience, 15*time.Second)
	c.PollEvery = cmp.Or(c.PollEvery, pollEvery)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.SystemMailboxes == nil {
		c.SystemMailboxes = []MailboxSpec{
			{Name: "Drafts", SpecialUse: []string{`\Drafts`}, Subscribe: true},
			{Name: "Sent", SpecialUse: []string{`\Sent`}, Subscribe: true},
			{Name: "Junk", SpecialUse: []string{`\Junk`}, Subscribe: true},
			{Name: "Trash", SpecialUse: []string{`\Trash`}, Subscribe: true},
			{Name: "Archive", SpecialUse: []string{`\Archive`}, Subscribe: true},
		}
	}
	return c
}

// MailboxSpec is a mailbox to make.
type MailboxSpec struct {
	Name       string
	SpecialUse []string
	Subscribe  bool
}

// Store is the mail store of one cell.
type Store struct {
	db     *db.DB
	blobs  blob.Store
	cfg    Config
	shared bool // other nodes write to the database

	serial   uint64 // of updates; writer's goroutine
	nextBody atomic.Int64
	unsure   unsure // writer's goroutine
	cache    cache
	follows  follows
	boxes    boxes
	watchers watchers
	recents  recents
	bodies   bodies
	reaper   reaper
	threads  threads
	stats    counters
	search   search
}

// New migrates the schema and returns the store. Run must run beside it.
func New(ctx context.Context, d *db.DB, bodies blob.Store, cfg Config) (*Store, error) {
	s := &Store{db: d, blobs: bodies, cfg: cfg.withDefaults(d.Shared()), shared: d.Shared()}
	s.cache.init(s.cfg.CacheRows)
	s.follows.init()
	if s.shared && !cfg.deaf {
		d.OnHint(s.heard, s.missed)
	}
	s.boxes.init(s.cfg.IndexMemory)
	s.watchers.init()
	s.recents.init()
	s.bodies.init()
	s.reaper.init()
	s.threads.init()
	if err := d.Migrate(ctx, "mailstore", steps); err != nil {
		return nil, err
	}
	if err := s.countBodies(ctx); err != nil {
		return nil, fmt.Errorf("mailstore: open: %w", err)
	}
	return s, s.search.init(ctx, s)
}

// Account returns counters and limits. Unknown: kind NoSuchAccount.
func (s *Store) Account(ctx context.Context, a mail.AccountID) (Account, error) {
	acc, err := s.account(ctx, a)
	if err != nil {
		return Account{}, err
	}
	acc.mu.RLock()
	defer acc.mu.RUnlock()
	return acc.cur.describe(a), nil
}

// Mailboxes yields all mailboxes of a in hierarchical name order (INBOX first), with counters.
func (s *Store) Mailboxes(ctx context.Context, a mail.AccountID) ([]Mailbox, error) {
	acc, err := s.account(ctx, a)
	if err != nil {
		return nil, err
	}
	acc.mu.RLock()
	out := make([]Mailbox, 0, len(acc.boxes))
	for _, m := range acc.boxes {
		if m.cur.live {
			out = append(out, m.cur.describe(m.id, acc.path(m, curRow)))
		}
	}
	acc.mu.RUnlock()
	slices.SortFunc(out, func(x, y Mailbox) int { return compareNames(x.Name, y.Name) })
	return out, nil
}

// MailboxByName finds a mailbox; any case of INBOX is INBOX. Not there: kind NoSuchMailbox.
func (s *Store) MailboxByName(ctx context.Context, a mail.AccountID, name string) (Mailbox, error) {
	acc, err := s.account(ctx, a)
	if err != nil {
		return Mailbox{}, err
	}
	m, err := acc.lookup(name)
	if err == nil && m == nil {
		if name, err = NormalName(name); err != nil {
			return Mailbox{}, err
		}
		if m, err = acc.lookup(name); err == nil && m == nil {
			err = errNoMailbox
		}
	}
	if err != nil {
		return Mailbox{}, err
	}
	return *m, nil
}

// lookup walks a normalised path as readers see it; nil if there is none.
func (a *acct) lookup(path string) (*Mailbox, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	m := walk(path, a.child)
	if m == nil {
		return nil, nil
	}
	d := m.cur.describe(m.id, path)
	return &d, nil
}

// MailboxByID finds a mailbox.
func (s *Store) MailboxByID(ctx context.Context, a mail.AccountID, id MailboxID) (Mailbox, error) {
	acc, err := s.account(ctx, a)
	if err != nil {
		return Mailbox{}, err
	}
	acc.mu.RLock()
	defer acc.mu.RUnlock()
	m := acc.byID(id)
	if m == nil || !m.cur.live {
		return Mailbox{}, errNoMailbox
	}
	return m.cur.describe(id, acc.path(m, curRow)), nil
}

// Subscriptions lists subscribed names, also of mailboxes that are not there (RFC 9051 §6.3.7).
func (s *Store) Subscriptions(ctx context.Context, a mail.AccountID) ([]string, error) {
	if _, err := s.account(ctx, a); err != nil {
		return nil, err
	}
	var out []string
	err := s.view(ctx, func(c *db.Conn) error {
		out = nil
		for r, err := range c.Rows(sqlSubscriptions, db.Int(a)) {
			if err != nil {
				return err
			}
			out = append(out, r.Text(0))
		}
		return nil
	})
	slices.SortFunc(out, compareNames)
	return out, err
}

// Keywords returns the account's keyword dictionary, index = KeywordID. Shared, read-only, append-only.
func (s *Store) Keywords(ctx context.Context, a mail.AccountID) ([]string, error) {
	acc, err := s.account(ctx, a)
	if err != nil {
		return nil, err
	}
	acc.mu.RLock()
	defer acc.mu.RUnlock()
	return acc.kw[:len(acc.kw):len(acc.kw)], nil
}

// CreateAccount makes an account with INBOX and the system mailboxes. A second call is a no-op.
func (s *Store) CreateAccount(ctx context.Context, a mail.AccountID, epoch home.Epoch, q Quota) error {
	if a <= 0 || a > maxAccountID {
		return &mail.Error{Kind: mail.BadInput, Text: "account number is out of range"}
	}
	var there bool
	err := s.db.Update(ctx, func(t *db.Tx) error {
		var removed int
		found, err := t.Lock(`SELECT removed FROM accounts WHERE account_id=?`, db.Int(a)).Scan(&removed)
		if err != nil {
			return err
		}
		s.unsure.add(t, a)
		if there = found; removed != 0 {
			return &mail.Error{Kind: mail.Unavailable, Text: "account is being removed"}
		}
		if there {
			return nil
		}
		_, err = t.Exec(`INSERT INTO accounts (account_id, epoch, modseq, next_mailbox, next_msg, next_thread, uidvalidity_next,
			used_bytes, used_msgs, quota_bytes, quota_msgs, quota_warn, log_floor, removed) VALUES (?,?,0,1,1,1,0,0,0,?,?,?,0,0)`,
			db.Int(a), db.Int(epoch), db.Int(q.Bytes), db.Int(q.Messages), db.Text(formatWarn(q.Warn)))
		return err
	}, nil)
	if err != nil {
		return said(err)
	}
	return s.furnish(ctx, a)
}

// maxAccountID leaves room for the message below it in the key of messages.
const maxAccountID = 1<<31 - 1

// furnish makes the mailboxes of a new account. A crash before it leaves a bare account; the second call of CreateAccount goes on.
func (s *Store) furnish(ctx context.Context, a mail.AccountID) error {
	acc, err := s.Account(ctx, a)
	if err != nil || acc.ModSeq > 0 {
		return err
	}
	return s.Update(ctx, Ticket{a, acc.Epoch}, func(t *Tx) error {
		if t.a.wrk.modseq > 0 {
			return nil
		}
		for _, spec := range append([]MailboxSpec{{Name: Inbox, Subscribe: true}}, s.cfg.SystemMailboxes...) {
			if _, err := t.CreateMailbox(spec); err != nil && mail.KindOf(err) != mail.MailboxExists {
				return err
			}
		}
		return nil
	})
}

// SetQuota changes limits. What is over them stays.
func (s *Store) SetQuota(ctx context.Context, a mail.AccountID, q Quota) error {
	return s.administer(ctx, a, func(t *Tx) error {
		w := &t.a.wrk
		w.quotaBytes, w.quotaMsgs, w.quotaWarn = q.Bytes, q.Messages, formatWarn(q.Warn)
		_, err := t.exec(`UPDATE accounts SET quota_bytes=?2, quota_msgs=?3, quota_warn=?4 WHERE account_id=?1`,
			db.Int(a), db.Int(q.Bytes), db.Int(q.Messages), db.Text(w.quotaWarn))
		return err
	})
}

// SetEpoch raises the epoch of a and fences older tickets from its commit on; lowering is refused with kind Conflict.
func (s *Store) SetEpoch(ctx context.Context, a mail.AccountID, e home.Epoch) error {
	return s.administer(ctx, a, func(t *Tx) error {
		if e < t.a.wrk.epoch {
			return &mail.Error{Kind: mail.Conflict, Text: "account has a later epoch already"}
		}
		t.a.wrk.epoch = e
		_, err := t.exec(`UPDATE accounts SET epoch=?2 WHERE account_id=?1`, db.Int(a), db.Int(e))
		return err
	})
}

// administer is Update by the cell itself, whatever the epoch.
func (s *Store) administer(ctx context.Context, a mail.AccountID, fn func(*Tx) error) error {
	return s.Update(ctx, Ticket{a, 1<<63 - 1}, func(t *Tx) error {
		if err := fn(t); err != nil {
			return err
		}
		t.announce(0, AccountChanged)
		return nil
	})
}

// Problem is something Check found.
type Problem struct {
	Account mail.AccountID
	Mailbox MailboxID
	UID     UID
	Text    string
	Fatal   bool // data lost or wrong, not only waste
	Note    bool // no fault: it goes by itself
}

// CheckOptions chooses how deep Check looks.
type CheckOptions struct {
	Bodies   bool // read and hash every body
	Progress func(done, total int64)
}
