package app

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// identityFile holds what tells this node from others with its host name. A copy of the directory needs one of its own: remove it there.
const identityFile = "node-id"

const identityLength = 6

var identityForm = regexp.MustCompile(`^[a-z0-9]{1,32}$`)

// nodeName is what the cell knows the node by: its host name and a random id that its directory keeps.
func nodeName(dir, hostname string) (string, error) {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	id := strings.TrimSpace(string(b))
	switch {
	case err == nil && identityForm.MatchString(id):
		return hostname + "-" + id, nil
	case err == nil || errors.Is(err, fs.ErrNotExist): // or cut off while it was written: nobody knows it yet
	default:
		return "", err
	}
	id = strings.ToLower(rand.Text()[:identityLength])
	return hostname + "-" + id, writeDurable(path, []byte(id+"\n"), 0o644)
}
