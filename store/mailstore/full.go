package mailstore

import (
	"errors"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// spacious gives the error of a full disk its kind: the sender shall know to come
// back later (RFC 5321 §4.2.2: 452), and the log says what the matter is.
func spacious(err error) error {
	if err == nil || !db.Full(err) {
		return err
	}
	if _, said := errors.AsType[*mail.Error](err); said {
		return err
	}
	return &mail.Error{Kind: mail.Full, Text: "server has no room on its disk, try again later", Err: err}
}
