package mailstore

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db/dbtest"
)

// The metamorphic test: random operations by several sessions, done on the
// store and on a model in memory that is too simple to be wrong; each session
// keeps, like a client, a list of what it was told, and must end with the truth.

var modelSeed = flag.Int64("model.seed", 0, "seed of the metamorphic test (0: by the clock)")
var modelSteps = flag.Int("model.steps", 1500, "steps of the metamorphic test")

type modelMsg struct {
	uid   UID
	text  string
	flags Flags
	kw    map[string]bool
}

func (m *modelMsg) String() string {
	return fmt.Sprintf("%d:%v:%v", m.uid, m.flags, slices.Sorted(maps.Keys(m.kw)))
}

type modelBox struct {
	id   MailboxID
	next UID
	msgs []*modelMsg
}

func (b *modelBox) pick(set UIDSet) (out []*modelMsg) {
	for _, m := range b.msgs {
		if set.Contains(m.uid) {
			out = append(out, m)
		}
	}
	return out
}

func (b *modelBox) drop(set UIDSet) {
	b.msgs = slices.DeleteFunc(b.msgs, func(m *modelMsg) bool { return set.Contains(m.uid) })
}

func (b *modelBox) add(text string, f Flags, kw map[string]bool) UID {
	b.msgs = append(b.msgs, &modelMsg{b.next, text, f, maps.Clone(kw)})
	b.next++
	return b.next - 1
}

// client is a session's memory: what it has been told.
type client struct {
	name string
	node *site
	box  *Box
	view *View
	uids []UID          // by sequence number
	said map[UID]string // flags as told
}

type world struct {
	*site   // the node that the running step is on
	nodes   []*site
	rnd     *rand.Rand
	tk      Ticket
	model   map[string]*modelBox
	clients []*client
	script  []string
	texts   int

	smallRing int
}

func (w *world) logf(format string, args ...any) {
	w.script = append(w.script, fmt.Sprintf(format, args...))
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	tail := w.script[max(0, len(w.script)-40):]
	w.t.Fatalf("%s\nlast steps of %d:\n%s", fmt.Sprintf(format, args...), len(w.script), strings.Join(tail, "\n"))
}

var modelKeywords = func() []string {
	out := []string{"$Junk", "$Forwarded", "work"}
	for i := range 70 {
		out = append(out, fmt.Sprintf("kw%d", i))
	}
	return out
}()

// randomSet makes a set over what b may hold, sometimes with holes and beyond.
func (w *world) randomSet(b *modelBox) UIDSet {
	var s UIDSet
	switch w.rnd.IntN(4) {
	case 0:
		return Range(1, maxUID)
	case 1:
		if len(b.msgs) > 0 {
			return UIDs(b.msgs[w.rnd.IntN(len(b.msgs))].uid)
		}
	}
	for range 1 + w.rnd.IntN(4) {
		lo := UID(1 + w.rnd.IntN(int(b.next)+1))
		s.AddRange(lo, lo+UID(w.rnd.IntN(4)))
	}
	return s
}

func (w *world) randomKeywords() (list []string, set map[string]bool) {
	set = make(map[string]bool)
	for range w.rnd.IntN(3) {
		k := modelKeywords[w.rnd.IntN(len(modelKeywords))]
		if !set[k] {
			list = append(list, k)
		}
		set[k] = true
	}
	return list, set
}

func (w *world) anyBox() (string, *modelBox) {
	names := slices.Sorted(maps.Keys(w.model))
	n := names[w.rnd.IntN(len(names))]
	return n, w.model[n]
}

func (w *world) step() {
	type op struct {
		weight int
		fn     func()
	}
	w.site = w.nodes[w.rnd.IntN(len(w.nodes))]
	ops := []op{{20, w.opAppend}, {20, w.opStore}, {8, w.opExpunge}, {6, w.opCopy}, {4, w.opMove}, {2, w.opTree}, {30, w.opSync},
		{6, w.opSelect}, {6, w.opMap}, {1, w.opCold}, {2, w.opFail}, {2, w.opReap}, {4, w.opDouble}}
	total := 0
	for _, o := range ops {
		total += o.weight
	}
	n := w.rnd.IntN(total)
	for _, o := range ops {
		if n -= o.weight; n < 0 {
			o.fn()
			return
		}
	}
}

func (w *world) opAppend() {
	name, b := w.anyBox()
	kw, set := w.randomKeywords()
	f := Flags(w.rnd.IntN(32)) & SystemFlags
	w.texts++
	txt := big(w.texts, w.rnd.IntN(3)*6000)
	a := w.append(w.tk, b.id, txt, f, kw...)
	uid := b.add(txt, f, set)
	w.logf("append %s -> %d %v %v", name, uid, f, kw)
	if a.UID != uid {
		w.fatalf("uid %d, model %d", a.UID, uid)
	}
}

func (w *world) opStore() {
	name, b := w.anyBox()
	set, op := w.randomSet(b), FlagOp(w.rnd.IntN(3))
	f := Flags(w.rnd.IntN(32)) & SystemFlags
	kw, kws := w.randomKeywords()
	var res StoreResult
	w.logf("store %s %v op %d %v %v", name, set, op, f, kw)
	w.must(w.tk, func(t *Tx) (err error) {
		res, err = t.StoreFlags(b.id, set, op, f, kw, false, 0)
		return err
	})
	var changed UIDSet
	for _, m := range b.pick(set) {
		before := m.String()
		switch op {
		case SetFlags:
			m.flags, m.kw = f, maps.Clone(kws)
		case AddFlags:
			m.flags |= f
			maps.Copy(m.kw, kws)
		case RemoveFlags:
			m.flags &^= f
			for k := range kws {
				delete(m.kw, k)
			}
		}
		if m.String() != before {
			changed.Add(m.uid)
		}
	}
	if !changed.Equal(res.Changed) {
		w.fatalf("changed %v, model %v", res.Changed, changed)
	}
}

func (w *world) opExpunge() {
	name, b := w.anyBox()
	set := w.randomSet(b)
	only := w.rnd.IntN(4) > 0
	var got, want UIDSet
	w.logf("expunge %s %v %v", name, set, only)
	w.must(w.tk, func(t *Tx) (err error) { got, err = t.Expunge(b.id, set, only); return err })
	for _, m := range b.pick(set) {
		if !only || m.flags&Deleted != 0 {
			want.Add(m.uid)
		}
	}
	b.drop(want)
	if !got.Equal(want) {
		w.fatalf("expunged %v, model %v", got, want)
	}
}

func (w *world) opCopy() { w.transfer(false) }
func (w *world) opMove() { w.transfer(true) }

func (w *world) transfer(move bool) {
	sn, src := w.anyBox()
	dn, dst := w.anyBox()
	set := w.randomSet(src)
	if len(src.pick(set)) > 60 && !move {
		return // keep it small
	}
	var c Copied
	w.logf("transfer %s %v -> %s move %v", sn, set, dn, move)
	w.must(w.tk, func(t *Tx) (err error) {
		if move {
			c, err = t.Move(src.id, set, dst.id)
		} else {
			c, err = t.Copy(src.id, set, dst.id)
		}
		return err
	})
	var from, to UIDSet
	picked := src.pick(set)
	if move {
		src.drop(set)
	}
	for _, m := range picked {
		from.Add(m.uid)
		to.Add(dst.add(m.text, m.flags, m.kw))
	}
	if !c.Src.Equal(from) || !c.Dst.Equal(to) {
		w.fatalf("copied %v -> %v, model %v -> %v", c.Src, c.Dst, from, to)
	}
}

// opTree creates, renames and deletes below "t".
func (w *world) opTree() {
	name := fmt.Sprintf("t%d", w.rnd.IntN(4))
	b := w.model[name]
	switch {
	case b == nil:
		w.logf("create %s", name)
		w.must(w.tk, func(t *Tx) error { _, err := t.CreateMailbox(MailboxSpec{Name: name}); return err })
		w.model[name] = &modelBox{id: w.box(w.tk.Account, name).ID, next: 1}
	case w.rnd.IntN(2) == 0:
		w.logf("delete %s", name)
		w.must(w.tk, func(t *Tx) error { return t.DeleteMailbox(b.id) })
		delete(w.model, name)
	default:
		to := fmt.Sprintf("t%d", w.rnd.IntN(4))
		err := w.Update(context.Background(), w.tk, func(t *Tx) error { return t.RenameMailbox(b.id, to) })
		w.logf("rename %s %s: %v", name, to, err)
		if exists := w.model[to] != nil; exists != (err != nil) {
			w.fatalf("rename: %v", err)
		} else if !exists {
			w.model[to] = b
			delete(w.model, name)
		}
	}
}

// opFail does things and then fails: nothing may stay.
func (w *world) opFail() {
	_, b := w.anyBox()
	x := w.body(text(1))
	defer x.Release()
	w.logf("fail")
	boom, tree := error(&mail.Error{Kind: mail.Policy, Text: "boom"}), w.rnd.IntN(2) == 0
	if w.rnd.IntN(3) == 0 {
		boom = fmt.Errorf("boom")
	}
	err := w.Update(context.Background(), w.tk, func(t *Tx) error {
		for range 2 {
			if _, err := t.Append(b.id, NewMessage{Body: x}); err != nil {
				return err
			}
		}
		if !tree {
			return boom
		}
		if _, err := t.Append(b.id, NewMessage{Body: x, Keywords: []string{"new"}}); err != nil {
			return err
		}
		if _, err := t.StoreFlags(b.id, Range(1, maxUID), AddFlags, Seen, nil, false, 0); err != nil {
			return err
		}
		if _, err := t.CreateMailbox(MailboxSpec{Name: "gone/again"}); err != nil {
			return err
		}
		if _, err := t.Expunge(b.id, Range(1, maxUID), false); err != nil {
			return err
		}
		return boom
	})
	if err != boom {
		w.fatalf("err %v", err)
	}
}

// opDouble does two things to one mailbox in one step.
func (w *world) opDouble() {
	name, b := w.anyBox()
	if len(b.msgs) == 0 {
		return
	}
	m := b.msgs[w.rnd.IntN(len(b.msgs))]
	x := w.body(text(7))
	defer x.Release()
	w.logf("double %s: append, flag all, expunge %d", name, m.uid)
	w.must(w.tk, func(t *Tx) error {
		if _, err := t.Append(b.id, NewMessage{Body: x}); err != nil {
			return err
		}
		if _, err := t.StoreFlags(b.id, Range(1, maxUID), AddFlags, Flagged, nil, false, 0); err != nil {
			return err
		}
		_, err := t.Expunge(b.id, UIDs(m.uid), false)
		return err
	})
	b.add(text(7), 0, map[string]bool{})
	for _, m := range b.msgs {
		m.flags |= Flagged
	}
	b.drop(UIDs(m.uid))
}

func (w *world) opReap() {
	w.logf("reap")
	for {
		n, err := w.reap(context.Background())
		if err != nil {
			w.fatalf("reap: %v", err)
		}
		if n == 0 {
			break
		}
	}
	if err := w.deleteBlobs(context.Background()); err != nil {
		w.fatalf("blobs: %v", err)
	}
}

// opCold throws rows and accounts out of memory, or restarts.
func (w *world) opCold() {
	switch w.rnd.IntN(3) {
	case 0:
		w.logf("reopen")
		for _, c := range w.clients {
			if c.node == w.site {
				c.leave()
			}
		}
		if !w.guest && len(w.nodes) > 1 {
			return // the others read bodies by its leave
		}
		w.reopen()
		if w.smallRing > 0 {
			w.boxes.ring = w.smallRing
		}
	case 1:
		w.logf("unload")
		for _, c := range w.clients {
			if c.box != nil {
				c.box.unload()
			}
		}
	case 2:
		w.logf("forget account")
		if a := w.cache.peek(w.tk.Account); a != nil {
			w.cache.drop(a)
		}
	}
}

func (c *client) leave() {
	if c.box != nil {
		c.box.Close()
	}
	c.box, c.view = nil, nil
}

func (w *world) opSelect() {
	c := w.clients[w.rnd.IntN(len(w.clients))]
	c.leave()
	c.node = w.site
	w.hear()
	name, b := w.anyBox()
	w.logf("%s: select %s", c.name, name)
	box, err := w.OpenBox(context.Background(), w.tk.Account, b.id)
	if err != nil {
		w.fatalf("open: %v", err)
	}
	c.box, c.view = box, box.NewView()
	if c.view.Count() != len(b.msgs) || c.view.UIDNext() != b.next {
		w.fatalf("view has %d, uidnext %d; model %d, %d", c.view.Count(), c.view.UIDNext(), len(b.msgs), b.next)
	}
	if w.rnd.IntN(2) == 0 {
		w.learn(c, 0)
	} else { // only counts known; the rows are looked at when news come
		c.uids, c.said = nil, make(map[UID]string)
		for _, m := range b.msgs {
			c.uids = append(c.uids, m.uid)
			c.said[m.uid] = m.String()
		}
	}
}

// learn fetches what lies at or above from.
func (w *world) learn(c *client, from UID) {
	if from == 0 {
		c.uids, c.said = nil, make(map[UID]string)
	}
	for e, err := range c.view.Entries(context.Background(), Range(max(from, 1), maxUID)) {
		if err != nil {
			w.fatalf("entries: %v", err)
		}
		c.uids = append(c.uids, e.Row.UID)
		if e.Seq != len(c.uids) {
			w.fatalf("%s: entry %d of uid %d has seq %d", c.name, len(c.uids), e.Row.UID, e.Seq)
		}
		c.said[e.Row.UID] = w.tellRow(c.box, &e.Row)
	}
}

func (w *world) tellRow(b *Box, r *Row) string {
	dict, err := w.Keywords(context.Background(), w.tk.Account)
	if err != nil {
		w.fatalf("keywords: %v", err)
	}
	m := modelMsg{uid: r.UID, flags: r.Flags & SystemFlags, kw: map[string]bool{}}
	for i, k := range dict {
		if bit := Keyword(KeywordID(i)); bit != 0 && r.Flags&bit != 0 {
			m.kw[k] = true
		}
	}
	if r.HasMore {
		for _, id := range b.More(r.UID) {
			m.kw[dict[id]] = true
		}
	}
	return m.String()
}

func (w *world) modelOf(id MailboxID) *modelBox {
	for _, b := range w.model {
		if b.id == id {
			return b
		}
	}
	return nil
}

func (w *world) opSync() { w.sync(w.clients[w.rnd.IntN(len(w.clients))], w.rnd.IntN(3) > 0) }

func (w *world) sync(c *client, expunge bool) {
	if c.view == nil {
		return
	}
	w.site = c.node
	w.hear()
	b := w.modelOf(c.box.ID())
	dirty := c.view.Dirty() || len(w.nodes) > 1 // more may come in between
	n, err := c.view.Sync(context.Background(), expunge)
	w.logf("%s: sync %v -> %v exists %v changed %d", c.name, expunge, n.ExpungedUIDs, n.Exists, len(n.Changed))
	if b == nil {
		if mail.KindOf(err) != mail.NoSuchMailbox {
			w.fatalf("sync of a deleted mailbox: %v", err)
		}
		c.leave()
		return
	}
	if err != nil {
		w.fatalf("sync: %v", err)
	}
	if expunge && !dirty && (len(n.ExpungedSeqs) > 0 || n.Exists || len(n.Changed) > 0) {
		w.fatalf("not dirty, and yet there is news: %+v", n)
	}
	var gone UIDSet
	for _, seq := range n.ExpungedSeqs {
		if seq < 1 || seq > len(c.uids) {
			w.fatalf("%s: expunge of %d, client has %d", c.name, seq, len(c.uids))
		}
		gone.Add(c.uids[seq-1])
		delete(c.said, c.uids[seq-1])
		c.uids = slices.Delete(c.uids, seq-1, seq)
	}
	if !gone.Equal(n.ExpungedUIDs) {
		w.fatalf("%s: told seqs of %v, uids %v", c.name, gone, n.ExpungedUIDs)
	}
	for _, e := range n.Changed {
		if e.Seq < 1 || e.Seq > len(c.uids) || c.uids[e.Seq-1] != e.Row.UID {
			w.fatalf("%s: change of seq %d uid %d, client has %v", c.name, e.Seq, e.Row.UID, c.uids)
		}
		c.said[e.Row.UID] = w.tellRow(c.box, &e.Row)
	}
	if n.Exists {
		w.learn(c, n.First)
	}
	if c.view.Count() != len(c.uids) {
		w.fatalf("%s: view counts %d, client %d", c.name, c.view.Count(), len(c.uids))
	}
	for _, m := range b.msgs {
		if c.said[m.uid] != m.String() {
			w.fatalf("%s: uid %d told %q, is %q", c.name, m.uid, c.said[m.uid], m)
		}
	}
	if expunge && len(c.uids) != len(b.msgs) {
		w.fatalf("%s: client has %v, model %d", c.name, c.uids, len(b.msgs))
	}
}

// opMap asks for sequence numbers and UIDs without a sync before.
func (w *world) opMap() {
	c := w.clients[w.rnd.IntN(len(w.clients))]
	if c.view == nil || w.modelOf(c.box.ID()) == nil || len(c.uids) == 0 {
		return
	}
	w.site = c.node
	ctx := context.Background()
	i := w.rnd.IntN(len(c.uids))
	uid, err := c.view.UID(ctx, i+1)
	if err != nil || uid != c.uids[i] {
		w.fatalf("%s: uid of %d is %d (%v), client knows %v", c.name, i+1, uid, err, c.uids)
	}
	seq, err := c.view.Seq(ctx, uid)
	if err != nil || seq != i+1 {
		w.fatalf("%s: seq of %d is %d (%v), want %d", c.name, uid, seq, err, i+1)
	}
	j := i + w.rnd.IntN(len(c.uids)-i)
	set, err := c.view.UIDsOfSeqs(ctx, Range(UID(i+1), UID(j+1)))
	if err != nil || !set.Equal(Range(c.uids[i], c.uids[j])) {
		w.fatalf("%s: uids of %d:%d: %v (%v)", c.name, i+1, j+1, set, err)
	}
	set, err = c.view.SeqsOfUIDs(ctx, Range(c.uids[i], c.uids[j]))
	if err != nil || !set.Equal(Range(UID(i+1), UID(j+1))) {
		w.fatalf("%s: seqs of %d:%d: %v (%v)", c.name, c.uids[i], c.uids[j], set, err)
	}
}

// verify compares everything with the model.
func (w *world) verify(deep bool) {
	for _, w.site = range w.nodes {
		w.verifyNode(deep)
	}
}

// hear lets the node learn what it missed, as a hint or the poll would.
func (w *world) hear() {
	if len(w.nodes) == 1 {
		return
	}
	if _, err := w.refresh(context.Background(), w.tk.Account); err != nil {
		w.fatalf("catch up: %v", err)
	}
}

func (w *world) verifyNode(deep bool) {
	w.hear()
	for p, err := range w.Check(context.Background(), CheckOptions{Bodies: deep}) {
		if err != nil {
			w.fatalf("check: %v", err)
		}
		w.fatalf("check: %+v", p)
	}
	for name, b := range w.model {
		m := w.box(w.tk.Account, name)
		if m.ID != b.id || m.Messages != len(b.msgs) || m.UIDNext != b.next {
			w.fatalf("%s: %+v; model has %d, uidnext %d", name, m, len(b.msgs), b.next)
		}
		box, err := w.OpenBox(context.Background(), w.tk.Account, b.id)
		if err != nil {
			w.fatalf("open: %v", err)
		}
		i := 0
		for e, err := range box.NewView().Entries(context.Background(), nil) {
			if err != nil {
				w.fatalf("entries: %v", err)
			}
			if got := w.tellRow(box, &e.Row); got != b.msgs[i].String() {
				w.fatalf("%s: %q, model %q", name, got, b.msgs[i])
			}
			if deep && w.read(w.tk.Account, e.Row.Message) != b.msgs[i].text {
				w.fatalf("%s uid %d: body differs", name, e.Row.UID)
			}
			i++
		}
		box.Close()
	}
}

func TestModel(t *testing.T) { t.Parallel(); testModel(t, 1) }

// The same with the steps spread over three nodes on one database.
func TestModelOnNodes(t *testing.T) {
	t.Parallel()
	if !dbtest.OnPostgres() {
		t.Skip("SQLite has one node")
	}
	testModel(t, 3)
}

func testModel(t *testing.T, nodes int) {
	seed := *modelSeed
	if seed == 0 {
		seed = time.Now().UnixNano()
	}
	for round := range int64(3) {
		t.Run(fmt.Sprint(seed+round), func(t *testing.T) {
			t.Parallel()
			t.Logf("repeat with -run %s -model.seed=%d -model.steps=%d", t.Name(), seed+round, *modelSteps)
			w := &world{site: newSite(t, Config{SystemMailboxes: []MailboxSpec{}, BlobGrace: -1, IndexMemory: 20000, InlineMax: 150}),
				rnd: rand.New(rand.NewPCG(uint64(seed+round), 1)), model: make(map[string]*modelBox)}
			w.nodes = []*site{w.site}
			for len(w.nodes) < nodes {
				w.nodes = append(w.nodes, w.join())
			}
			if round > 0 {
				w.smallRing = 2 + w.rnd.IntN(4)
				for _, s := range w.nodes {
					s.boxes.ring = w.smallRing
				}
			}
			w.tk = w.account(3, Quota{})
			w.model[Inbox] = &modelBox{id: w.box(3, Inbox).ID, next: 1}
			for i := range 3 {
				w.clients = append(w.clients, &client{name: string(rune('A' + i))})
			}
			for i := range *modelSteps {
				w.step()
				if i%100 == 99 {
					w.verify(i%500 == 499)
				}
			}
			for _, c := range w.clients {
				w.sync(c, true)
				c.leave()
			}
			w.verify(true)
		})
	}
}
