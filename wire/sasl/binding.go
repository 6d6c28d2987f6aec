package sasl

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"

	_ "crypto/sha256" // the hashes that hashOf may name
	_ "crypto/sha512"
)

// Channel binding types (RFC 5929 §4, RFC 9266). tls-unique is left out: it is
// not defined for TLS 1.3 and broken before it (RFC 9266 §1).
const (
	ServerEndPoint = "tls-server-end-point"
	Exporter       = "tls-exporter"
)

// Binding returns channel binding data of a TLS connection as its server sees
// it; leaf is the certificate the server sent (nil: not known).
func Binding(cbType string, st *tls.ConnectionState, leaf *x509.Certificate) (data []byte, ok bool) {
	if st == nil || !st.HandshakeComplete {
		return nil, false
	}
	switch cbType {
	case Exporter:
		// RFC 9266 §4.2: in TLS 1.2 only with extended master secret; Go
		// refuses to export without it.
		data, err := st.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		return data, err == nil
	case ServerEndPoint:
		if leaf == nil {
			return nil, false
		}
		h := hashOf(leaf.SignatureAlgorithm)
		if h == 0 {
			return nil, false
		}
		w := h.New()
		w.Write(leaf.Raw)
		return w.Sum(nil), true
	}
	return nil, false
}

// hashOf is RFC 5929 §4.1: the hash of the signature algorithm, SHA-256 for MD5
// and SHA-1; 0 where the algorithm has no one hash (Ed25519).
func hashOf(a x509.SignatureAlgorithm) crypto.Hash {
	switch a {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.DSAWithSHA256, x509.ECDSAWithSHA256:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return 0
}
