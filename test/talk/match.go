package talk

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var captureName = regexp.MustCompile(`\$[a-z][a-z0-9]*`)

// show writes a line of the server as the scripts do: literals as {5|text}, or as {file}.
func (s *script) show(line string) string {
	if !s.env.Literals {
		return line
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(line, '\n')
		if i < 0 {
			b.WriteString(line)
			return b.String()
		}
		head := strings.TrimSuffix(line[:i], "\r")
		n, ok := literalSize([]byte(head))
		line = line[i+1:]
		if !ok || n > len(line) {
			b.WriteString(head)
			continue
		}
		b.WriteString(head[:strings.LastIndexByte(head, '{')])
		b.WriteString(s.showLiteral(line[:n]))
		line = line[n:]
	}
}

func (s *script) showLiteral(text string) string {
	for name, data := range s.files {
		if string(data) == text {
			return "{" + name + "}"
		}
	}
	q := strconv.Quote(text)
	return fmt.Sprintf("{%d|%s}", len(text), strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`))
}

// match compares a shown line with a pattern and keeps its captures.
func (s *script) match(pattern, line string) bool {
	line, pattern = strings.TrimRight(line, " "), strings.TrimRight(pattern, " ")
	re, names := s.compile(pattern)
	m := re.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	for i, n := range names {
		if old, ok := s.captured[n]; ok && old != m[i+1] {
			return false
		}
		s.captured[n] = m[i+1]
	}
	return true
}

func (s *script) compile(pattern string) (*regexp.Regexp, []string) {
	var b bytes.Buffer
	var names []string
	b.WriteString(`^`)
	for i := 0; i < len(pattern); {
		rest := pattern[i:]
		switch {
		case rest == "*" && i > 0 && pattern[i-1] != '\\':
			b.WriteString(`(?s:.*)`)
			i++
		case rest == " *":
			b.WriteString(`(?s: .*)?`)
			i += 2
		case isWord(pattern, i):
			b.WriteString(`[^\s\])]*`)
			i++
		case captureName.MatchString(rest) && captureName.FindStringIndex(rest)[0] == 0:
			n := captureName.FindString(rest)
			i += len(n)
			if v, ok := s.captured[n[1:]]; ok {
				b.WriteString(regexp.QuoteMeta(v))
				continue
			}
			names = append(names, n[1:])
			b.WriteString(`([^\s\])]+)`)
		default:
			b.WriteString(regexp.QuoteMeta(rest[:1]))
			i++
		}
	}
	b.WriteString(`$`)
	return regexp.MustCompile(b.String()), names
}

// isWord reports whether the * at i stands alone.
func isWord(p string, i int) bool {
	if p[i] != '*' || i == 0 || i+1 >= len(p) {
		return false
	}
	return strings.IndexByte(" [(", p[i-1]) >= 0 && strings.IndexByte(" ])", p[i+1]) >= 0
}

// expand replaces captured names in what is sent.
func (s *script) expand(text string) string {
	return captureName.ReplaceAllStringFunc(text, func(n string) string {
		if v, ok := s.captured[n[1:]]; ok {
			return v
		}
		return n
	})
}
