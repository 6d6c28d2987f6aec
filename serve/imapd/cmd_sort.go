package imapd

import (
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// sortCommand: [UID SP] "SORT" [SP return-opts] SP sort-criteria SP charset 1*(SP search-key)
// (RFC 5256 §3, RFC 5267 §3 ESORT, RFC 5957, RFC 6203 §6).
func sortCommand(s *session, d *imap.Decoder) error {
	p := d.SortArgs()
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	if err := s.charsetConflict(p, true); err != nil {
		return err
	}
	return s.searching(p, func(r *result) error {
		if p.Return.Set {
			s.sayESearch(p, r, nil)
			return nil
		}
		s.sayNumbers("* SORT", p, r)
		return nil
	})
}

// sorted returns the found messages in the order asked for; those expunged meanwhile are left out.
func (s *session) sorted(box *mailstore.Box, v *mailstore.View, r *result, by []imap.Sorter) ([]mailstore.UID, error) {
	rows, err := s.rowsOf(v, r.uids)
	if err != nil {
		return nil, err
	}
	ranks, rows, err := rank(s.ctx, box, rows, by, r.scores)
	if err != nil {
		return nil, err
	}
	out := make([]mailstore.UID, len(rows))
	for i, k := range ranks.order() {
		out[i] = rows[k].UID
	}
	return out, nil
}

// rowsOf returns the index rows of uids, which ascend.
func (s *session) rowsOf(v *mailstore.View, uids []mailstore.UID) ([]mailstore.Row, error) {
	rows := make([]mailstore.Row, 0, len(uids))
	if len(uids) == 0 {
		return rows, nil
	}
	for e, err := range v.Entries(s.ctx, uidSet(uids)) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, e.Row)
	}
	return rows, nil
}
