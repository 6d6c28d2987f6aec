package listen

import (
	"crypto/tls"
	"net"
	"strings"
)

// portTLS makes a protocol's configuration out of the common one.
func portTLS(base *tls.Config, protocol string) *tls.Config {
	c := base.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12) // RFC 8314 §4.1, RFC 8996
	if c.CipherSuites == nil {
		c.CipherSuites = suites12()
	}
	c.NextProtos = alpn(protocol)
	next := c.GetConfigForClient
	pick := base // certificates
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if w, ok := h.Conn.(*hello); ok {
			w.c.cert = choose(pick, h)
		}
		if next == nil {
			return nil, nil
		}
		own, err := next(h)
		if own == nil || err != nil {
			return nil, err
		}
		own = own.Clone() // costs its session tickets; GetCertificate is the better hook
		own.NextProtos = alpn(protocol)
		own.MinVersion = max(own.MinVersion, tls.VersionTLS12)
		if w, ok := h.Conn.(*hello); ok {
			w.c.cert = choose(own, h)
		}
		return own, nil
	}
	return c
}

// suites12 are the TLS 1.2 suites with forward secrecy and AEAD (RFC 9325 §4.2);
// what speaks 1.2 at all has one of them. TLS 1.3 has its own.
func suites12() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// alpn names a protocol in ALPN (RFC 7301, IANA). A client that offers names
// and not this one is refused by crypto/tls with no_application_protocol: a
// browser that was lured to a mail port, or the other way round, gets nowhere
// (ALPACA, RFC 9325 §3.7). A client that offers none is welcome.
func alpn(protocol string) []string {
	switch protocol {
	case "imap", "imaps":
		return []string{"imap"}
	case "pop3", "pop3s":
		return []string{"pop3"}
	case "managesieve":
		return []string{"managesieve"}
	case "http", "https":
		return []string{"h2", "http/1.1"}
	case "smtp", "submission", "submissions":
		return []string{"smtp", "submission"} // not registered; what Exim and others offer
	}
	return []string{strings.TrimSuffix(protocol, "s"), protocol}
}

// hello is what crypto/tls reads from and writes to: it leads from a ClientHelloInfo back to our Conn.
type hello struct {
	net.Conn
	c *Conn
}

// Write implements net.Conn, see Conn.WriteWithin.
func (h *hello) Write(p []byte) (int, error) { return h.c.push(p) }

// choose repeats crypto/tls's choice of certificate. It is needed because
// ConnectionState does not tell the server its own certificate, and a resumed
// session never asks for one, but tls-server-end-point (RFC 5929 §4) hashes it.
func choose(c *tls.Config, h *tls.ClientHelloInfo) *tls.Certificate {
	if c.GetCertificate != nil {
		if cert, err := c.GetCertificate(h); err == nil && cert != nil {
			return cert
		}
	}
	for i := range c.Certificates {
		if h.SupportsCertificate(&c.Certificates[i]) == nil {
			return &c.Certificates[i]
		}
	}
	if len(c.Certificates) > 0 {
		return &c.Certificates[0]
	}
	return nil
}
