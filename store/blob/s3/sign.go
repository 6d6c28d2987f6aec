package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// emptySum is the SHA-256 of no octets.
const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

const amzTime = "20060102T150405Z"

// sign adds the headers of Signature Version 4 ("Authenticating Requests: Using the
// Authorization Header" in Amazon's S3 API reference). All headers that are set are signed. path and query are in
// their canonical, escaped form, and must be sent so. sum is the payload's SHA-256, hexadecimal.
func sign(h http.Header, k credentials, method, host, path, query, region, sum string, now time.Time) {
	date := now.UTC().Format(amzTime)
	h.Set("X-Amz-Date", date)
	h.Set("X-Amz-Content-Sha256", sum)
	if k.token != "" {
		h.Set("X-Amz-Security-Token", k.token)
	}
	names := []string{"host"}
	lines := map[string]string{"host": host}
	for name, values := range h {
		n := strings.ToLower(name)
		names = append(names, n)
		lines[n] = strings.Join(strings.Fields(strings.Join(values, ",")), " ")
	}
	slices.Sort(names)
	var headers strings.Builder
	for _, n := range names {
		headers.WriteString(n + ":" + lines[n] + "\n")
	}
	signed := strings.Join(names, ";")
	canonical := strings.Join([]string{method, path, query, headers.String(), signed, sum}, "\n")
	scope := date[:8] + "/" + region + "/s3/aws4_request"
	hashed := sha256.Sum256([]byte(canonical))
	what := "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hex.EncodeToString(hashed[:])
	key := mac([]byte("AWS4"+k.secret), date[:8])
	for _, s := range []string{region, "s3", "aws4_request"} {
		key = mac(key, s)
	}
	h.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+k.id+"/"+scope+",SignedHeaders="+signed+",Signature="+hex.EncodeToString(mac(key, what)))
}

func mac(key []byte, s string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(s))
	return m.Sum(nil)
}

// escape is the canonical form of a path (slash true: slashes stay) or of a parameter:
// all but RFC 3986's unreserved characters as %XX.
func escape(s string, slash bool) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/' && slash:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// queryString is the canonical form of parameters given as name, value, name, value …, sorted by name by the caller.
func queryString(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(escape(pairs[i], false))
		b.WriteByte('=')
		b.WriteString(escape(pairs[i+1], false))
	}
	return b.String()
}
