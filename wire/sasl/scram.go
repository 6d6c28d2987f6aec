package sasl

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// nonceSize is the entropy of our half of the nonce, in octets before base64.
const nonceSize = 18

// Scram is one SCRAM-SHA-256(-PLUS) conversation, server's side:
//
//	name, err := s.First(m1)        // client-first-message
//	m2 := s.Challenge(keys)         // server-first-message
//	m4, err := s.Final(m3)          // client-final-message → server-final-message
//
// Set the exported fields before First.
type Scram struct {
	// Plus says that the client chose SCRAM-SHA-256-PLUS.
	Plus bool
	// PlusOffered says that the server offered it on this connection: then a
	// client which says "you did not offer it" was lied to (RFC 5802 §6).
	PlusOffered bool
	// Binding returns the channel binding data of a type, ok false if the
	// type is not supported on this connection.
	Binding func(cbType string) (data []byte, ok bool)

	name, authz string
	gs2         string // gs2-header as sent
	cbData      []byte
	bare        string // client-first-message-bare
	first       string // server-first-message
	nonce       string
	keys        Keys
	step        uint8
}

// First reads the client-first-message (RFC 5802 §7) and returns the name of
// the account; AuthzID has the other one.
func (s *Scram) First(m []byte) (name string, err error) {
	if s.step != 0 {
		return "", malformed("SCRAM step out of order")
	}
	if len(m) > MaxMessage || !utf8.Valid(m) {
		return "", malformed("message is too long or not UTF-8")
	}
	s.step = 1
	bare, err := s.gs2Header(string(m))
	if err != nil {
		return "", err
	}
	s.bare = bare
	if strings.HasPrefix(bare, "m=") { // RFC 5802 §5.1: unknown mandatory extension
		return "", malformed("unsupported mandatory extension")
	}
	user, rest, ok := strings.Cut(bare, ",")
	if !ok || !strings.HasPrefix(user, "n=") {
		return "", malformed("client-first-message lacks the name")
	}
	cnonce, _, _ := strings.Cut(rest, ",") // extensions after the nonce are ignored
	if !strings.HasPrefix(cnonce, "r=") || !isNonce(cnonce[2:]) {
		return "", malformed("client-first-message lacks the nonce")
	}
	if s.name, err = saslName(user[2:]); err != nil {
		return "", err
	}
	s.name = Prepare(s.name)
	s.nonce = cnonce[2:] + newNonce()
	return s.name, nil
}

// AuthzID is whom the client wants to act as; "" is the name itself.
func (s *Scram) AuthzID() string { return s.authz }

// gs2Header reads gs2-cbind-flag "," [authzid] "," and judges the flag.
func (s *Scram) gs2Header(m string) (rest string, err error) {
	flag, after, ok1 := strings.Cut(m, ",")
	authz, rest, ok2 := strings.Cut(after, ",")
	if !ok1 || !ok2 {
		return "", malformed("GS2 header is incomplete")
	}
	s.gs2 = m[:len(m)-len(rest)]
	if authz != "" {
		if !strings.HasPrefix(authz, "a=") {
			return "", malformed("GS2 header has a bad authzid")
		}
		if s.authz, err = saslName(authz[2:]); err != nil {
			return "", err
		}
	}
	switch {
	case flag == "n":
		if s.Plus {
			return "", malformed("SCRAM-SHA-256-PLUS without channel binding")
		}
	case flag == "y":
		if s.Plus {
			return "", malformed("SCRAM-SHA-256-PLUS without channel binding")
		}
		if s.PlusOffered {
			return "", refused("client did not see the offer of SCRAM-SHA-256-PLUS: somebody in between removed it")
		}
	case strings.HasPrefix(flag, "p="):
		if !s.Plus {
			return "", malformed("channel binding without SCRAM-SHA-256-PLUS")
		}
		data, ok := []byte(nil), false
		if s.Binding != nil {
			data, ok = s.Binding(flag[2:])
		}
		if !ok {
			return "", refused("unsupported channel binding type")
		}
		s.cbData = data
	default:
		return "", malformed("GS2 header has an unknown flag")
	}
	return rest, nil
}

// Challenge returns the server-first-message for keys (real or fake).
func (s *Scram) Challenge(keys Keys) []byte {
	s.step, s.keys = 2, keys
	s.first = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(keys.Salt) + ",i=" + strconv.Itoa(keys.Iterations)
	return []byte(s.first)
}

// Final verifies the client-final-message and returns the server-final-message.
// ErrRefused: the proof, the nonce or the channel binding is wrong.
func (s *Scram) Final(m []byte) (serverFinal []byte, err error) {
	if s.step != 2 {
		return nil, malformed("SCRAM step out of order")
	}
	s.step = 3
	if len(m) > MaxMessage {
		return nil, malformed("message is too long")
	}
	without, proofText, ok := cutLast(string(m), ",p=")
	if !ok {
		return nil, malformed("client-final-message lacks the proof")
	}
	cb, rest, ok := strings.Cut(without, ",")
	if !ok || !strings.HasPrefix(cb, "c=") {
		return nil, malformed("client-final-message lacks the channel binding")
	}
	nonce, _, _ := strings.Cut(rest, ",")
	if !strings.HasPrefix(nonce, "r=") {
		return nil, malformed("client-final-message lacks the nonce")
	}
	if subtle.ConstantTimeCompare([]byte(nonce[2:]), []byte(s.nonce)) != 1 {
		return nil, refused("nonce does not match")
	}
	cbind, err := base64.StdEncoding.DecodeString(cb[2:])
	if err != nil {
		return nil, malformed("channel binding is not base64")
	}
	if subtle.ConstantTimeCompare(cbind, append([]byte(s.gs2), s.cbData...)) != 1 {
		return nil, refused("channel binding does not match")
	}
	proof, err := base64.StdEncoding.DecodeString(proofText)
	if err != nil || len(proof) != KeySize {
		return nil, malformed("proof is not base64 of the right length")
	}
	return s.verify(without, proof)
}

// verify is RFC 5802 §3: H(ClientProof XOR HMAC(StoredKey, AuthMessage)) must
// be StoredKey.
func (s *Scram) verify(without string, proof []byte) ([]byte, error) {
	auth := s.bare + "," + s.first + "," + without
	clientKey := mac(s.keys.StoredKey, auth)
	subtle.XORBytes(clientKey, clientKey, proof)
	stored := sha256.Sum256(clientKey)
	if !hmac.Equal(stored[:], s.keys.StoredKey) {
		return nil, refused("proof is wrong")
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(mac(s.keys.ServerKey, auth))), nil
}

// saslName decodes saslname (RFC 5802 §7): "=2C" is a comma, "=3D" an equals sign.
func saslName(s string) (string, error) {
	if s == "" || len(s) > MaxField || strings.IndexByte(s, 0) >= 0 {
		return "", malformed("name is empty, too long or has a NUL")
	}
	if strings.IndexByte(s, '=') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		switch {
		case strings.HasPrefix(s[i:], "=2C"):
			b.WriteByte(',')
		case strings.HasPrefix(s[i:], "=3D"):
			b.WriteByte('=')
		default:
			return "", malformed("name has a bad escape")
		}
		i += 2
	}
	return b.String(), nil
}

// isNonce is the grammar's nonce: printable ASCII without comma.
func isNonce(s string) bool {
	if s == "" || len(s) > MaxField {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x21 || s[i] > 0x7e || s[i] == ',' {
			return false
		}
	}
	return true
}

func newNonce() string {
	b := make([]byte, nonceSize)
	rand.Read(b)
	return base64.RawStdEncoding.EncodeToString(b)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
