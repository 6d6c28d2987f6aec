package drill

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
)

// sizes of the messages: a line, inline bodies, and such as go to the object store.
var sizes = []int{200, 3_000, 9_000, 70_000, 250_000}

// token names a message so that it can be written again from its name: who sent it, the how-manieth, its size.
func token(sender string, n int) string {
	size := 0
	switch {
	case n%41 == 40:
		size = 4
	case n%11 == 10:
		size = 3
	default:
		size = n % 3
	}
	return fmt.Sprintf("%s-%d-s%d", sender, n, size)
}

// message is the message of a token: always the same octets. Lines begin with no dot and the text does not compress.
func message(tok string) string {
	size, _ := strconv.Atoi(tok[strings.LastIndex(tok, "-s")+2:])
	h := fnv.New64a()
	h.Write([]byte(tok))
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	var b strings.Builder
	fmt.Fprintf(&b, "From: a@b.example\r\nSubject: %s\r\nMessage-ID: <%s@drill.example>\r\n\r\n", tok, tok)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	line := make([]byte, 0, 78)
	for want := b.Len() + sizes[size]; b.Len() < want; {
		line = line[:0]
		for len(line) < 76 {
			for bits, k := r.Uint64(), 0; k < 10 && len(line) < 76; bits, k = bits>>6, k+1 {
				line = append(line, letters[bits&63])
			}
		}
		b.Write(line)
		b.WriteString("\r\n")
	}
	return b.String()
}

// tokenOf reads the token out of a header; "" if there is none.
func tokenOf(text string) string {
	_, rest, found := strings.Cut(text, "Subject: ")
	if !found {
		return ""
	}
	tok, _, _ := strings.Cut(rest, "\r\n")
	return tok
}

// intact says whether text, as a client gets it, ends with the message of its token: deliveries have fields of ours before it.
func intact(text, tok string) bool { return strings.HasSuffix(text, message(tok)) }
