package webhook

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook/internal/eventtype"
)

// EncryptionKey is one key of a [Keyring].
type EncryptionKey struct {
	// ID names the key in encrypted values: 1–32 characters of A–Z a–z 0–9 _ .
	// -. It is not secret. Never give two keys the same ID.
	ID string
	// Key is 32 random bytes (openssl rand -base64 32), for AES-256.
	Key []byte
}

// Format prints only the ID, whatever the verb.
func (k EncryptionKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "{%s %s}", k.ID, redacted) }

// LogValue returns the ID.
func (k EncryptionKey) LogValue() slog.Value { return slog.StringValue(k.ID) }

// Keyring encrypts secrets and the values of custom headers before a [Store]
// sees them, and decrypts them when they are read. It uses AES-256-GCM with a
// random nonce for each value. A value is bound to its tenant, its webhook and
// its role (secret, or header of a name), so that a value that was moved to
// another row is refused. Set it as Config.Keys.
//
// The first key encrypts, all keys decrypt. Values that were stored before the
// host had a Keyring are read as plain text, and encrypted when their webhook
// is next written, or by [Dispatcher.ReencryptSecrets].
//
// To change keys, give every process the new key as an older key, then as the
// first, then call ReencryptSecrets. Remove the old key only when
// ReencryptSecrets reports no unreadable webhook. A value whose key is missing
// cannot be read: deliveries of its webhook wait, see Webhook.Unreadable.
//
// A Keyring never changes and is safe for concurrent use. Printing it shows the
// IDs of its keys. Replace a key before it has encrypted 2^32 values.
type Keyring struct {
	// The keys are behind a function: inside a caller's unexported fields fmt
	// prints every other kind of value.
	open func(id string) (cipher.AEAD, bool)
	ids  []string // the first encrypts
}

const (
	maxKeyID = 32
	keySize  = 32
)

// NewKeyring returns a Keyring that encrypts with primary and decrypts with all
// keys. It refuses keys that are not 32 bytes long, and IDs that are invalid
// (see [EncryptionKey]) or occur twice. The keys are copied.
func NewKeyring(primary EncryptionKey, older ...EncryptionKey) (*Keyring, error) {
	k := &Keyring{}
	aeads := make(map[string]cipher.AEAD, 1+len(older))
	for _, key := range append([]EncryptionKey{primary}, older...) {
		switch {
		case !validKeyID(key.ID):
			return nil, prefixed("keyring", fmt.Errorf("the ID of a key must be 1–%d characters of A–Z a–z 0–9 _ . -, got %s", maxKeyID, quoted(key.ID)))
		case aeads[key.ID] != nil:
			return nil, prefixed("keyring", fmt.Errorf("two keys have the ID %q", key.ID))
		case len(key.Key) != keySize:
			return nil, prefixed("keyring", fmt.Errorf("key %q is %d bytes long, must be %d: openssl rand -base64 32 makes one", key.ID, len(key.Key), keySize))
		}
		block, err := aes.NewCipher(key.Key)
		if err != nil {
			return nil, prefixed("keyring", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, prefixed("keyring", err)
		}
		aeads[key.ID] = aead
		k.ids = append(k.ids, key.ID)
	}
	k.open = func(id string) (cipher.AEAD, bool) { a, ok := aeads[id]; return a, ok }
	return k, nil
}

// ParseKeyring reads a Keyring from text, such as an environment variable: keys
// as id:base64, separated by spaces, line breaks or commas. The first key
// encrypts. Errors never contain a key.
//
//	WEBHOOK_KEYS="2026-05:1rb…= 2025-11:Qn5…="
func ParseKeyring(text string) (*Keyring, error) {
	var keys []EncryptionKey
	for i, f := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\r' || r == '\n' }) {
		id, b64, ok := strings.Cut(f, ":")
		if !ok {
			return nil, prefixed("keyring", fmt.Errorf("key %d is not id:base64", i+1))
		}
		key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(b64, "="))
		if err != nil {
			return nil, prefixed("keyring", fmt.Errorf("key %d: the text after its ID is not base64", i+1))
		}
		keys = append(keys, EncryptionKey{ID: id, Key: key})
	}
	if len(keys) == 0 {
		return nil, prefixed("keyring", errors.New("there is no key"))
	}
	return NewKeyring(keys[0], keys[1:]...)
}

// Format prints the IDs of the keys, whatever the verb.
func (k *Keyring) Format(f fmt.State, _ rune) {
	if k == nil {
		fmt.Fprint(f, "<nil>")
		return
	}
	fmt.Fprintf(f, "keyring%v", k.ids)
}

// LogValue returns the IDs of the keys, beginning with the key that encrypts.
func (k *Keyring) LogValue() slog.Value {
	if k == nil {
		return slog.AnyValue(nil)
	}
	return slog.StringValue(strings.Join(k.ids, " "))
}

func validKeyID(id string) bool {
	return len(id) <= maxKeyID && eventtype.IsWord(strings.ReplaceAll(id, ".", "_"))
}

// sealedMark begins every encrypted value: §1:key:base64. Plain values are ASCII
// and cannot begin with it, so the two are never confused, and without the Keyring
// an encrypted value is never used as a secret to sign with.
const sealedMark = "§1:"

func sealed(value string) bool { return strings.HasPrefix(value, sealedMark) }

// sealedBy returns the ID of the key that a value is encrypted with, or "".
func sealedBy(value string) string {
	rest, ok := strings.CutPrefix(value, sealedMark)
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, ":")
	return id
}

// place is the location of a value, and the only one where it can be decrypted.
type place struct {
	tenant, webhook string
	header          string // name of the header; empty for a secret
}

// bound returns the associated data of a value. It is unambiguous because its
// parts cannot contain NUL.
func (p place) bound(key string) []byte {
	kind := "secret"
	if p.header != "" {
		kind = "header"
	}
	return []byte(strings.Join([]string{sealedMark, key, kind, p.tenant, p.webhook, p.header}, "\x00"))
}

// seal encrypts a value with the first key.
func (k *Keyring) seal(p place, plain string) string {
	id := k.ids[0]
	aead, _ := k.open(id)
	box := aead.Seal(nil, nil, []byte(plain), p.bound(id)) //nolint:gosec // this AEAD makes a random nonce itself
	return sealedMark + id + ":" + base64.RawURLEncoding.EncodeToString(box)
}

var errDamaged = errors.New("the stored value is damaged")

// unseal returns the plain text of a stored value, which may be stored plain. A
// nil Keyring reads plain values only. The error wraps ErrUnreadable and
// contains no part of the value.
func (k *Keyring) unseal(p place, value string) (string, error) {
	if !sealed(value) {
		return value, nil
	}
	plain, err := k.decrypt(p, strings.TrimPrefix(value, sealedMark))
	if err != nil {
		what := "the secret"
		if p.header != "" {
			what = fmt.Sprintf("the value of header %q", p.header)
		}
		return "", fmt.Errorf("%s %w: %w", what, ErrUnreadable, err)
	}
	return plain, nil
}

func (k *Keyring) decrypt(p place, value string) (string, error) {
	id, b64, ok := strings.Cut(value, ":")
	if !ok || !validKeyID(id) {
		return "", errDamaged
	}
	if k == nil {
		return "", fmt.Errorf("it needs key %q, and Config.Keys is not set", id)
	}
	aead, ok := k.open(id)
	if !ok {
		return "", fmt.Errorf("it needs key %q, which is not in Config.Keys", id)
	}
	box, err := base64.RawURLEncoding.Strict().DecodeString(b64)
	if err != nil {
		return "", errDamaged
	}
	plain, err := aead.Open(nil, nil, box, p.bound(id))
	if err != nil {
		return "", fmt.Errorf("key %q does not fit: it is another key of that name, or the value was changed or belongs to another webhook", id)
	}
	return string(plain), nil
}

func (k *Keyring) current(value string) bool { return sealedBy(value) == k.ids[0] }

// Records hold secrets and header values as they are stored. Values are decrypted
// only for use: in target.prepare, once for each version of a webhook, and in
// results for the host.

func secretPlace(w *Webhook) place              { return place{tenant: w.Tenant, webhook: w.ID} }
func headerPlace(w *Webhook, name string) place { return place{w.Tenant, w.ID, name} }

// sealRecord encrypts every value of rec that is plain, or encrypted with an
// older key, with the first key, and reports whether rec had such a value. A
// value that cannot be decrypted stays as it is. It does not change memory that
// rec shares. A nil Keyring changes no value.
func (k *Keyring) sealRecord(rec *WebhookRecord) (changed bool) {
	if k == nil {
		return false
	}
	renew := func(p place, value string) string {
		if k.current(value) {
			return value
		}
		plain, err := k.unseal(p, value)
		if err != nil {
			return value
		}
		changed = true
		return k.seal(p, plain)
	}
	rec.Secrets = slices.Clone(rec.Secrets)
	for i := range rec.Secrets {
		rec.Secrets[i].Value = renew(secretPlace(&rec.Webhook), rec.Secrets[i].Value)
	}
	rec.Headers = maps.Clone(rec.Headers)
	for name, value := range rec.Headers {
		rec.Headers[name] = renew(headerPlace(&rec.Webhook, name), value)
	}
	return changed
}

func (k *Keyring) openSecret(w *Webhook, s *SecretRecord) (string, error) {
	return k.unseal(secretPlace(w), s.Value)
}

// openHeaders returns the headers of w with plain values: the map itself if all
// values are plain, and nil with an error if a value cannot be decrypted.
func (k *Keyring) openHeaders(w *Webhook) (map[string]string, error) {
	plain := true
	for _, value := range w.Headers {
		plain = plain && !sealed(value)
	}
	if plain {
		return w.Headers, nil
	}
	out := make(map[string]string, len(w.Headers))
	for _, name := range slices.Sorted(maps.Keys(w.Headers)) {
		value, err := k.unseal(headerPlace(w, name), w.Headers[name])
		if err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}

// shown returns a webhook with plain headers. It changes no memory that w shares.
func (k *Keyring) shown(w Webhook) Webhook {
	headers, err := k.openHeaders(&w)
	w.Headers = headers
	if err != nil {
		w.Unreadable = err.Error()
	}
	return w
}

// shownRecord is shown for a record, whose secrets it checks too.
func (k *Keyring) shownRecord(rec *WebhookRecord, now time.Time) Webhook {
	w := k.shown(rec.Webhook)
	if w.Unreadable != "" {
		return w
	}
	for i := range rec.Secrets {
		if s := &rec.Secrets[i]; !s.expired(now) {
			if _, err := k.openSecret(&w, s); err != nil {
				w.Unreadable = err.Error()
				break
			}
		}
	}
	return w
}

func (s *SecretRecord) expired(now time.Time) bool {
	return !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt)
}

// openAll decrypts every secret that still signs.
func (k *Keyring) openAll(rec *WebhookRecord, now time.Time) ([]string, error) {
	out := make([]string, len(rec.Secrets))
	for i := range rec.Secrets {
		s := &rec.Secrets[i]
		if s.expired(now) {
			continue
		}
		text, err := k.openSecret(&rec.Webhook, s)
		if err != nil {
			return nil, fmt.Errorf("%w; to replace the secret at once, rotate with an Overlap of 0", err)
		}
		out[i] = text
	}
	return out, nil
}
