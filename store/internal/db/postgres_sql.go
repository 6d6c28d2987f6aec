package db

import (
	"fmt"
	"strconv"
	"strings"
)

// The dialect. SQL in this house is one text for both engines, written as
// SQLite takes it. translate makes PostgreSQL's of it, word by word: it knows no
// grammar, and changes no more than this:
//
//	?   ?3                    →  $1  $3
//	INTEGER, BLOB, TEXT       →  bigint, bytea, text COLLATE "C"   (in CREATE and ALTER)
//	WITHOUT ROWID             →  nothing
//	&~                        →  & ~        (PostgreSQL would read one operator)
//	x'00ff'                   →  '\x00ff'::bytea
//
// All else must be said in a way that both understand; decision 0007 has the list.

// translate returns the text for PostgreSQL of one statement, and how many parameters it has.
func translate(sql string) (text string, params int, err error) { return rewrite(sql, false) }

// translateScript is translate for several statements.
func translateScript(sql string) (text string, params int, err error) { return rewrite(sql, true) }

// rewriter goes over a text once.
type rewriter struct {
	in     string
	at     int
	out    strings.Builder
	params int
	ddl    bool // the running statement defines tables
	first  bool // the next word is the first of its statement
	ended  bool // a semicolon was met
}

func rewrite(sql string, many bool) (string, int, error) {
	w := rewriter{in: sql, first: true}
	for w.at < len(sql) {
		if err := w.token(many); err != nil {
			return "", 0, fmt.Errorf("db: %w: %s", err, sql)
		}
	}
	if w.first && !many && !w.ended {
		return "", 0, fmt.Errorf("db: not one statement: %s", sql)
	}
	return w.out.String(), w.params, nil
}

func (w *rewriter) token(many bool) error {
	rest, c := w.in[w.at:], w.in[w.at]
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		w.copy(1)
		return nil
	case strings.HasPrefix(rest, "--"):
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
		}
		w.at += end
		return nil
	case c == ';':
		w.first, w.ended, w.ddl = true, true, false
		w.copy(1)
		return nil
	case w.ended && !many:
		return fmt.Errorf("not one statement")
	case c == '\'' || c == '"':
		return w.quoted(0)
	case (c == 'x' || c == 'X') && strings.HasPrefix(rest[1:], "'"):
		w.out.WriteString(`'\x`)
		if err := w.quoted(2); err != nil {
			return err
		}
		w.out.WriteString(`::bytea`)
	case c == '?':
		return w.param()
	case wordByte(c):
		w.word()
	case c == '~' && w.at > 0 && strings.IndexByte("&|<>=+-*/", w.in[w.at-1]) >= 0:
		w.out.WriteByte(' ')
		w.copy(1)
	default:
		w.copy(1)
	}
	w.first = false
	return nil
}

func (w *rewriter) copy(n int) {
	w.out.WriteString(w.in[w.at : w.at+n])
	w.at += n
}

// quoted copies a literal or a quoted name, of which skip octets are written already.
func (w *rewriter) quoted(skip int) error {
	quote, i := w.in[w.at+max(skip-1, 0)], w.at+max(skip, 1)
	for ; i < len(w.in); i++ {
		if w.in[i] == quote {
			if i+1 < len(w.in) && w.in[i+1] == quote {
				i++
				continue
			}
			w.out.WriteString(w.in[w.at+skip : i+1])
			w.at = i + 1
			return nil
		}
	}
	return fmt.Errorf("a quote is not closed")
}

func (w *rewriter) param() error {
	end := w.at + 1
	for end < len(w.in) && '0' <= w.in[end] && w.in[end] <= '9' {
		end++
	}
	n := w.params + 1
	if end > w.at+1 {
		var err error
		if n, err = strconv.Atoi(w.in[w.at+1 : end]); err != nil || n < 1 || n > maxPgParams {
			return fmt.Errorf("parameter %s is not possible", w.in[w.at:end])
		}
	}
	w.params = max(w.params, n)
	w.out.WriteByte('$')
	w.out.WriteString(strconv.Itoa(n))
	w.at = end
	return nil
}

func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (w *rewriter) word() {
	end := w.at
	for end < len(w.in) && wordByte(w.in[end]) {
		end++
	}
	word := w.in[w.at:end]
	if w.first {
		w.ddl = word == "CREATE" || word == "ALTER"
	}
	w.at = end
	if w.ddl {
		switch word {
		case "INTEGER":
			word = "bigint"
		case "BLOB":
			word = "bytea"
		case "TEXT":
			word = `text COLLATE "C"`
		case "WITHOUT":
			if after, ok := strings.CutPrefix(w.in[end:], " ROWID"); ok {
				w.at, word = len(w.in)-len(after), ""
			}
		}
	}
	w.out.WriteString(word)
}
