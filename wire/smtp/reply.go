package smtp

import "strconv"

// AppendReply formats a reply: code, enhanced status code on each line (none
// if status is ""), text; each line feed in text begins another line (RFC 5321
// §4.2.1, RFC 2034 §3). What is not printable ASCII becomes "?": a reply
// never carries octets that a peer chose. Lines are cut at MaxReplyText.
func AppendReply(dst []byte, code int, status, text string) []byte {
	for {
		line, rest, more := cutLine(text)
		dst = strconv.AppendInt(dst, int64(code), 10)
		if more {
			dst = append(dst, '-')
		} else {
			dst = append(dst, ' ')
		}
		if status != "" {
			dst = append(dst, status...)
			dst = append(dst, ' ')
		}
		for i := 0; i < len(line) && i < MaxReplyText; i++ {
			c := line[i]
			if c < ' ' || c > '~' {
				c = '?'
			}
			dst = append(dst, c)
		}
		dst = append(dst, '\r', '\n')
		if !more {
			return dst
		}
		text = rest
	}
}

func cutLine(s string) (line, rest string, more bool) {
	for i := 0; i < len(s); i++ {
		if s[i] == '\n' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
