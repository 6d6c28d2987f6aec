package imap

import "strings"

// FlagList reads "(" [flag *(SP flag)] ")" (RFC 9051 §9).
func (d *Decoder) FlagList() []string {
	var fs []string
	d.List(true, func() { fs = append(fs, d.Flag()) })
	return fs
}

// FlagsOrList reads a flag list with or without parentheses (STORE, RFC 9051 §6.4.6).
func (d *Decoder) FlagsOrList() []string {
	if d.Peek() == '(' {
		return d.FlagList()
	}
	fs := []string{d.Flag()}
	for d.TakeSP() {
		if len(fs) >= MaxItems {
			d.Fail("list has more than %d members", MaxItems)
			return nil
		}
		fs = append(fs, d.Flag())
	}
	return fs
}

// Flag reads a flag: a system flag as "\Seen" in its RFC spelling, or a keyword as written.
func (d *Decoder) Flag() string {
	if !d.Take('\\') {
		return string(d.Atom())
	}
	name := string(d.Atom())
	if d.err != nil {
		return ""
	}
	switch strings.ToUpper(name) {
	case "SEEN":
		return `\Seen`
	case "ANSWERED":
		return `\Answered`
	case "FLAGGED":
		return `\Flagged`
	case "DELETED":
		return `\Deleted`
	case "DRAFT":
		return `\Draft`
	case "RECENT":
		return `\Recent`
	}
	return `\` + name
}
