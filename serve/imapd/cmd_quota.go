package imapd

import (
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// quotaUnit is what STORAGE counts in (RFC 9208 §5.1).
const quotaUnit = 1024

// An account has one quota root, the empty string, over all its mailboxes (RFC 9208 §3.2).

// getQuota: "GETQUOTA" SP quota-root-name (RFC 9208 §4.1.1).
func getQuota(s *session, d *imap.Decoder) error {
	d.SP()
	root := d.AString()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	if root != "" {
		return no("NONEXISTENT", "quota root does not exist")
	}
	return s.sayQuota()
}

// getQuotaRoot: "GETQUOTAROOT" SP mailbox (RFC 9208 §4.1.2). The mailbox need not exist.
func getQuotaRoot(s *session, d *imap.Decoder) error {
	name, err := mailboxArg(d)
	if err != nil {
		return err
	}
	b := imap.AppendMailbox(append(s.out.b, "* QUOTAROOT "...), name, s.utf8())
	s.out.b = append(b, " \"\"\r\n"...)
	return s.sayQuota()
}

// setQuota: "SETQUOTA" SP quota-root-name SP setquota-list (RFC 9208 §4.1.3). Limits are the administrator's, who
// has other ways; QUOTASET is not announced.
func setQuota(s *session, d *imap.Decoder) error {
	d.SP()
	root := d.AString()
	d.SP()
	d.QuotaLimits()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	if root != "" {
		return no("NONEXISTENT", "quota root does not exist")
	}
	return no("NOPERM", "quota limits are set by the administrator")
}

// sayQuota says QUOTA (RFC 9208 §4.2.1): resources with a limit. The number of mailboxes always has one.
func (s *session) sayQuota() error {
	a, err := s.srv.store.Account(s.ctx, s.login.Account)
	if err != nil {
		return err
	}
	b := append(s.out.b, "* QUOTA \"\" ("...)
	if l := a.Quota.Bytes; l > 0 {
		b = imap.AppendQuotaItem(b, "STORAGE", (a.UsedBytes+quotaUnit-1)/quotaUnit, (l+quotaUnit-1)/quotaUnit)
		b = append(b, ' ')
	}
	if l := a.Quota.Messages; l > 0 {
		b = append(imap.AppendQuotaItem(b, "MESSAGE", a.UsedCount, l), ' ')
	}
	b = imap.AppendQuotaItem(b, "MAILBOX", int64(a.Mailboxes), mailstore.MaxMailboxes)
	s.out.b = append(b, ")\r\n"...)
	return nil
}
