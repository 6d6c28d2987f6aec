package imapd

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
)

// verbs are what conversations can do beside talking.
func (w *town) verbs() map[string]func([]string) error {
	return map[string]func([]string) error{
		"quota": w.quota,
	}
}

// quota USER OCTETS MESSAGES sets limits.
func (w *town) quota(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: quota USER OCTETS MESSAGES")
	}
	octets, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	messages, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	a := mail.AccountID(slices.Index(users[:], args[0]) + 1)
	return w.mails.SetQuota(context.Background(), a, mailstore.Quota{Bytes: octets, Messages: messages})
}
