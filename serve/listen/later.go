package listen

// Lender lends the buffer into which a session reads what it waited for.
type Lender interface {
	Lend() []byte // not empty
	Return()      // nothing came into what was lent last
}

// laterReader is a connection that can wait without a buffer.
type laterReader interface {
	ReadLater(to Lender) (int, error)
}

// ReadLater is Read into the buffer that to lends, which it asks for when there may be something to read: a session that waits holds none
// (but under TLS those of crypto/tls). n is how many octets of what was lent last are filled. For the session's goroutine only.
func (c *Conn) ReadLater(to Lender) (n int, err error) {
	if r, ok := c.Conn.(laterReader); ok {
		return r.ReadLater(to)
	}
	if n, err = c.Conn.Read(c.first[:]); n > 0 {
		return copy(to.Lend(), c.first[:n]), nil
	}
	return 0, err
}
