package blob

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// The layout of a pack, all integers little-endian:
//
//	pack    = "BPPACK1\n" number:8, records
//	record  = header:32, crc:4 for each block of the body, body, zeros up to a multiple of 8
//	header  = magic:4, state:1, 3 zeros, length:8, time:8 (Unix seconds), crc of the table:4, crc:4
//
// The header's crc covers the header without its state and the record's place,
// so a copy of a record inside a body is not taken for a record. state is the
// one octet that is ever overwritten: a record that was deleted says so. A
// record of a torn write ends the pack: nothing behind it was acknowledged.
//
// A record's body has at most maxPutLimit octets; readers rely on it.
//
// A file of its own holds the body first, so that it can be read with any
// tool, then the table, then a header (with crc place 0) as footer.
const (
	packMagic  = "BPPACK1\n"
	packHeader = 16
	recMagic   = 0x43525042 // "BPRC"
	recHeader  = 32
	recAlign   = 8
	blockSize  = 64 << 10 // octets under one checksum: what a small read costs at most

	stateLive = 1
	stateDead = 2
)

// header is a record's header in memory.
type header struct {
	state  byte
	length int64
	time   int64
	table  uint32 // crc of the block table
}

func crc(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func blocks(length int64) int { return int((length + blockSize - 1) / blockSize) }

// recordSize is what a body of length takes in a pack.
func recordSize(length int64) int64 {
	n := recHeader + 4*int64(blocks(length)) + length
	return (n + recAlign - 1) &^ (recAlign - 1)
}

// bodyOffset is the distance from the header to the body.
func bodyOffset(length int64) int64 { return recHeader + 4*int64(blocks(length)) }

// appendRecordHead appends header and table for a record at (pack, off).
func appendRecordHead(b []byte, pack uint64, off int64, h header, table []uint32) []byte {
	at := len(b)
	b = append(b, make([]byte, recHeader)...)
	for _, c := range table {
		b = binary.LittleEndian.AppendUint32(b, c)
	}
	h.table = crc(b[at+recHeader:])
	putHeader(b[at:at+recHeader], pack, off, h)
	return b
}

func putHeader(b []byte, pack uint64, off int64, h header) {
	binary.LittleEndian.PutUint32(b, recMagic)
	b[4], b[5], b[6], b[7] = h.state, 0, 0, 0
	binary.LittleEndian.PutUint64(b[8:], uint64(h.length))
	binary.LittleEndian.PutUint64(b[16:], uint64(h.time))
	binary.LittleEndian.PutUint32(b[24:], h.table)
	binary.LittleEndian.PutUint32(b[28:], headerCRC(b, pack, off))
}

func headerCRC(b []byte, pack uint64, off int64) uint32 {
	var x [recHeader + 12]byte
	copy(x[:], b[:28])
	x[4] = 0
	binary.LittleEndian.PutUint64(x[28:], pack)
	binary.LittleEndian.PutUint64(x[36:], uint64(off))
	return crc(x[:])
}

// parseHeader reports whether b begins with a header that belongs at (pack, off).
func parseHeader(b []byte, pack uint64, off int64) (header, bool) {
	if len(b) < recHeader || binary.LittleEndian.Uint32(b) != recMagic ||
		binary.LittleEndian.Uint32(b[28:]) != headerCRC(b, pack, off) {
		return header{}, false
	}
	h := header{
		state:  b[4],
		length: int64(binary.LittleEndian.Uint64(b[8:])),
		time:   int64(binary.LittleEndian.Uint64(b[16:])),
		table:  binary.LittleEndian.Uint32(b[24:]),
	}
	return h, h.length >= 0 && (h.state == stateLive || h.state == stateDead)
}

func (h header) when() time.Time { return time.Unix(h.time, 0) }

// sum fills table with the checksums of data's blocks.
func sum(table []uint32, data []byte) []uint32 {
	for len(data) > 0 {
		n := min(len(data), blockSize)
		table = append(table, crc(data[:n]))
		data = data[n:]
	}
	return table
}

// parseTable checks and decodes a block table.
func parseTable(b []byte, h header) ([]uint32, error) {
	if crc(b) != h.table {
		return nil, fmt.Errorf("block table: %w", ErrCorrupt)
	}
	t := make([]uint32, len(b)/4)
	for i := range t {
		t[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return t, nil
}
