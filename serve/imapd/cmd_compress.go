package imapd

import (
	"bahnpost/wire/imap"
)

// compress: COMPRESS SP "DEFLATE" (RFC 4978 §3). The tagged OK is the last thing said in clear.
func compress(s *session, d *imap.Decoder) error {
	d.SP()
	alg := d.Keyword()
	d.End()
	switch {
	case d.Err() != nil:
		return d.Err()
	case alg != "DEFLATE":
		return bad("compression algorithm is not known")
	case s.deflate != nil:
		s.cmd.code = "COMPRESSIONACTIVE"
		return bad("COMPRESS is already active")
	}
	s.tagged(verdict{word: "OK", text: "DEFLATE active"})
	s.out.flush()
	s.startDeflate()
	s.cmd.answered = true
	return nil
}

// deflateState is the compression layer of a session. What stays in memory while the client is silent is
// its window (it grows with what the client says) and 1 KB of what we said last.
type deflateState struct {
	in    *imap.Inflater
	out   *imap.Deflater
	first [1]byte // the clear octet that ended the waiting
	has   bool
}

// startDeflate puts the layer between the buffers and the connection. What the client sent behind its
// command can only be compressed already.
func (s *session) startDeflate() {
	z := &deflateState{
		in:  imap.NewInflater(s.in.src, s.in.buf[s.in.r:s.in.w]),
		out: imap.NewDeflater(s.out.dst),
	}
	s.in.drop()
	s.in.src, s.out.dst, s.deflate = z, z.out, z
}

// await blocks until there is a clear octet to read.
func (z *deflateState) await() error {
	if z.has {
		return nil
	}
	err := z.in.Await(z.first[:])
	z.has = err == nil
	return err
}

// Read implements io.Reader for the input buffer.
func (z *deflateState) Read(p []byte) (int, error) {
	if z.has && len(p) > 0 {
		p[0], z.has = z.first[0], false
		return 1, nil
	}
	return z.in.Read(p)
}

// rest gives buffers back at the end of a turn.
func (z *deflateState) rest() {
	z.in.Rest()
	z.out.Rest()
}
