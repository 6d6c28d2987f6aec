package blob

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// A body that lives alone, on S3 or in a folder, is sealed:
//
//	sealed = "BPBODY1\n", 4 zeros, crc:4, blocks
//	block  = crc:4, 64 KiB of the body, the last one less
//
// All integers are little-endian, crc is CRC-32C. That of the head covers the 12
// octets before it, that of a block its octets; each begins with the body's id, and a block's
// goes on with its number, so that neither another body nor another block is taken for this one. Head and
// checksums stand before what they are about: a body of unknown length can be sealed as it comes, any
// range of blocks can be read and verified with one request, and no table must be read first.
//
// The name of a sealed body is its reference: kind, id, length. Its length is known
// when it gets its name, so a listing tells of an object that was cut.
const (
	sealMagic = "BPBODY1\n"
	sealHead  = 16
	sumSize   = 4
	slot      = sumSize + blockSize // a whole block with its checksum

	kindShelf = 's' // was on the shelf when it got its row
	kindLate  = 'l' // went to a node's spool first; see spool
)

// sealedName is a reference, taken apart. Its string is the Ref.
type sealedName struct {
	kind   byte
	id     string // fileIDLen hexadecimal digits, random
	length int64  // of the body
}

func newName(kind byte) sealedName {
	var raw [fileIDLen / 2]byte
	rand.Read(raw[:])
	return sealedName{kind: kind, id: hex.EncodeToString(raw[:])}
}

func (n sealedName) ref() Ref {
	return Ref(string(n.kind) + n.id + "." + strconv.FormatInt(n.length, refBase))
}

// key is where the body is on its shelf: spread over 256 directories.
func (n sealedName) key() string { return n.id[:2] + "/" + string(n.ref()) }

// parseSealed understands exactly what ref makes: one spelling for one body.
func parseSealed(r Ref) (sealedName, error) {
	s := string(r)
	if len(s) > 1+fileIDLen && len(s) <= maxRefLen && (s[0] == kindShelf || s[0] == kindLate) {
		id, tail := s[1:1+fileIDLen], s[1+fileIDLen:]
		digits, dot := strings.CutPrefix(tail, ".")
		length, err := strconv.ParseUint(digits, refBase, 47)
		n := sealedName{kind: s[0], id: id, length: int64(length)}
		if dot && err == nil && strings.Trim(id, "0123456789abcdef") == "" && n.ref() == r {
			return n, nil
		}
	}
	return sealedName{}, fmt.Errorf("blob: malformed reference %.*q: %w", maxRefLen, s, fs.ErrNotExist)
}

// parseKey is the inverse of key.
func parseKey(key string) (sealedName, bool) {
	shard, ref, ok := strings.Cut(key, "/")
	n, err := parseSealed(Ref(ref))
	return n, ok && err == nil && shard == n.id[:2]
}

// sealedSize is what a body of length takes.
func sealedSize(length int64) int64 { return sealHead + length + sumSize*int64(blocks(length)) }

func castagnoli(sum uint32, b []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b)
}

func blockSum(id string, i int, data []byte) uint32 {
	var x [fileIDLen + 8]byte
	copy(x[:], id)
	binary.LittleEndian.PutUint64(x[fileIDLen:], uint64(i))
	return castagnoli(crc(x[:]), data)
}

func appendSealHead(b []byte, id string) []byte {
	at := len(b)
	b = append(b, sealMagic...)
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, castagnoli(crc([]byte(id)), b[at:]))
}

func appendSealBlock(b []byte, id string, i int, data []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, blockSum(id, i, data))
	return append(b, data...)
}

// seal appends the sealed form of a whole body.
func seal(b []byte, id string, data []byte) []byte {
	b = appendSealHead(b, id)
	for i := 0; len(data) > 0; i++ {
		n := min(len(data), blockSize)
		b = appendSealBlock(b, id, i, data[:n])
		data = data[n:]
	}
	return b
}

// sealedSpan is where the blocks that hold n octets from block first on are in the sealed body. With the first block comes the head.
func sealedSpan(first int, n int64) (off, size int64) {
	size = n + sumSize*int64(blocks(n))
	if first == 0 {
		return 0, sealHead + size
	}
	return sealHead + int64(first)*slot, size
}

// unseal verifies raw, what is at sealedSpan(first, len(dst)), and copies the body's octets to dst.
func unseal(dst, raw []byte, id string, first int) error {
	if first == 0 {
		if string(raw[:sealHead]) != string(appendSealHead(nil, id)) {
			return fmt.Errorf("head: %w", ErrCorrupt)
		}
		raw = raw[sealHead:]
	}
	for i := first; len(dst) > 0; i++ {
		n := min(len(dst), blockSize)
		data := raw[sumSize : sumSize+n]
		if blockSum(id, i, data) != binary.LittleEndian.Uint32(raw) {
			return fmt.Errorf("block %d: %w", i, ErrCorrupt)
		}
		copy(dst, data)
		dst, raw = dst[n:], raw[sumSize+n:]
	}
	return nil
}

// sealed is a whole sealed body on its way to a shelf.
type sealed struct {
	sealedName
	from io.ReaderAt
	sum  [sha256.Size]byte // of the sealed octets
}

func (s sealed) size() int64 { return sealedSize(s.length) }

// sealer seals a stream.
type sealer struct {
	id     string
	to     io.Writer
	hash   hash.Hash // of all that went to to; nil: not wanted
	length int64
	block  []byte // the block that is not full yet
	out    []byte
}

func newSealer(id string, to io.Writer, hash hash.Hash) *sealer {
	return &sealer{id: id, to: to, hash: hash, block: make([]byte, 0, blockSize), out: appendSealHead(make([]byte, 0, sealHead+slot), id)}
}

func (s *sealer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), blockSize-len(s.block))
		s.block = append(s.block, p[:k]...)
		p = p[k:]
		if len(s.block) == blockSize {
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (s *sealer) flush() error {
	if len(s.block) > 0 {
		s.out = appendSealBlock(s.out, s.id, int(s.length/blockSize), s.block)
		s.length += int64(len(s.block))
		s.block = s.block[:0]
	}
	if s.hash != nil {
		s.hash.Write(s.out)
	}
	_, err := s.to.Write(s.out)
	s.out = s.out[:0]
	return err
}
