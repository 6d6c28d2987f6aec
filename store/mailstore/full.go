package mailstore

import (
	"errors"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
)

// said gives the errors of a database that others can mend a kind: the client shall hear that it is for a while.
func said(err error) error {
	if errors.Is(err, db.ErrAway) || errors.Is(err, db.ErrUnknown) {
		if _, said := errors.AsType[*mail.Error](err); !said {
			return &mail.Error{Kind: mail.Unavailable, Text: "mail store cannot be reached, try again later", Err: err}
		}
	}
	return spacious(err)
}

// spacious gives the error of a full disk its kind: the sender shall know to come
// back later (RFC 5321 §4.2.2: 452), and the log says what the matter is. So it does for bodies whose place is away.
func spacious(err error) error {
	away := errors.Is(err, blob.ErrAway)
	if err == nil || !away && !db.Full(err) {
		return err
	}
	if _, said := errors.AsType[*mail.Error](err); said {
		return err
	}
	if away {
		return &mail.Error{Kind: mail.Unavailable, Text: "bodies of messages can't be reached now, try again later", Err: err}
	}
	return &mail.Error{Kind: mail.Full, Text: "server has no room on its disk, try again later", Err: err}
}
