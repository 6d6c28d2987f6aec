package imapd

import (
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// thread: [UID SP] "THREAD" SP algorithm SP charset 1*(SP search-key) (RFC 5256 §3).
func thread(s *session, d *imap.Decoder) error {
	p := d.ThreadArgs()
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	if err := s.charsetConflict(p, true); err != nil {
		return err
	}
	return s.searching(p, func(r *result) error {
		var f *imap.Forest
		err := s.inProgress(func() error {
			ms, err := s.threadMessages(r, p.Thread)
			if err == nil && p.Thread == imap.ThreadReferences {
				f = imap.ThreadByReferences(ms)
			} else if err == nil {
				f = imap.ThreadBySubject(ms)
			}
			return err
		})
		if err != nil {
			return err
		}
		s.out.ready()
		b := append(s.out.b, "* THREAD"...)
		n := len(b)
		if b = f.Append(append(b, ' ')); len(b) == n+1 {
			b = b[:n]
		}
		s.out.b = append(b, "\r\n"...)
		return nil
	})
}

// threadMessages gathers what the algorithm looks at, in mailbox order.
func (s *session) threadMessages(r *result, alg imap.ThreadAlgorithm) ([]imap.ThreadMessage, error) {
	rows, err := s.rowsOf(s.mbox.view, r.uids)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	ms := make([]imap.ThreadMessage, 0, len(rows))
	subjects := make(map[string]string) // threads share their subject
	i, k := 0, 0
	for m, err := range s.mbox.box.Metas(s.ctx, rows) {
		if err != nil {
			return nil, err
		}
		for rows[i].Message != m.Message { // expunged meanwhile
			if i++; i == len(rows) {
				return ms, nil
			}
		}
		for r.uids[k] != rows[i].UID {
			k++
		}
		t := imap.ThreadMessage{Num: r.nums[k]}
		keys := m.Summary.SortKeys()
		t.Date, t.Reply = sentDate(&rows[i], &keys), keys.IsReplyOrForward
		subject, ok := subjects[string(keys.Subject)]
		if !ok {
			subject = string(keys.Subject)
			subjects[subject] = subject
		}
		t.Subject = subject
		if alg == imap.ThreadReferences {
			t.ID, t.References = string(keys.MessageID), references(m)
		}
		ms = append(ms, t)
	}
	return ms, nil
}

// references returns the ids that a message refers to, oldest first.
func references(m *mailstore.Meta) (out []string) {
	for id := range m.Summary.References {
		out = append(out, string(id))
	}
	return out
}
