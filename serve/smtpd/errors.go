package smtpd

import (
	"errors"
	"log/slog"

	"bahnpost/mail"
	"bahnpost/obs"
	"bahnpost/wire/smtp"
)

// answer is a reply.
type answer struct {
	code   int
	status string // enhanced status code (RFC 3463), "" for none
	text   string
}

// codes is the one table from kinds to replies (RFC 5321 §4.2.2, RFC 3463, RFC 5248).
var codes = map[mail.Kind]answer{
	mail.Internal:      {451, "4.3.0", ""},
	mail.Unavailable:   {451, "4.3.0", ""},
	mail.NoSuchAccount: {550, "5.1.1", ""},
	mail.NoSuchMailbox: {550, "5.1.1", ""},
	mail.MailboxExists: {554, "5.3.0", ""}, // not expected here
	mail.NoSuchMessage: {554, "5.3.0", ""}, // nor this
	mail.OverQuota:     {452, "4.2.2", ""},
	mail.TooLarge:      {552, "5.3.4", ""},
	mail.Limit:         {452, "4.5.3", ""},
	mail.Policy:        {550, "5.7.1", ""},
	mail.AuthFailed:    {535, "5.7.8", ""}, // RFC 4954 §6
	mail.AuthThrottled: {454, "4.7.0", ""}, // RFC 4954 §6
	mail.Disabled:      {550, "5.2.1", ""},
	mail.NoPermission:  {550, "5.7.1", ""},
	mail.BadInput:      {554, "5.6.0", ""},
	mail.Loop:          {554, "5.4.6", ""},
	mail.Full:          {452, "4.3.1", ""},
}

// answerTo says err aloud, or hides it behind a reference. Kinds without a row are transient.
func (s *session) answerTo(err error) answer {
	if e, ok := errors.AsType[*smtp.SyntaxError](err); ok {
		return answer{e.Code, e.Status, e.Text}
	}
	switch { // what the reader refuses
	case errors.Is(err, smtp.ErrBareCR), errors.Is(err, smtp.ErrBareLF): // RFC 5321 §2.3.8
		return answer{550, "5.6.0", "message has a bare CR or LF; lines end in CR LF"}
	case errors.Is(err, smtp.ErrTooLarge):
		return errSize
	}
	if e, ok := errors.AsType[*mail.Error](err); ok {
		a, ok := codes[e.Kind]
		if !ok {
			a = codes[mail.Internal]
		}
		a.text = e.Text
		if e.Kind == mail.Full {
			s.cfg.Log.Error("no room", "session", s.id, "err", e.Err)
		} else if e.Err != nil {
			s.cfg.Log.Debug("refused", "session", s.id, "text", e.Text, "err", e.Err)
		}
		return a
	}
	e := s.hide(err)
	return answer{codes[e.Kind].code, codes[e.Kind].status, e.Text}
}

// hide logs what the client must not see, and gives the reference that it may.
func (s *session) hide(err error) *mail.Error {
	ref := obs.Ref()
	s.cfg.Log.Error("internal error", slog.String("session", s.id), slog.String("ref", ref), slog.Any("err", err))
	return &mail.Error{Kind: mail.Internal, Text: "internal error, ref " + ref}
}

// hideAll does so for receipts, so that the reply and the line of the recipient's fate have one reference.
func (s *session) hideAll(rs []mail.Receipt) {
	for i := range rs {
		if err := rs[i].Err; err != nil {
			if _, said := errors.AsType[*mail.Error](err); !said {
				rs[i].Err = s.hide(err)
			}
		}
	}
}

var (
	errSize = answer{552, "5.3.4", "message is too large"}
	errBusy = answer{451, "4.3.2", errManyMails.Text}
	errPart = answer{451, "4.3.0", "not delivered to all recipients yet, send it again"}
)

var errManyMails = &mail.Error{Kind: mail.Unavailable, Text: "too many messages at once, try again"}

// fate words are for logs and metrics.
func (a answer) fate() string {
	switch a.code / 100 {
	case 2:
		return "delivered"
	case 4:
		return "deferred"
	}
	return "refused"
}

// merge is the one answer for several receipts; see the package comment.
func (s *session) merge(rs []mail.Receipt) answer {
	var perm, temp error
	good := 0
	for i := range rs {
		switch err := rs[i].Err; {
		case err == nil:
			good++
		case mail.Permanent(err):
			if perm == nil {
				perm = err
			}
		default:
			temp = err
		}
	}
	switch {
	case perm == nil && temp == nil:
		return answer{250, "2.0.0", ""}
	case good == 0 && temp == nil:
		return s.answerTo(perm)
	case good == 0, perm == nil:
		return s.answerTo(temp)
	}
	return errPart
}
