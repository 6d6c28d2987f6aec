package pop3d

import (
	"context"
	"maps"
	"sort"
	"sync"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
)

// imported is what a move brought along for a message: the unique id that the
// old server gave it, and its place there (house.md §5, law 9).
type imported struct {
	uidl  string
	order int64
}

// imports remembers which messages of an INBOX have such data. They are few or
// none, they never change, and a new one always has a UID above all others
// (mailstore.ImportedMessage), so each is read once in the life of the process,
// not at each login. Messages without cost nothing.
type imports struct {
	mu   sync.Mutex
	seen map[importsKey]*looked
}

type importsKey struct {
	account  mail.AccountID
	mailbox  mailstore.MailboxID
	validity uint32
}

// looked is never changed, only replaced.
type looked struct {
	upto mailstore.UID
	list map[mailstore.UID]imported
}

// Bounds of what is remembered: accounts, and messages of one account. Beyond
// the second, each login reads again.
const (
	maxLooked   = 20000
	maxImported = 20000
)

func (x *imports) init() { x.seen = make(map[importsKey]*looked) }

// of returns the imported data of the drop's messages.
func (x *imports) of(ctx context.Context, box *mailstore.Box, d *maildrop) (map[mailstore.UID]imported, error) {
	k := importsKey{d.login.Account, d.mailbox, d.validity}
	x.mu.Lock()
	known := x.seen[k]
	x.mu.Unlock()
	if known == nil {
		known = new(looked)
	}
	// d.msgs is in the order of UIDs still.
	fresh := d.msgs[sort.Search(len(d.msgs), func(i int) bool { return d.msgs[i].uid > known.upto }):]
	if len(fresh) == 0 {
		return known.list, nil
	}
	now, err := read(ctx, box, fresh[len(fresh)-1].uid, known)
	if err != nil {
		return nil, err
	}
	if len(now.list) <= maxImported {
		x.put(k, now)
	}
	return now.list, nil
}

// read adds to known what came since, up to a UID.
func read(ctx context.Context, box *mailstore.Box, upto mailstore.UID, known *looked) (*looked, error) {
	now := &looked{upto: upto, list: known.list}
	own := false
	for m, err := range box.Imported(ctx, known.upto) {
		if err != nil {
			return nil, err
		}
		if m.UID > upto { // came while we looked: it is of the next session
			continue
		}
		if !own {
			own = true
			if now.list = maps.Clone(known.list); now.list == nil {
				now.list = make(map[mailstore.UID]imported)
			}
		}
		now.list[m.UID] = imported{cleanUIDL(m.UIDL), m.Order}
	}
	return now, nil
}

func (x *imports) put(k importsKey, now *looked) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.seen[k]; old != nil && old.upto >= now.upto {
		return
	}
	for old := range x.seen { // any: map order is random enough
		if len(x.seen) < maxLooked {
			break
		}
		delete(x.seen, old)
	}
	x.seen[k] = now
}
