package directory

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"bahnpost/home"
	"bahnpost/mail"
)

// entry is all that is known of an account. It is never changed, only replaced.
type entry struct {
	acct  Account
	cred  credential
	place home.Placement
}

// cache mirrors a part of the tables. Readers remember the era before they
// read and store only if it is still the same: what was read before a commit
// can't enter after it. Commits bump the era and drop what they changed.
type cache struct {
	size    int
	mu      sync.RWMutex
	era     uint64
	id      map[mail.AccountID]*entry
	addr    map[string]*entry // by key()
	routes  map[mail.Address]Resolution
	hear    []func(mail.AccountID)
	domains atomic.Pointer[map[string]bool] // all of them; replaced by each change
}

func (c *cache) init(size int) {
	c.size = size
	c.id = make(map[mail.AccountID]*entry)
	c.addr = make(map[string]*entry)
	c.routes = make(map[mail.Address]Resolution)
	c.domains.Store(&map[string]bool{})
}

func (c *cache) onChange(fn func(mail.AccountID)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hear = append(c.hear, fn)
}

func (c *cache) byID(id mail.AccountID) (*entry, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.id[id], c.era
}

func (c *cache) byKey(k string) (*entry, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.addr[k], c.era
}

func (c *cache) route(a mail.Address) (Resolution, uint64, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r, ok := c.routes[a]
	return r, c.era, ok
}

// roomy reports whether what may never be asked for would put nobody out.
func (c *cache) roomy() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.id)+readAhead < c.size/2
}

func (c *cache) put(e *entry, era uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.era != era {
		return
	}
	for id, old := range c.id { // any: map order is random enough
		if len(c.id) < c.size {
			break
		}
		delete(c.id, id)
		delete(c.addr, key(old.acct.Address))
	}
	// Another node may have changed the address: who read before that and who reads after it are of one era here.
	if old := c.id[e.acct.ID]; old != nil {
		delete(c.addr, key(old.acct.Address))
	}
	c.id[e.acct.ID] = e
	c.addr[key(e.acct.Address)] = e
}

func (c *cache) putRoute(a mail.Address, r Resolution, era uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.era != era {
		return
	}
	for old := range c.routes {
		if len(c.routes) < c.size {
			break
		}
		delete(c.routes, old)
	}
	c.routes[a] = r
}

// changed is called after a commit that touched accounts. routes: addresses may
// now resolve otherwise. tell: those who listen must hear.
func (c *cache) changed(routes, tell bool, ids ...mail.AccountID) {
	c.mu.Lock()
	c.era++
	for _, id := range ids {
		if e := c.id[id]; e != nil {
			delete(c.id, id)
			delete(c.addr, key(e.acct.Address))
		}
	}
	if routes {
		clear(c.routes)
	}
	hear := c.hear
	c.mu.Unlock()
	if !tell {
		return
	}
	for _, fn := range hear {
		for _, id := range ids {
			fn(id)
		}
	}
}

// forget drops everything: nobody knows what has changed.
func (c *cache) forget() {
	c.mu.Lock()
	c.era++
	clear(c.id)
	clear(c.addr)
	clear(c.routes)
	hear := c.hear
	c.mu.Unlock()
	for _, fn := range hear {
		fn(0)
	}
}

// domain adds or removes one of our domains after the commit. The era ends after it:
// who saw the old set must not fill the new era's cache.
func (c *cache) domain(name string, ours bool) {
	m := maps.Clone(*c.domains.Load())
	if ours {
		m[name] = true
	} else {
		delete(m, name)
	}
	c.domains.Store(&m)
}

func (d *directory) isLocal(domain string) bool { return (*d.cache.domains.Load())[domain] }

func (d *directory) listDomains() []string { return slices.Sorted(maps.Keys(*d.cache.domains.Load())) }

// onlyDomain is the domain of a one-domain system.
func (d *directory) onlyDomain() (string, bool) {
	m := *d.cache.domains.Load()
	if len(m) != 1 {
		return "", false
	}
	for name := range m {
		return name, true
	}
	return "", false
}
