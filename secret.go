package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"log/slog"
	"sync"

	"github.com/seed68722ecd/webhook/internal/whsec"
)

const redacted = "[secret]"

// Secret is a webhook's secret. Printing, logging or encoding a Secret shows
// "[secret]"; only [Secret.Reveal] returns the text, which the customer is
// shown once. The zero value holds no secret. A Secret is safe for concurrent
// use.
//
// The text is behind a function: inside a caller's unexported fields fmt prints
// every other kind of value.
type Secret struct{ text func() *secretText }

type secretText struct {
	text     string
	plain    macPool // key: the text itself
	standard macPool // key: the bytes that Standard Webhooks derives from it
}

// NewSecret makes a Secret from its text, for the host's own [Signer] and its
// tests. It does not check the text.
func NewSecret(text string) Secret {
	t := &secretText{
		text:     text,
		plain:    macPool{key: []byte(text)},
		standard: macPool{key: whsec.Key(text)},
	}
	return Secret{func() *secretText { return t }}
}

// Reveal returns the text: whsec_ and base64, or the imported text.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return s.text().text
}

// String returns "[secret]".
func (Secret) String() string { return redacted }

// GoString returns "[secret]".
func (Secret) GoString() string { return redacted }

// MarshalText returns "[secret]", and so does encoding as JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

func hidden(text string) string {
	if text == "" {
		return ""
	}
	return redacted
}

// Format prints the record without its value, whatever the verb. Encoding, as a
// Store does it, is not affected.
func (s SecretRecord) Format(f fmt.State, verb rune) {
	type fields SecretRecord
	s.Value = hidden(s.Value)
	fmt.Fprintf(f, fmt.FormatString(f, verb), fields(s))
}

// LogValue returns "[secret]".
func (SecretRecord) LogValue() slog.Value { return slog.StringValue(redacted) }

// macPool keeps HMAC-SHA256 states of one key: deriving the state costs as much
// as signing a short body.
type macPool struct {
	key  []byte
	pool sync.Pool
}

// mac computes the HMAC of the message that is written to it.
type mac struct {
	hash.Hash
	digest  [sha256.Size]byte
	scratch [128]byte // for the holder of the mac, to save an allocation
}

// get returns a mac without input; put takes it back.
func (p *macPool) get() *mac {
	if m, ok := p.pool.Get().(*mac); ok {
		return m
	}
	return &mac{Hash: hmac.New(sha256.New, p.key)}
}

func (p *macPool) put(m *mac) {
	m.Reset()
	p.pool.Put(m)
}

// sum returns the HMAC of the input so far, valid until put.
func (m *mac) sum() []byte { return m.Sum(m.digest[:0]) }
