package imap

// QuotaLimit is a resource and its limit as SETQUOTA gives it (RFC 9208 §4.1.3).
type QuotaLimit struct {
	Resource string // upper case
	Limit    int64
}

// QuotaLimits reads setquota-list: "(" [resource SP limit …] ")" (RFC 9208 §7).
func (d *Decoder) QuotaLimits() (ls []QuotaLimit) {
	d.List(true, func() {
		q := QuotaLimit{Resource: d.Keyword()}
		d.SP()
		q.Limit = d.Number64()
		ls = append(ls, q)
	})
	return ls
}

// AppendQuotaItem prints one triplet of a QUOTA response.
func AppendQuotaItem(b []byte, resource string, usage, limit int64) []byte {
	b = AppendUint(append(append(b, resource...), ' '), usage)
	return AppendUint(append(b, ' '), limit)
}
