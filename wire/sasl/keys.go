package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
)

// SaltSize is the octets of a new salt; KeySize of SHA-256 keys.
const (
	SaltSize = 16
	KeySize  = sha256.Size
)

// Bounds of iterations. RFC 7677 §4 wants at least 4096; above the maximum
// only the client's patience is at stake, but a typing error should not pass.
const (
	MinIterations     = 4096
	DefaultIterations = 10000
	MaxIterations     = 10_000_000
)

// Keys is what a server keeps of a password for SCRAM (RFC 5802 §3). They let
// nobody log in, but who has them can try passwords: they are secrets.
type Keys struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// NewKeys derives keys with a random salt. It costs the PBKDF2 of iterations.
func NewKeys(password string, iterations int) (Keys, error) {
	salt := make([]byte, SaltSize)
	rand.Read(salt) // never fails since Go 1.24
	return DeriveKeys(password, salt, iterations)
}

// DeriveKeys is RFC 5802 §3 with SHA-256: StoredKey and ServerKey of the
// prepared password.
func DeriveKeys(password string, salt []byte, iterations int) (Keys, error) {
	if iterations < 1 || iterations > MaxIterations {
		return Keys{}, malformed("iteration count is out of range")
	}
	salted, err := pbkdf2.Key(sha256.New, Prepare(password), salt, iterations, KeySize)
	if err != nil {
		return Keys{}, err
	}
	client := sha256.Sum256(mac(salted, "Client Key"))
	return Keys{Salt: salt, Iterations: iterations, StoredKey: client[:], ServerKey: mac(salted, "Server Key")}, nil
}

// FakeKeys returns keys for a name that has none, always the same for the same
// secret and name, so that asking twice does not tell who exists. No password
// fits them.
func FakeKeys(secret []byte, name string, iterations int) Keys {
	if iterations <= 0 {
		iterations = DefaultIterations
	}
	return Keys{
		Salt:       mac(secret, "salt\x00"+name)[:SaltSize],
		Iterations: iterations,
		StoredKey:  mac(secret, "stored\x00"+name),
		ServerKey:  mac(secret, "server\x00"+name),
	}
}

func mac(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}
