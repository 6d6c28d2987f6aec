package s3

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// credentials are an access key. They have no String on purpose: nothing prints them.
type credentials struct{ id, secret, token string }

// keyring holds the credentials in use. Those of a file are read again when the
// server refuses them: whoever renews them replaces the file.
type keyring struct {
	file, profile string

	mu  sync.Mutex
	now credentials
}

const maxKeyFile = 64 << 10

func (k *keyring) get() credentials {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// load reads the credentials; changed: they are others than before.
func (k *keyring) load() (changed bool, err error) {
	now := credentials{os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")}
	if k.file != "" {
		f, err := os.Open(k.file)
		if err != nil {
			return false, fmt.Errorf("s3: credentials: %w", err)
		}
		defer f.Close()
		now = parseKeys(io.LimitReader(f, maxKeyFile), k.profile)
	}
	if now.id == "" || now.secret == "" {
		if k.file != "" {
			return false, fmt.Errorf("s3: credentials: %s has no aws_access_key_id and aws_secret_access_key for [%s]", k.file, k.profile)
		}
		return false, errors.New("s3: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file (credentials=)")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	changed = k.now != now
	k.now = now
	return changed, nil
}

// parseKeys reads a section of an INI file as AWS's tools write it. Lines it does not understand are passed over.
func parseKeys(r io.Reader, profile string) (c credentials) {
	in := false
	for s := bufio.NewScanner(r); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if strings.HasPrefix(line, "[") {
			in = strings.TrimSpace(strings.Trim(line, "[]")) == profile
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !in || !ok || strings.HasPrefix(line, "#") {
			continue
		}
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "aws_access_key_id":
			c.id = value
		case "aws_secret_access_key":
			c.secret = value
		case "aws_session_token":
			c.token = value
		}
	}
	return c
}
