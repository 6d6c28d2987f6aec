package mailstore

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"bahnpost/mail"
	"golang.org/x/text/unicode/norm"
)

// Inbox is the name of the mailbox that every account has.
const Inbox = "INBOX"

func badName(text string) *mail.Error { return &mail.Error{Kind: mail.BadInput, Text: text} }

// NormalName checks a mailbox name and puts it into its canonical form: NFC, and
// INBOX in upper case as the first component (RFC 9051 §5.1). Errors are of kind BadInput.
func NormalName(name string) (string, error) {
	switch {
	case name == "":
		return "", badName("mailbox name is empty")
	case len(name) > MaxMailboxName:
		return "", badName("mailbox name is longer than " + strconv.Itoa(MaxMailboxName) + " octets")
	case !utf8.ValidString(name):
		return "", badName("mailbox name is not valid UTF-8")
	}
	if !norm.NFC.IsNormalString(name) {
		name = norm.NFC.String(name)
	}
	depth, first := 0, true
	for part := range strings.SplitSeq(name, string(Separator)) {
		if err := checkComponent(part); err != nil {
			return "", err
		}
		if first && strings.EqualFold(part, Inbox) {
			name = Inbox + name[len(part):]
		}
		first = false
		if depth++; depth > MaxDepth {
			return "", badName("mailbox name has more than " + strconv.Itoa(MaxDepth) + " levels")
		}
	}
	if len(name) > MaxMailboxName { // NFC may grow
		return "", badName("mailbox name is longer than " + strconv.Itoa(MaxMailboxName) + " octets")
	}
	return name, nil
}

// checkComponent refuses what would confuse clients or logs (RFC 5198 §2, RFC 9051 §5.1).
func checkComponent(part string) error {
	switch {
	case part == "":
		return badName("mailbox name has an empty level")
	case len(part) > MaxMailboxLevel:
		return badName("a level of the mailbox name is longer than " + strconv.Itoa(MaxMailboxLevel) + " octets")
	}
	for _, r := range part {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return badName("mailbox name has a control character")
		}
	}
	return nil
}

// compareNames orders paths hierarchically: INBOX first, children right behind their parent.
func compareNames(a, b string) int {
	if x, y := underInbox(a), underInbox(b); x != y {
		if x {
			return -1
		}
		return 1
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		switch { // the separator sorts before everything else
		case a[i] == Separator:
			return -1
		case b[i] == Separator:
			return 1
		}
		return int(a[i]) - int(b[i])
	}
	return len(a) - len(b)
}

func underInbox(s string) bool {
	return s == Inbox || strings.HasPrefix(s, Inbox) && s[len(Inbox)] == Separator
}

// normalUse checks special uses (RFC 6154 §2, RFC 8457) and joins them.
func normalUse(use []string) (string, error) {
	var out []string
	for _, u := range use {
		i := slices.IndexFunc(specialUses[:], func(s string) bool { return strings.EqualFold(s, u) })
		if i < 0 {
			return "", badName("special use is not known")
		}
		if !slices.Contains(out, specialUses[i]) {
			out = append(out, specialUses[i])
		}
	}
	slices.Sort(out)
	return strings.Join(out, " "), nil
}

// specialUses are those that a client may set. \All and \Flagged name views, which this store has none of.
var specialUses = [...]string{`\Archive`, `\Drafts`, `\Important`, `\Junk`, `\Sent`, `\Trash`}

// parseWarn reads "80,95".
func parseWarn(s string) []int {
	var out []int
	for p := range strings.SplitSeq(s, ",") {
		if n, err := strconv.Atoi(p); err == nil {
			out = append(out, n)
		}
	}
	return out
}

func formatWarn(w []int) string {
	var parts []string
	for _, n := range w {
		if n > 0 && n <= 100 {
			parts = append(parts, strconv.Itoa(n))
		}
	}
	return strings.Join(parts, ",")
}
