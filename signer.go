package webhook

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Header names of a delivery, in canonical form.
const (
	headerSignature        = "X-Webhook-Signature"
	headerEvent            = "X-Webhook-Event"
	headerAttempt          = "X-Webhook-Attempt"
	headerWebhookID        = "Webhook-Id"
	headerWebhookTimestamp = "Webhook-Timestamp"
	headerWebhookSignature = "Webhook-Signature"
)

// Message holds the parts of a request that a [Signer] signs.
type Message struct {
	ID   string    // the event's ID, sent as webhook-id
	Time time.Time // start of this attempt, sent as webhook-timestamp in unix seconds
	Body []byte    // the bytes that are sent; must not be modified or kept
}

// SignedContent appends to dst the content that the schemes of Standard
// Webhooks sign: ID, unix seconds and body, joined by dots.
func (m Message) SignedContent(dst []byte) []byte {
	return append(m.signedPrefix(dst), m.Body...)
}

func (m Message) signedPrefix(dst []byte) []byte {
	dst = append(dst, m.ID...)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, m.Time.Unix(), 10)
	return append(dst, '.')
}

// Signer adds signatures to the headers of an attempt. The argument secrets
// holds the webhook's current secret first and then, during a rotation, its
// older secrets; it is never empty. Webhook-Id and Webhook-Timestamp are set
// already. Sign must be safe for concurrent use. An error fails the attempt
// with class "internal": a request is never sent unsigned.
type Signer interface {
	// Sign adds to h the headers which prove that m comes from a holder of the
	// secrets. It must not change other headers, and must not keep or modify
	// its arguments.
	Sign(h http.Header, m Message, secrets []Secret) error
}

// Signers combines signers, which add their headers in turn.
func Signers(signers ...Signer) Signer { return signerList(signers) }

type signerList []Signer

func (l signerList) Sign(h http.Header, m Message, secrets []Secret) error {
	for _, s := range l {
		if err := s.Sign(h, m, secrets); err != nil {
			return err
		}
	}
	return nil
}

var errNoSecret = errors.New("the webhook has no secret to sign with")

// signable refuses an empty list of secrets, and empty secrets, whose
// signatures anyone could make.
func signable(secrets []Secret) error {
	if len(secrets) == 0 || slices.ContainsFunc(secrets, func(s Secret) bool { return s.Reveal() == "" }) {
		return errNoSecret
	}
	return nil
}

// PlainSigner sets X-Webhook-Signature to the lower-case hex HMAC-SHA256 (RFC
// 2104) of the body under the current secret's text. The header has exactly one
// value, also during a rotation. The signature does not cover the time.
type PlainSigner struct{}

// Sign implements [Signer].
func (PlainSigner) Sign(h http.Header, m Message, secrets []Secret) error {
	if err := signable(secrets); err != nil {
		return err
	}
	var buf [plainLength]byte
	h[headerSignature] = []string{string(m.appendPlain(buf[:0], secrets))}
	return nil
}

// plainLength is the length of X-Webhook-Signature, entryLength the length of
// an entry of webhook-signature with the space before it.
const (
	plainLength = 2 * sha256.Size
	entryLength = 1 + len("v1,") + 44
)

func (m Message) appendPlain(dst []byte, secrets []Secret) []byte {
	plain := &secrets[0].text().plain
	own := plain.get()
	own.Write(m.Body)
	dst = hex.AppendEncode(dst, own.sum())
	plain.put(own)
	return dst
}

// StandardSigner adds one "v1," entry per secret to webhook-signature:
// HMAC-SHA256 in base64 over id.timestamp.body, as Standard Webhooks specifies.
type StandardSigner struct{}

// Sign implements [Signer].
func (StandardSigner) Sign(h http.Header, m Message, secrets []Secret) error {
	if err := signable(secrets); err != nil {
		return err
	}
	var buf [2 * entryLength]byte
	AppendSignature(h, string(m.appendStandard(buf[:0], secrets)))
	return nil
}

func (m Message) appendStandard(dst []byte, secrets []Secret) []byte {
	for i, s := range secrets {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, "v1,"...)
		standard := &s.text().standard
		own := standard.get()
		own.Write(m.signedPrefix(own.scratch[:0]))
		own.Write(m.Body)
		dst = base64.StdEncoding.AppendEncode(dst, own.sum())
		standard.put(own)
	}
	return dst
}

// AppendSignature adds an entry such as "v1,…" to the webhook-signature header,
// after a space if the header has entries already.
func AppendSignature(h http.Header, entry string) {
	if have := h[headerWebhookSignature]; len(have) > 0 {
		entry = have[0] + " " + entry
	}
	h[headerWebhookSignature] = []string{entry}
}

// wireSigner writes both schemes of the wire format.
type wireSigner struct{}

// Sign implements [Signer].
func (wireSigner) Sign(h http.Header, m Message, secrets []Secret) error {
	plain, standard, err := m.wireSignatures(secrets)
	if err != nil {
		return err
	}
	h[headerSignature] = []string{plain}
	AppendSignature(h, standard)
	return nil
}

// wireSignatures returns the values of wireSigner, with one allocation.
func (m Message) wireSignatures(secrets []Secret) (plain, standard string, err error) {
	if err := signable(secrets); err != nil {
		return "", "", err
	}
	var buf [plainLength + 2*entryLength]byte
	both := string(m.appendStandard(m.appendPlain(buf[:0], secrets), secrets))
	return both[:plainLength], both[plainLength:], nil
}

var defaultSigner Signer = wireSigner{}

// DefaultSigner returns the signer of a zero Config: [PlainSigner] and
// [StandardSigner]. [Signers] combines it with others.
func DefaultSigner() Signer { return defaultSigner }

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
