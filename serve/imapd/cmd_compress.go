package imapd

import (
	"io"

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
		return no("COMPRESSIONACTIVE", "DEFLATE is active already")
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
	busy  io.Reader // where compressed octets come from while a command is read
	wait  io.Reader // the same while none is: no deadline is moved and nothing flushed there
	idle  bool      // wait is to be used
}

// deflateSource is the compressed side of the inflater.
type deflateSource struct{ z *deflateState }

func (r deflateSource) Read(p []byte) (int, error) {
	if r.z.idle {
		return r.z.wait.Read(p)
	}
	return r.z.busy.Read(p)
}

// startDeflate puts the layer between the buffers and the connection. What the client sent behind its
// command can only be compressed already.
func (s *session) startDeflate() {
	z := &deflateState{out: imap.NewDeflater(s.out.dst), busy: s.in.src, wait: s.conn}
	z.in = imap.NewInflater(deflateSource{z}, s.in.buf[s.in.r:s.in.w])
	s.in.drop()
	s.in.src, s.out.dst, s.deflate = z, z.out, z
}

// await blocks until there is a clear octet to read.
func (z *deflateState) await() error {
	if z.has {
		return nil
	}
	z.idle = true
	err := z.in.Await(z.first[:])
	z.idle = false
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
