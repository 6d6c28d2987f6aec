package app

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"bahnpost/mail"
	"bahnpost/store"
)

//go:embed bahnpost.toml.tmpl
var configTemplate string

type templateValues struct {
	Hostname   string
	Loopback   bool
	PortOffset int
	Database   string
	Bodies     []string
}

// InitOptions are the flags of "bahnpost init".
type InitOptions struct {
	Domain, Hostname string // Domain may be "" where a cell is joined
	Loopback         bool
	PortOffset       int
	Database         string   // DSN of the cell's PostgreSQL [a cell of one node]
	Bodies           []string // as [store] bodies
}

// Founding is what Init made.
type Founding struct {
	Admin, Password string   // of the first administrator; "" if a cell was joined
	Domains         []string // of the cell that was joined
}

// Init makes dir a node: configuration, certificate, store, first domain and
// administrator, whose password it returns. Where the database holds a cell
// already the node joins it. Everything that can be checked is
// checked first; what can't be finished is taken away again, so that the next
// try starts clean. A certificate that is there already stays.
func Init(ctx context.Context, dir string, o InitOptions, admin string) (_ *Founding, err error) {
	if _, err := mail.ParseAddress(admin); admin != "" && err != nil {
		return nil, fmt.Errorf("--admin %q: %w", admin, err)
	}
	var made []string
	for _, name := range []string{ConfigFile, "tls", storeDir} {
		path := filepath.Join(dir, name)
		switch _, err := os.Lstat(path); {
		case errors.Is(err, fs.ErrNotExist):
			made = append(made, path)
		case err == nil && name == storeDir:
			return nil, fmt.Errorf("%s is already there; init starts only in a new directory", path)
		}
	}
	defer func() {
		if err != nil {
			for _, path := range made {
				err = errors.Join(err, os.RemoveAll(path))
			}
		}
	}()
	if err := WriteInit(dir, o); err != nil {
		return nil, withDisk(dir, err)
	}
	return FirstAccounts(ctx, dir, o.Domain, admin)
}

// WriteInit writes dir/bahnpost.toml and a self-signed certificate, unless
// there is one. A directory that already has a configuration is refused.
func WriteInit(dir string, o InitOptions) error {
	if _, err := mail.ParseDomain(o.Domain); err != nil && (o.Domain != "" || o.Database == "") {
		return fmt.Errorf("--domain %q: %w", o.Domain, err)
	}
	if _, err := mail.ParseDomain(o.Hostname); err != nil {
		return fmt.Errorf("--hostname %q: %w", o.Hostname, err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	path := filepath.Join(dir, ConfigFile)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s is already there; init starts only in a new directory", path)
	}
	b, err := render(templateValues{o.Hostname, o.Loopback, o.PortOffset, o.Database, o.Bodies})
	if err != nil {
		return err
	}
	if _, err := parseConfig(path, b); err != nil {
		return err
	}
	if err := writeSelfSigned(filepath.Join(dir, "tls"), o.Hostname, o.Loopback); err != nil {
		return err
	}
	if store.HoldsPassword(o.Database) {
		return writeDurable(path, b, 0o600)
	}
	return writeDurable(path, b, 0o640)
}

// render fills the template; its strings are TOML's, which are JSON's.
func render(v templateValues) ([]byte, error) {
	var b bytes.Buffer
	t := template.New(ConfigFile).Funcs(template.FuncMap{"quote": func(v any) (string, error) {
		var q strings.Builder
		enc := json.NewEncoder(&q)
		enc.SetEscapeHTML(false)
		err := enc.Encode(v)
		return strings.TrimSpace(q.String()), err
	}})
	err := template.Must(t.Parse(configTemplate)).Execute(&b, v)
	return b.Bytes(), err
}

// writeDurable writes a new file that a power cut does not leave empty.
func writeDurable(path string, b []byte, mode fs.FileMode) error {
	if err := os.WriteFile(path, b, mode); err != nil {
		return err
	}
	for _, p := range []string{path, filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// selfSignedFor is how long the first certificate lasts: long enough to be
// forgotten by tests, short enough that doctor's warning comes up in real use.
const selfSignedFor = 825 * 24 * time.Hour

func writeSelfSigned(dir, hostname string, loopback bool) error {
	if _, err := os.Stat(filepath.Join(dir, "cert.pem")); err == nil {
		return nil // the operator's own
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: hostname}, DNSNames: []string{hostname},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(selfSignedFor),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	if loopback {
		t.DNSNames = append(t.DNSNames, "localhost")
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return errors.Join(
		writeDurable(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		writeDurable(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: priv}), 0o600))
}

// NewPassword returns a random password of 20 letters and digits (over 100 bits).
func NewPassword() string { return rand.Text()[:20] }
