package app

import (
	"fmt"
	"os"
	"strings"

	"bahnpost/store"
)

// shared reports whether other nodes may serve the same cell.
func (s *StoreConfig) shared() bool { return s.Database != "" }

// dsn is the database's address with its password, wherever that is kept; "" is SQLite.
func (s *StoreConfig) dsn(dir string) (string, error) {
	if s.PasswordFile == "" || s.Database == "" {
		return s.Database, nil
	}
	b, err := os.ReadFile(under(dir, s.PasswordFile))
	if err != nil {
		return "", fmt.Errorf("[store] database_password_file: %w", err)
	}
	return store.WithPassword(s.Database, strings.TrimRight(string(b), "\r\n")), nil
}

// inRows reports whether bodies have no place but their rows.
func (s *StoreConfig) inRows() bool { return s.Database != "" && len(s.Bodies) == 0 }

// inlineMax is inline_max, unless there is no other place.
func (s *StoreConfig) inlineMax() int {
	if s.inRows() {
		return store.RowMax
	}
	return int(s.InlineMax)
}

// maxMessage is the largest message that the node can take.
func (c *Config) maxMessage() int64 {
	if c.Store.inRows() {
		return min(int64(c.Mail.MaxMessage), store.RowMax)
	}
	return int64(c.Mail.MaxMessage)
}
