package imapd

import (
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// notifyState is what NOTIFY asked for (RFC 5465).
type notifyState struct{}

// dropNotify ends NOTIFY.
func (s *session) dropNotify() {}

// wantsPush reports whether news are to be said although no command runs.
func (s *session) wantsPush() bool { return s.idle != nil }

// pushOthers says the news of mailboxes that are not selected.
func (s *session) pushOthers() {}

// appendCompress announces COMPRESS while it is not on.
func (s *session) appendCompress(b []byte) []byte { return b }

// extCapabilities are capabilities of the search, sharing and notification families without a command of their own.
func extCapabilities() []string { return nil }

// listMetadata says METADATA of a listed mailbox (RFC 9590).
func (s *session) listMetadata(*mailstore.Mailbox, *imap.ListMetadata) error { return nil }

// appendMyRights says MYRIGHTS of a listed mailbox (RFC 8440).
func (s *session) appendMyRights(b []byte, name string) []byte { return b }
