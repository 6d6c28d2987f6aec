package drill

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// The ports of the protocols that clients speak here.
const (
	portLMTP = 24
	portIMAP = 143
	portPOP3 = 110
)

// maxLiteral bounds what a client takes of one literal.
const maxLiteral = 64 << 20

// wire is a connection that speaks lines; each exchange has patience.
type wire struct {
	net.Conn
	r        *bufio.Reader
	patience time.Duration
	tags     int
}

// errSaid is a reply that refuses: the command had no effect, and the connection goes on.
type errSaid string

func (e errSaid) Error() string { return string(e) }

// refused says whether err is the server's own no, and not the loss of its answer.
func refused(err error) bool {
	_, ok := errors.AsType[errSaid](err)
	return ok
}

func dial(n *Node, port int, patience time.Duration) (*wire, error) {
	c, err := n.Dial(port, patience)
	if err != nil {
		return nil, err
	}
	return newWire(c, patience), nil
}

func newWire(c net.Conn, patience time.Duration) *wire {
	return &wire{Conn: c, r: bufio.NewReader(c), patience: patience}
}

func (w *wire) line() (string, error) {
	s, err := w.r.ReadString('\n')
	return strings.TrimRight(s, "\r\n"), err
}

// say sends, and begins to wait for an answer.
func (w *wire) say(format string, args ...any) error {
	w.SetDeadline(time.Now().Add(w.patience))
	_, err := fmt.Fprintf(w, format, args...)
	return err
}

// reply reads an SMTP reply and returns its last line; one that refuses is an errSaid.
func (w *wire) reply() (string, error) {
	for {
		s, err := w.line()
		switch {
		case err != nil:
			return s, err
		case len(s) >= 4 && s[3] == '-':
		case s == "" || s[0] != '2' && s[0] != '3':
			return s, errSaid(s)
		default:
			return s, nil
		}
	}
}

// smtp sends a line and reads the reply.
func (w *wire) smtp(format string, args ...any) error {
	if err := w.say(format+"\r\n", args...); err != nil {
		return err
	}
	_, err := w.reply()
	return err
}

// dialLMTP connects and says LHLO (RFC 2033).
func dialLMTP(n *Node, patience time.Duration) (*wire, error) {
	w, err := dial(n, portLMTP, patience)
	if err != nil {
		return nil, err
	}
	w.SetDeadline(time.Now().Add(patience))
	if _, err = w.reply(); err == nil {
		err = w.smtp("LHLO client.example")
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// deliver sends a message. answers has an entry for each recipient that was answered: nil or an errSaid. sent says whether the
// message may have arrived: what was sent and not answered may be kept or not.
func (w *wire) deliver(message string, to []string) (answers []error, sent bool, err error) {
	if err := w.smtp("MAIL FROM:<sender@elsewhere.example>"); err != nil {
		return nil, false, err
	}
	for _, t := range to {
		if err := w.smtp("RCPT TO:<%s>", t); err != nil {
			return nil, false, err
		}
	}
	if err := w.smtp("DATA"); err != nil {
		return nil, false, err
	}
	if err := w.say("%s.\r\n", message); err != nil {
		return nil, true, err
	}
	for range to {
		_, err := w.reply()
		if err != nil && !refused(err) {
			return answers, true, err
		}
		answers = append(answers, err)
	}
	return answers, true, nil
}

// dialIMAP connects and logs in.
func dialIMAP(n *Node, user string, patience time.Duration) (*wire, error) {
	w, err := dial(n, portIMAP, patience)
	if err != nil {
		return nil, err
	}
	w.SetDeadline(time.Now().Add(patience))
	if s, e := w.line(); e != nil {
		err = e
	} else if !strings.HasPrefix(s, "* OK") {
		err = errSaid(s)
	} else {
		_, err = w.imap("LOGIN %s %s", user, secret)
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// imap sends a command and returns its untagged lines, literals inlined, the tagged one last; NO, BAD and BYE are an errSaid.
func (w *wire) imap(format string, args ...any) ([]string, error) {
	w.tags++
	tag := "d" + strconv.Itoa(w.tags)
	if err := w.say(tag+" "+format+"\r\n", args...); err != nil {
		return nil, err
	}
	return w.answer(tag)
}

// answer reads up to the tagged line.
func (w *wire) answer(tag string) (lines []string, err error) {
	bye := ""
	for {
		s, err := w.logical()
		if err != nil {
			if bye != "" {
				err = fmt.Errorf("%s: %w", bye, err) // no answer, but a farewell
			}
			return lines, err
		}
		rest, mine := strings.CutPrefix(s, tag+" ")
		switch {
		case mine && strings.HasPrefix(rest, "OK"):
			return append(lines, s), nil
		case mine:
			return lines, errSaid(rest)
		case strings.HasPrefix(s, "* BYE"):
			bye = s
		}
		lines = append(lines, s)
	}
}

// logical reads a line with its literals, each after a line feed.
func (w *wire) logical() (string, error) {
	var b strings.Builder
	for {
		s, err := w.line()
		if err != nil {
			return "", err
		}
		b.WriteString(s)
		i := strings.LastIndexByte(s, '{')
		if i < 0 || !strings.HasSuffix(s, "}") {
			return b.String(), nil
		}
		n, err := strconv.Atoi(s[i+1 : len(s)-1])
		if err != nil {
			return b.String(), nil
		}
		if n > maxLiteral {
			return "", fmt.Errorf("a literal of %d octets", n)
		}
		b.WriteString("\n")
		if _, err := io.CopyN(&b, w.r, int64(n)); err != nil {
			return "", err
		}
	}
}

// pop sends a line and reads the first line of the reply; -ERR is an errSaid.
func (w *wire) pop(format string, args ...any) (string, error) {
	if err := w.say(format+"\r\n", args...); err != nil {
		return "", err
	}
	return w.popReply()
}

func (w *wire) popReply() (string, error) {
	s, err := w.line()
	if err == nil && !strings.HasPrefix(s, "+OK") {
		err = errSaid(s)
	}
	return s, err
}

// popLines reads a reply of many lines, dots undone (RFC 1939 §3).
func (w *wire) popLines(format string, args ...any) ([]string, error) {
	if _, err := w.pop(format, args...); err != nil {
		return nil, err
	}
	var lines []string
	for {
		s, err := w.line()
		if err != nil || s == "." {
			return lines, err
		}
		lines = append(lines, strings.TrimPrefix(s, "."))
	}
}

// dialPOP3 connects and logs in.
func dialPOP3(n *Node, user string, patience time.Duration) (*wire, error) {
	w, err := dial(n, portPOP3, patience)
	if err != nil {
		return nil, err
	}
	w.SetDeadline(time.Now().Add(patience))
	if _, err = w.popReply(); err == nil {
		if _, err = w.pop("USER %s", user); err == nil {
			_, err = w.pop("PASS %s", secret)
		}
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}
