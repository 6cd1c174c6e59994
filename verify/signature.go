package verify

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// Scheme names the signature that verified a delivery.
type Scheme string

const (
	// SchemeV1 is the HMAC-SHA256 of Standard Webhooks: ID, time and body.
	SchemeV1 Scheme = "v1"
	// SchemeV1a is the Ed25519 signature of Standard Webhooks: ID, time and body.
	SchemeV1a Scheme = "v1a"
	// SchemePlain is X-Webhook-Signature: the body alone, without a time.
	SchemePlain Scheme = "plain"
)

// checkSignature returns the scheme that verified body. It tries every key with
// every signature, so that the time it takes depends on how many there are and
// not on which pair matches.
func (v *Verifier) checkSignature(c claim, body []byte) (Scheme, error) {
	if c.plain != nil {
		return v.checkPlain(c.plain, body)
	}
	var v1, v1a bool
	for _, key := range v.v1Keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(c.id + "." + c.stamp + "."))
		mac.Write(body)
		want := mac.Sum(nil)
		for _, sig := range c.v1 {
			v1 = hmac.Equal(sig, want) || v1
		}
	}
	if len(c.v1a) > 0 {
		// Ed25519 takes its message in one piece.
		signed := make([]byte, 0, len(c.id)+len(c.stamp)+2+len(body))
		signed = append(signed, c.id+"."+c.stamp+"."...)
		signed = append(signed, body...)
		for _, key := range v.publicKeys {
			for _, sig := range c.v1a {
				v1a = ed25519.Verify(key, signed, sig) || v1a
			}
		}
	}
	switch {
	case v1:
		return SchemeV1, nil
	case v1a:
		return SchemeV1a, nil
	}
	return "", mismatch(len(c.v1)+len(c.v1a), len(body))
}

func (v *Verifier) checkPlain(sig, body []byte) (Scheme, error) {
	ok := false
	for _, key := range v.plainKeys {
		mac := hmac.New(sha256.New, key)
		mac.Write(body)
		ok = hmac.Equal(sig, mac.Sum(nil)) || ok
	}
	if !ok {
		return "", mismatch(1, len(body))
	}
	return SchemePlain, nil
}

func mismatch(signatures, body int) error {
	return fmt.Errorf("%w: none of %d signatures fits the body of %d bytes: compare the secret with this webhook's, and pass the body as it was received", ErrSignatureMismatch, signatures, body)
}
