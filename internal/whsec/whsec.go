// Package whsec has the rules about webhook secrets that sender and receiver must
// agree on: the form of a new secret, the bytes of it that are an HMAC key, and the
// secrets that are refused.
//
// Two keys come from one secret. The key of the plain X-Webhook-Signature header is
// the bytes of the secret exactly as the customer sees it, prefix included, and
// needs no function here. The key of the Standard Webhooks signature is [Key].
package whsec

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Prefix starts every secret that this library generates. It says that the rest is
// base64.
const Prefix = "whsec_"

// MinLen is the least number of bytes that a secret, and the key that is
// decoded from it, may have. Standard Webhooks asks for 24 to 64.
const MinLen = 24

// MaxLen is the greatest number of bytes that a secret may have. It keeps a
// pasted file out of a settings row; it is far above any secret in use.
const MaxLen = 512

// randomLen is the number of random bytes in a generated secret: as many as
// HMAC-SHA256 can use.
const randomLen = 32

// New returns a new secret: [Prefix] and the standard padded base64 of 32
// bytes from the operating system's random source. It never fails: a system
// without randomness ends the process, as crypto/rand documents.
func New() string {
	var b [randomLen]byte
	rand.Read(b[:])
	return Prefix + base64.StdEncoding.EncodeToString(b[:])
}

// Key returns the HMAC key of the Standard Webhooks signature: the decoded bytes if
// secret is [Prefix] and valid standard base64 (padded or not) of at least [MinLen]
// bytes, and otherwise the bytes of secret itself. It does not check the secret;
// [Check] does. The key of an empty secret is empty, so call Check first.
func Key(secret string) []byte {
	if rest, ok := strings.CutPrefix(secret, Prefix); ok {
		if key, ok := Decode(rest); ok && len(key) >= MinLen {
			return key
		}
	}
	return []byte(secret)
}

// Decode decodes standard base64, padded or unpadded: no other alphabet and no line
// breaks. It ignores stray bits in the last character, like the Standard Webhooks
// libraries: a hand-made secret must give the same key in both.
func Decode(s string) ([]byte, bool) {
	// encoding/base64 skips line breaks.
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	enc := base64.RawStdEncoding
	if strings.HasSuffix(s, "=") {
		enc = base64.StdEncoding
	}
	b, err := enc.DecodeString(s)
	if err != nil {
		return nil, false
	}
	return b, true
}

// Check returns why secret cannot be used, or nil. It refuses a secret
//
//   - that is empty, shorter than [MinLen] or longer than [MaxLen] bytes;
//   - with a space, a control character or a character outside ASCII, as left behind by a
//     copy from a web page or a trailing line break;
//   - whose part after [Prefix] is not standard base64 (libraries of Standard Webhooks
//     refuse it, or use another key) or decodes to fewer than MinLen bytes.
//
// The error contains advice and never any part of the secret.
func Check(secret string) error {
	if secret == "" {
		return errors.New("secret is empty: an empty key would let anyone sign")
	}
	for i := range len(secret) {
		if c := secret[i]; c <= ' ' || c >= 0x7f {
			return fmt.Errorf("secret has a space, control or non-ASCII character at byte %d: copy it again without line breaks or quotes", i)
		}
	}
	if n := len(secret); n < MinLen || n > MaxLen {
		return fmt.Errorf("secret is %d bytes long, want %d to %d", n, MinLen, MaxLen)
	}
	if rest, ok := strings.CutPrefix(secret, Prefix); ok {
		switch key, ok := Decode(rest); {
		case !ok:
			return fmt.Errorf("secret is not base64 after %q, and receivers decode it as that: copy it again, or leave %q out", Prefix, Prefix)
		case len(key) < MinLen:
			return fmt.Errorf("secret decodes to %d bytes after %q, want at least %d", len(key), Prefix, MinLen)
		}
	}
	return nil
}
