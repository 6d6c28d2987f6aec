package imapd

import (
	"errors"
	"io"
	"time"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
	"bahnpost/wire/message"
)

// maxMultiAppend bounds the messages of one APPEND (RFC 3502): all of them are
// one commit, and small ones wait for it in memory.
const maxMultiAppend = 1000

// upload collects the messages of an APPEND or REPLACE.
type upload struct {
	s    *session
	msgs []mailstore.NewMessage
	w    *mailstore.BodyWriter
	size int64
}

// appendCommand: "APPEND" SP mailbox 1*(SP [flags SP] [date SP] message)
// (RFC 9051 §6.3.12, RFC 3502, RFC 4469, RFC 3516 §4.4, RFC 6855 §4).
func appendCommand(s *session, d *imap.Decoder) error {
	d.SP()
	name := d.Mailbox()
	d.SP()
	if d.Err() != nil {
		return d.Err()
	}
	u := &upload{s: s}
	defer u.release()
	// Before 150 MB are asked for: is there such a mailbox?
	if mb, err := s.srv.store.MailboxByName(s.ctx, s.login.Account, name); err != nil {
		return tryCreate(err)
	} else if mb.NoSelect {
		return no("TRYCREATE", "mailbox does not exist")
	}
	for u.message(d) && d.TakeSP() && !d.AtEnd() {
		if len(u.msgs) >= maxMultiAppend {
			return no("LIMIT", "too many messages in one APPEND")
		}
	}
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	var done []mailstore.Appended
	err := s.update(func(tx *mailstore.Tx) error {
		done = done[:0]
		mb, err := tx.MailboxByName(name)
		if err != nil {
			return tryCreate(err)
		}
		if mb.NoSelect {
			return no("TRYCREATE", "mailbox does not exist")
		}
		for i := range u.msgs {
			a, err := tx.Append(mb.ID, u.msgs[i])
			if err != nil {
				return err
			}
			done = append(done, a)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.cmd.code = appendUID(done)
	return nil
}

// appendUID is the response code of RFC 4315 §3, with all UIDs of a MULTIAPPEND.
func appendUID(done []mailstore.Appended) string {
	var uids mailstore.UIDSet
	for i := range done {
		uids.Add(done[i].UID)
	}
	b := append(make([]byte, 0, 48), "APPENDUID "...)
	b = append(imap.AppendUint(b, done[0].UIDValidity), ' ')
	return string(uids.Append(b))
}

// message reads one message with its options. False after an error, which d has.
func (u *upload) message(d *imap.Decoder) bool {
	o := d.AppendOptions()
	m := mailstore.NewMessage{Internal: o.Date}
	m.Flags, m.Keywords = splitFlags(d, o.Flags)
	if m.Internal.IsZero() {
		m.Internal = time.Now().UTC()
	}
	if d.Err() != nil {
		return false
	}
	u.size, u.w = 0, u.s.srv.store.NewBody(u.s.ctx)
	d.AppendData(u.accept, u.text, u.url)
	if d.Err() != nil {
		u.w.Abort()
		return false
	}
	if u.size == 0 {
		u.w.Abort()
		d.FailErr(no("", "message is empty")) // RFC 3502 §3.1: a zero literal cancels
		return false
	}
	body, err := u.w.Finish()
	if err != nil {
		d.FailErr(err)
		return false
	}
	m.Body = body
	u.msgs = append(u.msgs, m)
	return true
}

// accept refuses a message that would become too large, before it is sent.
func (u *upload) accept(a imap.Announced) error {
	if u.size += a.Size; u.size > u.s.srv.cfg.MaxMessage {
		return no("TOOBIG", "message is larger than APPENDLIMIT")
	}
	return nil
}

func (u *upload) text(r io.Reader) error {
	_, err := u.s.in.WriteTo(bodyWriter{u.w})
	if w, ok := errors.AsType[*bodyError](err); ok {
		return w.err
	}
	if err != nil {
		return wrapConn(err)
	}
	return nil
}

// bodyWriter and bodyError tell errors of the store from those of the connection.
type bodyWriter struct{ w *mailstore.BodyWriter }

type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }

func (b bodyWriter) Write(p []byte) (int, error) {
	n, err := b.w.Write(p)
	if err != nil {
		err = &bodyError{err}
	}
	return n, err
}

// url copies what an IMAP URL names into the message (RFC 4469 §3).
func (u *upload) url(text string) error {
	badURL := no("BADURL "+string(imap.AppendAString(nil, text)), "URL names no message of yours")
	ref, ok := imap.ParseMessageURL(text)
	if !ok || ref.Mailbox == "" && u.s.mbox == nil {
		return badURL
	}
	err := u.s.copyURL(ref, u)
	switch mail.KindOf(err) {
	case mail.NoSuchMailbox, mail.NoSuchMessage:
		return badURL
	}
	return err
}

// copyURL streams a message or part of it into an upload.
func (s *session) copyURL(ref imap.MessageURL, u *upload) error {
	id := mailstore.MailboxID(0)
	if ref.Mailbox != "" {
		mb, err := s.srv.store.MailboxByName(s.ctx, s.login.Account, ref.Mailbox)
		if err != nil {
			return err
		}
		id = mb.ID
	} else {
		id = s.mbox.id
	}
	box, err := s.srv.store.OpenBox(s.ctx, s.login.Account, id)
	if err != nil {
		return err
	}
	defer box.Close()
	errGone := &mail.Error{Kind: mail.NoSuchMessage, Text: "no such message"}
	if ref.UIDValidity != 0 && ref.UIDValidity != box.Mailbox().UIDValidity {
		return errGone
	}
	if err := box.Load(s.ctx); err != nil {
		return err
	}
	row, ok := box.Row(mailstore.UID(ref.UID))
	if !ok {
		return errGone
	}
	for m, err := range box.Metas(s.ctx, []mailstore.Row{row}) {
		if err != nil {
			return err
		}
		return s.copyPart(m, ref, u)
	}
	return errGone
}

func (s *session) copyPart(m *mailstore.Meta, ref imap.MessageURL, u *upload) error {
	r, err := s.srv.store.OpenMessage(s.ctx, s.login.Account, m.Message)
	if err != nil {
		return err
	}
	defer r.Close()
	var p partReader
	if err := p.open(r, m); err != nil {
		return err
	}
	sp, ok := p.section(&ref.Section)
	if !ok {
		return &mail.Error{Kind: mail.NoSuchMessage, Text: "no such part"}
	}
	if ref.Section.Spec == imap.SpecFields || ref.Section.Spec == imap.SpecFieldsNot {
		return u.fields(r, &ref.Section, sp)
	}
	if ref.Partial {
		off := min(ref.Offset, sp.n)
		sp.off, sp.n = sp.off+off, sp.n-off
		if ref.Count > 0 {
			sp.n = min(sp.n, ref.Count)
		}
	}
	if err := u.accept(imap.Announced{Size: sp.n}); err != nil {
		return err
	}
	return r.CopyRange(u.w, sp.off, sp.n)
}

// fields copies picked header fields.
func (u *upload) fields(r *mailstore.Reader, sec *imap.Section, sp span) error {
	head := make([]byte, min(sp.n, message.MaxHeaderBytes))
	if _, err := r.ReadAt(head, sp.off); err != nil && err != io.EOF {
		return err
	}
	picked := pickFields(head, sec.Fields, sec.Spec == imap.SpecFieldsNot)
	if err := u.accept(imap.Announced{Size: int64(len(picked))}); err != nil {
		return err
	}
	_, err := u.w.Write(picked)
	return err
}

// release frees the bodies; rows that refer to them keep them.
func (u *upload) release() {
	for i := range u.msgs {
		u.msgs[i].Body.Release()
	}
}
