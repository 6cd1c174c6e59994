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

// redacted is what a Secret looks like to everything but Reveal.
const redacted = "[secret]"

// Secret is a webhook's secret. Printing, logging or encoding one shows
// "[secret]"; only [Secret.Reveal] gives the text, which the customer is shown
// once. The zero value is no secret. Safe for concurrent use.
//
// The text is behind a function, as fmt looks through everything else in
// unexported fields of the caller's.
type Secret struct{ text func() *secretText }

type secretText struct {
	text     string
	plain    macPool // key: the text itself
	standard macPool // key: the bytes that Standard Webhooks derives from it
}

// NewSecret makes a Secret of its text, for a [Signer] of the host's own and
// its tests. It does not check the text.
func NewSecret(text string) Secret {
	t := &secretText{
		text:     text,
		plain:    macPool{key: []byte(text)},
		standard: macPool{key: whsec.Key(text)},
	}
	return Secret{func() *secretText { return t }}
}

// Reveal returns the text: whsec_ and base64, or what was imported.
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

// hidden replaces a secret's text by what may be shown of it.
func hidden(text string) string {
	if text == "" {
		return ""
	}
	return redacted
}

// Format prints the record without its value, whatever the verb. Encoding it,
// as a Store does, is not affected.
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

// mac is the HMAC of a message that is being written to it.
type mac struct {
	hash.Hash
	digest  [sha256.Size]byte
	scratch [128]byte // for whoever has it: room that needs no allocation of its own
}

// get returns a mac of nothing yet; put takes it back.
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

// sum returns the HMAC of what was written, valid until put.
func (m *mac) sum() []byte { return m.Sum(m.digest[:0]) }
