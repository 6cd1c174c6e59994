package webhook

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Stored secrets and header values may be encrypted, see Keyring. Throughout
// this package records hold the stored form. Values are decrypted only for use:
// in target.prepare, once for each version of a webhook, and in results for the
// host.

// secretPlace and headerPlace return the places of a webhook's values.
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

// openSecret returns the text of a stored secret of w.
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

// shown returns a webhook as hosts see it, with plain headers. It does not
// change memory that w shares.
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

// expired reports whether a secret has stopped signing.
func (s *SecretRecord) expired(now time.Time) bool {
	return !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt)
}

// openAll decrypts every secret that still signs, for a change that compares
// them.
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
