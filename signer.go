package webhook

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
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
	for _, s := range secrets {
		if s.Reveal() == "" {
			return errNoSecret
		}
	}
	if len(secrets) == 0 {
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

// appendPlain appends the value of X-Webhook-Signature.
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

// appendStandard appends the entries of webhook-signature.
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

// wireSignatures returns the values that wireSigner writes, with one
// allocation.
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
