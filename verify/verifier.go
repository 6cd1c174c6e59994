package verify

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook/internal/whsec"
)

const (
	// DefaultTolerance is how far webhook-timestamp may lie from this
	// machine's clock, before or after it, where Config.Tolerance is zero.
	DefaultTolerance = 5 * time.Minute

	// DefaultMaxBody is the longest body in bytes that is read where
	// Config.MaxBody is zero: four times the sender's default limit.
	DefaultMaxBody = 1 << 20

	// maxMaxBody is the most that MaxBody can be set to. Bodies are held in
	// memory.
	maxMaxBody = 1 << 30
)

// publicKeyPrefix starts a public key of Standard Webhooks.
const publicKeyPrefix = "whpk_"

// Config holds the settings of a [Verifier]. Every field has a default, so the
// zero Config works.
type Config struct {
	// Tolerance is how far webhook-timestamp may lie from this machine's clock,
	// in both directions, both ends included. Zero means DefaultTolerance; New
	// refuses a negative value. The sender signs every attempt anew, so
	// Tolerance has to cover clock skew and transit only, not the time over
	// which a delivery is retried. It does not apply to the plain signature,
	// which carries no time.
	Tolerance time.Duration

	// MaxBody is the longest body in bytes that is accepted. Zero means
	// DefaultMaxBody. New refuses a negative value and a value above 1 GiB.
	MaxBody int64

	// AllowPlain accepts a request that carries the plain X-Webhook-Signature
	// header and no webhook-signature. The default, false, refuses it with
	// ErrPlainOnly. The plain signature covers the body alone: a captured
	// request verifies for ever, and ID is not to be trusted. It needs a secret.
	AllowPlain bool

	// AnyBody accepts signed bodies of any content, for senders other than
	// this library. Type, Timestamp, Webhook and Data then stay zero where the
	// body is not in this library's form. The default, false, refuses such
	// bodies with ErrPayload.
	AnyBody bool

	// PublicKeys are Ed25519 keys, each "whpk_" and standard base64 of 32
	// bytes, for webhook-signature entries of version v1a. One matching key or
	// secret is enough. Empty means that v1a entries are ignored.
	PublicKeys []string

	// Now returns the current time. Nil means time.Now.
	Now func() time.Time

	// Seen deduplicates deliveries in the middleware. Nil means that every copy
	// of a delivery reaches the handler. Request and Verify do not use it,
	// since they cannot know whether the delivery was then handled.
	Seen Seen

	// OnError is called by the middleware for every request that it does not
	// pass to the handler, with one of the errors of this package (among them
	// ErrDuplicate), and with ErrSeen when a handled delivery could not be
	// recorded. It is the place to log, because the client gets only a status.
	// It runs on the request's goroutine, concurrently with itself, and must
	// not write to the response or read the body. Nil means that errors are not
	// reported.
	OnError func(r *http.Request, err error)
}

// Verifier checks deliveries. It is immutable and safe for concurrent use.
// Make one with [New]; the zero Verifier and a nil one refuse everything with
// ErrNoSecret.
type Verifier struct {
	cfg        Config
	plainKeys  [][]byte            // the secrets' own bytes
	v1Keys     [][]byte            // their Standard Webhooks keys
	publicKeys []ed25519.PublicKey // v1a
}

// New returns a Verifier that accepts a delivery signed with any of the secrets
// or public keys. During a rotation give both the old and the new secret. The
// cost of a check grows with the number of secrets.
//
// A secret is taken exactly as the sender showed it: "whsec_" and base64, or
// any other text of 24 to 512 visible ASCII characters. A secret without
// "whsec_" is used by its bytes, as the sender does, and if it is base64 also
// decoded, as the Standard Webhooks libraries do.
//
// It returns ErrNoSecret when there is no secret and no public key or when a
// secret is empty, ErrSecret when one is malformed, and ErrConfig when a field
// of cfg is out of range. It does not keep cfg.PublicKeys.
func New(cfg Config, secrets ...string) (*Verifier, error) {
	if cfg.Tolerance < 0 {
		return nil, fmt.Errorf("%w: Tolerance is %v, want 0 for the default of %v or more", ErrConfig, cfg.Tolerance, DefaultTolerance)
	}
	if cfg.MaxBody < 0 || cfg.MaxBody > maxMaxBody {
		return nil, fmt.Errorf("%w: MaxBody is %d bytes, want 0 for the default of %d, or up to %d", ErrConfig, cfg.MaxBody, DefaultMaxBody, maxMaxBody)
	}
	if len(secrets) == 0 {
		if len(cfg.PublicKeys) == 0 {
			return nil, fmt.Errorf("%w: give the secret that was shown when the webhook was created", ErrNoSecret)
		}
		if cfg.AllowPlain {
			return nil, fmt.Errorf("%w: AllowPlain needs a secret, and only public keys were given", ErrConfig)
		}
	}
	cfg.Tolerance = cmp.Or(cfg.Tolerance, DefaultTolerance)
	cfg.MaxBody = cmp.Or(cfg.MaxBody, DefaultMaxBody)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	v := &Verifier{cfg: cfg}
	for i, s := range secrets {
		if s == "" {
			return nil, fmt.Errorf("%w: secret %d of %d is empty: is an environment variable not set?", ErrNoSecret, i+1, len(secrets))
		}
		if err := whsec.Check(s); err != nil {
			return nil, fmt.Errorf("%w: %d of %d: %w", ErrSecret, i+1, len(secrets), err)
		}
		v.plainKeys = append(v.plainKeys, []byte(s))
		v.v1Keys = append(v.v1Keys, whsec.Key(s))
		if key, ok := whsec.Decode(s); ok { // never for whsec_ secrets: "_" is not base64
			v.v1Keys = append(v.v1Keys, key)
		}
	}
	for i, s := range cfg.PublicKeys {
		key, err := parsePublicKey(s)
		if err != nil {
			return nil, fmt.Errorf("%w: public key %d of %d: %w", ErrSecret, i+1, len(cfg.PublicKeys), err)
		}
		v.publicKeys = append(v.publicKeys, key)
	}
	v.cfg.PublicKeys = nil
	return v, nil
}

// parsePublicKey never repeats its argument in an error: the caller may have
// passed the private key by mistake.
func parsePublicKey(s string) (ed25519.PublicKey, error) {
	rest, ok := strings.CutPrefix(s, publicKeyPrefix)
	if !ok {
		return nil, fmt.Errorf("no %q in front: the private key (whsk_) and the secret (whsec_) do not belong here", publicKeyPrefix)
	}
	if strings.ContainsAny(rest, "\r\n") {
		return nil, fmt.Errorf("line break after %q", publicKeyPrefix)
	}
	key, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return nil, fmt.Errorf("not standard base64 after %q", publicKeyPrefix)
	}
	if len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("decodes to %d bytes, want %d", len(key), ed25519.PublicKeySize)
	}
	return key, nil
}

// Verify checks a delivery given as its body and headers, for frameworks that
// have their own request type. The body must be the bytes as they came in. The
// header map may come from net/http or any other library: names match in any
// case, and several values of one name, or one name in two spellings, count as
// a repeated header. The Delivery shares no memory with the arguments.
//
// Every error wraps one of this package's: ErrNoSignature, ErrPlainOnly,
// ErrSignatureVersion, ErrSignatureMismatch, ErrTooOld or ErrTooNew where the
// delivery cannot be trusted; ErrSignatureFormat, ErrHeaderRepeated, ErrNoID,
// ErrIDFormat, ErrNoTimestamp or ErrTimestampFormat where a header is missing
// or malformed; ErrBodyTooLarge; and ErrPayload or ErrEventHeader where the
// signature is right and the content is not. [StatusCode] turns them into an
// answer. It does not block and does not use Config.Seen: see
// [Delivery.DedupKey].
func (v *Verifier) Verify(body []byte, header map[string][]string) (*Delivery, error) {
	c, err := v.parseHeader(header)
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > v.cfg.MaxBody {
		return nil, fmt.Errorf("%w: %d bytes, limit %d (Config.MaxBody)", ErrBodyTooLarge, len(body), v.cfg.MaxBody)
	}
	return v.check(c, slices.Clone(body))
}

// Verify checks a delivery given as its body and headers with the zero
// [Config], for frameworks that have their own request type: it accepts the
// Standard Webhooks signature, at most 5 minutes old, over a body in this
// library's form. During a rotation give both secrets. The header map may spell
// names in any case. Verify returns the errors of [Verifier.Verify], and
// ErrNoSecret and ErrSecret as [New] does.
func Verify(body []byte, header map[string][]string, secrets ...string) (*Delivery, error) {
	v, err := New(Config{}, secrets...)
	if err != nil {
		return nil, err
	}
	return v.Verify(body, header)
}

// check verifies a body whose headers are well-formed. The Delivery keeps body.
func (v *Verifier) check(c claim, body []byte) (*Delivery, error) {
	scheme, err := v.checkSignature(c, body)
	if err != nil {
		return nil, err
	}
	d := &Delivery{Body: body, ID: c.id, Attempt: c.attempt, Scheme: scheme}
	if scheme != SchemePlain {
		// Compare the clock only after the signature: an answer about the clock
		// must not reach a client that cannot sign.
		d.SentAt = c.sentAt
		if err := v.checkTime(c.sentAt); err != nil {
			return nil, err
		}
	}
	if err := d.parse(); err != nil && !v.cfg.AnyBody {
		return nil, err
	}
	if d.Type != "" {
		for _, t := range c.events {
			if t != d.Type {
				return nil, fmt.Errorf("%w: header %.64q, body %.64q", ErrEventHeader, t, d.Type)
			}
		}
	}
	return d, nil
}

func (v *Verifier) checkTime(sent time.Time) error {
	age := v.cfg.Now().Sub(sent)
	switch {
	case age > v.cfg.Tolerance:
		return fmt.Errorf("%w: signed %v ago, limit %v: check this machine's clock; a sender signs every attempt anew", ErrTooOld, age.Round(time.Second), v.cfg.Tolerance)
	case age < -v.cfg.Tolerance:
		return fmt.Errorf("%w: signed %v ahead of this machine's clock, limit %v: check both clocks", ErrTooNew, (-age).Round(time.Second), v.cfg.Tolerance)
	}
	return nil
}
