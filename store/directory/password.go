package directory

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/md5crypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
	"github.com/go-crypt/x/yescrypt"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Argon2 is the cost of argon2id (RFC 9106). The zero value is 7 MiB, 5
// passes, 1 lane: on OWASP's list equal to 19 MiB and 2 passes, some 20 ms.
// RFC 9106 §4's own second choice (64 MiB, 3 passes) costs 100 ms and more. The
// memory is garbage after each hash: measured, 200 first logins in a row raised
// a node of 70 MB to 158 MB with 19 MiB.
type Argon2 struct {
	MemoryKB, Time, Lanes int
}

// Bounds of argon2id, for configuration and for imported hashes: one login
// must not take the machine.
const (
	maxArgonMemoryKB = 256 << 10
	maxArgonTime     = 64
	maxArgonLanes    = 64
	maxBcryptCost    = 16      // ~5 s
	maxShaRounds     = 5000000 // ~3 s
	maxYescrypt      = 64 << 20
	maxHashText      = 512
	maxPassword      = 1024
)

func (a Argon2) withDefaults() Argon2 {
	pick := func(v, def, most int) int {
		if v <= 0 {
			return def
		}
		return min(v, most)
	}
	return Argon2{pick(a.MemoryKB, 7*1024, maxArgonMemoryKB), pick(a.Time, 5, maxArgonTime), pick(a.Lanes, 1, maxArgonLanes)}
}

const (
	argonSalt    = 16
	argonKey     = 32
	yescryptHash = 43 // characters
)

var phc = base64.RawStdEncoding

// hash makes "{ARGON2ID}$argon2id$v=19$m=…,t=…,p=…$salt$key".
func (a Argon2) hash(password string, salt []byte) string {
	if salt == nil {
		salt = make([]byte, argonSalt)
		rand.Read(salt)
	}
	k := argon2.IDKey([]byte(password), salt, uint32(a.Time), uint32(a.MemoryKB), uint8(a.Lanes), argonKey)
	return fmt.Sprintf("{ARGON2ID}$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, a.MemoryKB, a.Time, a.Lanes, phc.EncodeToString(salt), phc.EncodeToString(k))
}

// weaker reports whether a stored hash should be made anew at this cost.
func (a Argon2) weaker(stored string) bool {
	p, ok := parseArgon2(strings.TrimPrefix(stored, "{ARGON2ID}"))
	return !ok || p.cost.MemoryKB < a.MemoryKB || p.cost.Time < a.Time
}

type argonHash struct {
	cost      Argon2
	salt, key []byte
}

func parseArgon2(s string) (h argonHash, ok bool) {
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v=19" {
		return h, false
	}
	for p := range strings.SplitSeq(f[3], ",") {
		k, v, _ := strings.Cut(p, "=")
		n, err := strconv.Atoi(v)
		if err != nil {
			return h, false
		}
		switch k {
		case "m":
			h.cost.MemoryKB = n
		case "t":
			h.cost.Time = n
		case "p":
			h.cost.Lanes = n
		default:
			return h, false
		}
	}
	var err1, err2 error
	h.salt, err1 = phc.DecodeString(strings.TrimRight(f[4], "="))
	h.key, err2 = phc.DecodeString(strings.TrimRight(f[5], "="))
	c := h.cost
	ok = err1 == nil && err2 == nil && len(h.salt) >= 8 && len(h.key) >= 16 && len(h.key) <= 128 &&
		1 <= c.MemoryKB && c.MemoryKB <= maxArgonMemoryKB && 1 <= c.Time && c.Time <= maxArgonTime && 1 <= c.Lanes && c.Lanes <= maxArgonLanes
	return h, ok
}

func (h *argonHash) match(password string) bool {
	k := argon2.IDKey([]byte(password), h.salt, uint32(h.cost.Time), uint32(h.cost.MemoryKB), uint8(h.cost.Lanes), uint32(len(h.key)))
	return subtle.ConstantTimeCompare(k, h.key) == 1
}

// cutScheme splits "{SCHEME}rest". Only what looks like a scheme is one, for
// "{" may begin a password.
func cutScheme(s string) (scheme, rest string, ok bool) {
	if !strings.HasPrefix(s, "{") {
		return "", s, false
	}
	scheme, rest, ok = strings.Cut(s[1:], "}")
	if !ok || scheme == "" {
		return "", s, false
	}
	for i := 0; i < len(scheme); i++ {
		if c := scheme[i]; !('A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return "", s, false
		}
	}
	return scheme, rest, true
}

// verifier decides whether a password fits.
type verifier func(password string) bool

// verifierOf reads a stored or imported hash; false: not a hash we know, or
// one whose cost is out of bounds.
func verifierOf(stored string) (verifier, bool) {
	scheme, rest, ok := cutScheme(stored)
	if !ok || rest == "" || len(stored) > maxHashText {
		return nil, false
	}
	switch scheme {
	case "ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT", "CRYPT":
		return crypted(scheme, rest)
	case "SCRAM-SHA-256":
		return scrammed(rest)
	}
	return salted(scheme, rest)
}

// crypted reads crypt(3) and PHC forms by their own prefix, which must be what the scheme says.
func crypted(scheme, s string) (verifier, bool) {
	allowed := func(name string) bool { return scheme == "CRYPT" || scheme == name }
	switch {
	case strings.HasPrefix(s, "$argon2id$") && allowed("ARGON2ID"):
		h, ok := parseArgon2(s)
		return h.match, ok
	case strings.HasPrefix(s, "$2") && allowed("BLF-CRYPT"):
		cost, err := bcrypt.Cost([]byte(s))
		return func(p string) bool { return bcrypt.CompareHashAndPassword([]byte(s), []byte(p)) == nil }, err == nil && cost <= maxBcryptCost && len(s) == 60
	case strings.HasPrefix(s, "$6$") && allowed("SHA512-CRYPT"), strings.HasPrefix(s, "$5$") && allowed("SHA256-CRYPT"):
		if _, after, ok := strings.Cut(s, "$rounds="); ok {
			n, _, _ := strings.Cut(after, "$")
			if rounds, err := strconv.Atoi(n); err != nil || rounds > maxShaRounds || rounds < shacrypt.IterationsMin {
				return nil, false
			}
		}
		return matcher(shacrypt.Decode(s))
	case strings.HasPrefix(s, "$y$") && scheme == "CRYPT": // Debian's /etc/shadow since 11
		return yescrypted(s)
	case strings.HasPrefix(s, "$1$") && allowed("MD5-CRYPT"):
		return matcher(md5crypt.Decode(s))
	}
	return nil, false
}

// yescrypted reads libxcrypt's yescrypt: $y$jXX$salt$hash.
func yescrypted(s string) (verifier, bool) {
	f := strings.Split(s, "$")
	if len(f) != 5 || len(f[4]) != yescryptHash {
		return nil, false
	}
	_, ln, r, err := yescrypt.DecodeSetting([]byte(f[2]))
	if err != nil || ln < 10 || ln > 18 || r < 1 || r > 32 || 128*r<<ln > maxYescrypt {
		return nil, false
	}
	return func(p string) bool {
		h, err := yescrypt.Hash([]byte(p), []byte(s))
		return err == nil && subtle.ConstantTimeCompare(h, []byte(s)) == 1
	}, true
}

// scramOf reads keys that another server kept, in Dovecot's form
// "iterations,salt,StoredKey,ServerKey" (doc: RFC 5803 has the same four).
func scramOf(s string) (c credential, ok bool) {
	f := strings.Split(s, ",")
	if len(f) != 4 {
		return c, false
	}
	var errs [3]error
	c.iterations, _ = strconv.Atoi(f[0])
	c.salt, errs[0] = base64.StdEncoding.DecodeString(f[1])
	c.storedKey, errs[1] = base64.StdEncoding.DecodeString(f[2])
	c.serverKey, errs[2] = base64.StdEncoding.DecodeString(f[3])
	ok = errs == [3]error{} && c.iterations >= 1 && c.iterations <= maxScramIterations && len(c.salt) > 0 &&
		len(c.storedKey) == sha256.Size && len(c.serverKey) == sha256.Size
	return c, ok
}

// scrammed verifies a clear password with SCRAM keys.
func scrammed(s string) (verifier, bool) {
	c, ok := scramOf(s)
	return func(p string) bool {
		stored, _, err := scramKeys(p, c.salt, c.iterations)
		return err == nil && subtle.ConstantTimeCompare(stored, c.storedKey) == 1
	}, ok
}

func matcher(d algorithm.Digest, err error) (verifier, bool) {
	if err != nil {
		return nil, false
	}
	return d.Match, true
}

// salted reads the {SSHA…} family: base64 (or with .HEX hexadecimal) of H(password salt) salt; without the second S no salt.
func salted(scheme, s string) (verifier, bool) {
	scheme, enc, _ := strings.Cut(scheme, ".")
	var h func() hash.Hash
	switch scheme {
	case "SSHA512", "SHA512":
		h = sha512.New
	case "SSHA256", "SHA256":
		h = sha256.New
	case "SSHA", "SHA", "SHA1":
		h = sha1.New
	case "SMD5", "LDAP-MD5", "PLAIN-MD5":
		h = md5.New
	default:
		return nil, false
	}
	raw, err := decodeAny(s, enc == "HEX" || scheme == "PLAIN-MD5")
	n := h().Size()
	hasSalt := strings.HasPrefix(scheme, "SS") || scheme == "SMD5"
	if err != nil || len(raw) < n || hasSalt == (len(raw) == n) {
		return nil, false
	}
	return func(p string) bool {
		w := h()
		w.Write([]byte(p))
		w.Write(raw[n:])
		return subtle.ConstantTimeCompare(w.Sum(nil), raw[:n]) == 1
	}, true
}

func decodeAny(s string, isHex bool) ([]byte, error) {
	if isHex {
		return hex.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}
