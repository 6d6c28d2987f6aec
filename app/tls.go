package app

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"sync/atomic"
)

// certificates hands out the current certificate; load replaces it.
type certificates struct {
	current atomic.Pointer[tls.Certificate]
}

// load reads the PEM files again; on an error the old certificate stays.
func (c *certificates) load(dir string, t TLSConfig) error {
	cert, err := tls.LoadX509KeyPair(under(dir, t.Certificate), under(dir, t.Key))
	if err != nil {
		return fmt.Errorf("[tls] certificate %s, key %s: %w", under(dir, t.Certificate), under(dir, t.Key), err)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return err
		}
	}
	c.current.Store(&cert)
	return nil
}

// config is TLS 1.2 and above with Go's choice of suites (RFC 9325).
func (c *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil }}
}

// under makes a path relative to the node's directory absolute.
func under(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
