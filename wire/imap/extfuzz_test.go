package imap

import "testing"

// FuzzExtArgs feeds the decoders of the sharing and notifying commands: whatever comes, they end with a value or a reason.
func FuzzExtArgs(f *testing.F) {
	for _, s := range []string{" SET STATUS (selected (MessageNew (UID) MessageExpunge)) (subtree (a b) NONE)", " INBOX (MAXSIZE 1) (/private/a)",
		" INBOX (/private/a {2+}\r\nxy)", ` "a" "b" +lrs`, " (STORAGE 1)", " (SUBJECT REVERSE DATE) UTF-8 ALL", " REFERENCES UTF-8 ALL", " IN (personal) ALL"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, read := range []func(*Decoder){
			func(d *Decoder) { d.NotifyArgs() },
			func(d *Decoder) { d.GetMetadataArgs() },
			func(d *Decoder) { d.SetMetadataArgs() },
			func(d *Decoder) {
				d.SP()
				d.Mailbox()
				d.SP()
				d.Identifier()
				d.SP()
				d.Rights()
			},
			func(d *Decoder) { d.SP(); d.QuotaLimits() },
			func(d *Decoder) { d.SortArgs() },
			func(d *Decoder) { d.ThreadArgs() },
			func(d *Decoder) { d.ESearchArgs() },
		} {
			d := decodeText(in)
			read(d)
			d.End()
			d.Err()
		}
	})
}
