package mailstore

import (
	"strings"

	"bahnpost/store/internal/db"
)

// Subscriptions are a set of names, of mailboxes that are there or not (RFC 9051 §6.3.7). The table is the truth;
// mboxRow.subscribed mirrors it for the names that are mailboxes.

// Subscribe sets or clears a subscription; the name need not exist (RFC 9051 §6.3.7).
func (t *Tx) Subscribe(name string, on bool) error {
	name, err := NormalName(name)
	if err != nil {
		return err
	}
	sql := sqlUnsubscribe
	if on {
		sql = sqlSubscribe
	}
	n, err := t.exec(sql, db.Int(t.a.id), db.Text(name))
	if err != nil || n == 0 {
		return err
	}
	m := t.a.wfind(name)
	if m == nil {
		t.announce(0, SubscriptionChanged)
		return nil
	}
	t.markSubscribed(m, on)
	return nil
}

// markSubscribed mirrors the table in m. It is no touch: a subscription is no change of the mailbox's messages.
func (t *tx) markSubscribed(m *mbox, on bool) {
	if m.touched != t.serial {
		m.touched = t.serial
		t.touched = append(t.touched, touched{m: m, before: m.wrk})
	}
	m.wrk.subscribed = on
	t.reshaped = true
	t.announce(m.id, SubscriptionChanged)
}

const (
	sqlSubscribe   = `INSERT INTO subscriptions (account_id, name) VALUES (?,?) ON CONFLICT DO NOTHING`
	sqlUnsubscribe = `DELETE FROM subscriptions WHERE account_id=? AND name=?`
	sqlSubsUnder   = `SELECT name FROM subscriptions WHERE account_id=?1 AND (name=?2 OR name>?3 AND name<?4) ORDER BY name`
)

// moveSubscriptions lets the subscriptions of a renamed mailbox and of all names below it follow. RFC 9051 §6.3.6 is
// silent; a user who renames a folder still wants to see it, RFC 8621 §2 has isSubscribed as a property of the mailbox,
// whatever its name, and law 9 keeps subscriptions. Names below it that are no mailboxes go along, so that a client that
// was told of the rename with OLDNAME only (RFC 5465 §5.4) believes what is. m is at its new place already.
func (t *tx) moveSubscriptions(m *mbox, from, to string) error {
	old, err := t.subscribedUnder(from)
	if err != nil {
		return err
	}
	for _, name := range old {
		next, err := NormalName(to + name[len(from):])
		if err != nil {
			continue // too long as a name: only names without a mailbox can be, fits has checked the others
		}
		if _, err := t.exec(sqlUnsubscribe, db.Int(t.a.id), db.Text(name)); err != nil {
			return err
		}
		if _, err := t.exec(sqlSubscribe, db.Int(t.a.id), db.Text(next)); err != nil {
			return err
		}
	}
	return t.remark(m, to)
}

// remark mirrors the table in m and all below it: a new name may have been subscribed before there was a mailbox.
func (t *tx) remark(m *mbox, path string) error {
	names, err := t.subscribedUnder(path)
	if err != nil {
		return err
	}
	on := make(map[string]bool, len(names))
	for _, n := range names {
		on[n] = true
	}
	if on[path] != m.wrk.subscribed {
		t.markSubscribed(m, on[path])
	}
	if m.wrk.kids == 0 {
		return nil
	}
	for _, x := range t.a.boxes {
		if x == m || !x.wrk.live {
			continue
		}
		if p := t.a.path(x, wrkRow); strings.HasPrefix(p, path+string(Separator)) && on[p] != x.wrk.subscribed {
			t.markSubscribed(x, on[p])
		}
	}
	return nil
}

// subscribedUnder lists the subscribed names that are path or below it.
func (t *tx) subscribedUnder(path string) (names []string, err error) {
	for r, err := range t.c.Rows(sqlSubsUnder, db.Int(t.a.id), db.Text(path), db.Text(path+string(Separator)), db.Text(path+string(Separator+1))) {
		if err != nil {
			return nil, t.fail(err)
		}
		names = append(names, r.Text(0))
	}
	return names, nil
}
