package blob

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// place is where a Ref of Dir points.
type place struct {
	pack   uint64 // number of the pack; 0: a file of its own
	off    int64  // of the record header in the pack
	length int64  // of the body (packs only)
	file   string // name below files/
}

const (
	refBase   = 36
	maxRefLen = 64
	fileIDLen = 32 // hexadecimal digits of a random file name
)

func packRef(pack uint64, off, length int64) Ref {
	b := make([]byte, 1, 40)
	b[0] = 'p'
	b = strconv.AppendUint(b, pack, refBase)
	b = append(b, '.')
	b = strconv.AppendInt(b, off, refBase)
	b = append(b, '.')
	b = strconv.AppendInt(b, length, refBase)
	return Ref(b)
}

// parseRef understands exactly what packRef and files make: one spelling for one body.
func parseRef(r Ref) (place, error) {
	s := string(r)
	bad := func() (place, error) {
		return place{}, fmt.Errorf("blob: malformed reference %.*q: %w", maxRefLen, s, fs.ErrNotExist)
	}
	if len(s) < 2 || len(s) > maxRefLen {
		return bad()
	}
	switch s[0] {
	case 'f':
		if id := s[1:]; len(id) == fileIDLen && strings.Trim(id, "0123456789abcdef") == "" {
			return place{file: id}, nil
		}
	case 'p':
		a, rest, _ := strings.Cut(s[1:], ".")
		b, c, _ := strings.Cut(rest, ".")
		pack, err1 := strconv.ParseUint(a, refBase, 63)
		off, err2 := strconv.ParseUint(b, refBase, 47)
		n, err3 := strconv.ParseUint(c, refBase, 47)
		if err1 == nil && err2 == nil && err3 == nil && pack > 0 && n <= maxPutLimit && packRef(pack, int64(off), int64(n)) == r {
			return place{pack: pack, off: int64(off), length: int64(n)}, nil
		}
	}
	return bad()
}
