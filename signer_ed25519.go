package webhook

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Prefixes of the key texts of Standard Webhooks' asymmetric scheme.
const (
	privateKeyPrefix = "whsk_"
	publicKeyPrefix  = "whpk_"
)

// Ed25519Signer adds a "v1a," entry to webhook-signature: an Ed25519 signature
// (RFC 8032) over id.timestamp.body, as Standard Webhooks specifies. Receivers
// check it with the public key, so that they hold no key that could sign.
// Combine it with the default signer: Signers(DefaultSigner(), signer). The
// zero value has no key and returns an error instead of signing. Printing or
// encoding an Ed25519Signer never shows the key.
type Ed25519Signer struct{ key ed25519.PrivateKey }

var errHalves = errors.New("webhook: the private key's two halves do not belong together")

// NewEd25519Signer returns a signer with a copy of the private key. It returns
// an error if the key has a wrong size, or if its public half does not belong
// to its seed: signatures of such a key would reveal it.
func NewEd25519Signer(key ed25519.PrivateKey) (*Ed25519Signer, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("webhook: an ed25519 private key has %d bytes, got %d", ed25519.PrivateKeySize, len(key))
	}
	own := ed25519.NewKeyFromSeed(key.Seed())
	if !own.Equal(key) {
		return nil, errHalves
	}
	return &Ed25519Signer{own}, nil
}

// ParseEd25519Signer returns a signer with a private key given as text: "whsk_"
// and the base64 of its 32-byte seed, or of the 64 bytes of seed and public
// key.
func ParseEd25519Signer(text string) (*Ed25519Signer, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, privateKeyPrefix))
	if err != nil {
		// The decoder's error would not help: it names only a position.
		return nil, errors.New("webhook: the private key is not whsk_ and base64")
	}
	switch len(b) {
	case ed25519.SeedSize:
		return &Ed25519Signer{ed25519.NewKeyFromSeed(b)}, nil
	case ed25519.PrivateKeySize:
		return NewEd25519Signer(b)
	}
	return nil, fmt.Errorf("webhook: the private key decodes to %d bytes, want %d or %d", len(b), ed25519.SeedSize, ed25519.PrivateKeySize)
}

// PublicKey returns the text to publish to receivers: "whpk_" and base64.
// It is empty for the zero value.
func (s *Ed25519Signer) PublicKey() string {
	if len(s.key) == 0 {
		return ""
	}
	pub, _ := s.key.Public().(ed25519.PublicKey)
	return publicKeyPrefix + base64.StdEncoding.EncodeToString(pub)
}

// Format writes the type's name and never the key, whatever the verb.
func (Ed25519Signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "webhook.Ed25519Signer") }

// Sign implements [Signer]. It does not use the webhook's secrets. The
// zero value returns an error.
func (s *Ed25519Signer) Sign(h http.Header, m Message, _ []Secret) error {
	if len(s.key) == 0 {
		return errors.New("the Ed25519Signer has no key: make it with NewEd25519Signer")
	}
	sig := ed25519.Sign(s.key, m.SignedContent(make([]byte, 0, len(m.Body)+96)))
	AppendSignature(h, "v1a,"+base64.StdEncoding.EncodeToString(sig))
	return nil
}
