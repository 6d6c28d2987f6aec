package blob

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestSealer(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 5} {
		name := newName(kindShelf)
		name.length = int64(n)
		data := body(uint64(n), n)
		whole := seal(nil, name.id, data)
		if int64(len(whole)) != sealedSize(name.length) {
			t.Fatalf("%d octets: sealed %d, want %d", n, len(whole), sealedSize(name.length))
		}
		var b bytes.Buffer
		hash := sha256.New()
		s := newSealer(name.id, &b, hash)
		for rest := data; len(rest) > 0; {
			k := min(len(rest), 777)
			s.Write(rest[:k])
			rest = rest[k:]
		}
		if err := s.flush(); err != nil || s.length != name.length || !bytes.Equal(b.Bytes(), whole) {
			t.Fatalf("%d octets: the stream differs, %v", n, err)
		}
		if sum := sha256.Sum256(whole); string(hash.Sum(nil)) != string(sum[:]) {
			t.Fatal("wrong sum")
		}
		for first := 0; first <= n/blockSize && first*blockSize < max(n, 1); first++ {
			dst := make([]byte, n-first*blockSize)
			off, size := sealedSpan(first, int64(len(dst)))
			if err := unseal(dst, whole[off:off+size], name.id, first); err != nil || !bytes.Equal(dst, data[first*blockSize:]) {
				t.Fatalf("%d octets from block %d: %v", n, first, err)
			}
		}
	}
}

func FuzzParseSealed(f *testing.F) {
	f.Add("s" + strings.Repeat("ab", 16) + ".1z")
	f.Add("l" + strings.Repeat("00", 16) + ".0")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSealed(Ref(s))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) || len(err.Error()) > 400 {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if string(n.ref()) != s || len(s) > maxRefLen || n.length < 0 || sealedSize(n.length) < sealHead {
			t.Errorf("%q: %+v", s, n)
		}
		if back, ok := parseKey(n.key()); !ok || back != n {
			t.Errorf("key %q: %+v", n.key(), back)
		}
		if strings.Contains(n.key(), "..") || strings.Count(n.key(), "/") != 1 {
			t.Errorf("key %q", n.key())
		}
	})
}

// FuzzUnseal: octets are handed out only if they are what was sealed.
func FuzzUnseal(f *testing.F) {
	name := newName(kindShelf).id
	f.Add([]byte("hello"), 3, byte(1), false)
	f.Add(bytes.Repeat([]byte("x"), 70_000), 66_000, byte(0x80), true)
	f.Fuzz(func(t *testing.T, data []byte, at int, flip byte, cut bool) {
		raw := seal(nil, name, data)
		at = max(at, 0) % len(raw)
		raw[at] ^= flip
		dst := make([]byte, len(data))
		size := sealedSize(int64(len(data)))
		err := readSpan(sealedName{id: name, length: int64(len(data))}, 0, dst, new(buffers), func(off int64, p []byte) (int64, error) {
			copy(p, raw[off:])
			if cut {
				return size - 1, nil
			}
			return size, nil
		})
		if ok := flip == 0 && !cut; (err == nil) != ok || err != nil && !errors.Is(err, ErrCorrupt) || ok && !bytes.Equal(dst, data) {
			t.Errorf("octet %d of %d changed by %d, cut %v: %v", at, len(raw), flip, cut, err)
		}
	})
}
