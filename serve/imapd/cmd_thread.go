package imapd

import (
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
	"bahnpost/wire/message"
)

// maxThreadReferences bounds the references that a THREAD looks at, about 200 MB: beyond, only the last one of
// each message counts. Honest mailboxes of a million messages stay below.
const maxThreadReferences = 4 << 20

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
		var forest []*message.Thread
		err := s.inProgress(func() error {
			in, err := s.threadInput(r, p.Thread)
			if err == nil && p.Thread == imap.ThreadReferences {
				forest = message.ThreadReferences(in)
			} else if err == nil {
				forest = message.ThreadOrderedSubject(in)
			}
			return err
		})
		if err != nil {
			return err
		}
		s.out.ready()
		b := append(s.out.b, "* THREAD"...)
		if len(forest) > 0 {
			b = message.AppendThreads(append(b, ' '), forest)
		}
		s.out.b = append(b, "\r\n"...)
		return nil
	})
}

// threadInput gathers what the algorithm looks at, in mailbox order; messages expunged meanwhile are left out.
func (s *session) threadInput(r *result, alg imap.ThreadAlgorithm) ([]message.ThreadInput, error) {
	rows, err := s.rowsOf(s.mbox.view, r.uids)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	in := make([]message.ThreadInput, 0, len(rows))
	var texts arena
	left := maxThreadReferences
	i, k := 0, 0
	for m, err := range s.mbox.box.Metas(s.ctx, rows) {
		if err != nil {
			return nil, err
		}
		for rows[i].Message != m.Message {
			if i++; i == len(rows) {
				return in, nil
			}
		}
		for r.uids[k] != rows[i].UID {
			k++
		}
		keys := m.Summary.SortKeys()
		t := message.ThreadInput{Num: r.nums[k], Date: sentDate(&rows[i], &keys), IsReplyOrForward: keys.IsReplyOrForward,
			Subject: texts.keep(keys.Subject)}
		if alg == imap.ThreadReferences {
			t.MessageID = texts.keep(keys.MessageID)
			t.References = references(m, &texts, left)
			left -= len(t.References)
		}
		in = append(in, t)
	}
	return in, nil
}

// references returns the ids that a message refers to, oldest first: the last one only if there are more than most.
func references(m *mailstore.Meta, texts *arena, most int) (out [][]byte) {
	for id := range m.Summary.References {
		if len(out) > 0 && len(out) >= most {
			out = out[:0]
		}
		out = append(out, texts.keep(id))
	}
	return out
}
