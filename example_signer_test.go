package webhook_test

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/seed68722ecd/webhook"
)

// oldScheme is how this host has signed before: its customers' receivers still
// look for it.
type oldScheme struct{}

func (oldScheme) Sign(h http.Header, m webhook.Message, secrets []webhook.Secret) error {
	mac := hmac.New(sha512.New, []byte(secrets[0].Reveal()))
	mac.Write(m.Body)
	h.Set("X-Acme-Signature", "sha512="+hex.EncodeToString(mac.Sum(nil)[:8]))
	return nil
}

// A host keeps its old scheme beside the two of this library.
func ExampleSigners() {
	cfg := webhook.Config{Signer: webhook.Signers(webhook.DefaultSigner(), oldScheme{})}

	// The dispatcher does this for each attempt:
	h := http.Header{}
	m := webhook.Message{ID: "msg_1", Time: time.Unix(1700000000, 0), Body: []byte(`{"a":1}`)}
	secret := webhook.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err := cfg.Signer.Sign(h, m, []webhook.Secret{secret}); err != nil {
		fmt.Println(err)
	}
	for _, name := range []string{"Webhook-Signature", "X-Acme-Signature", "X-Webhook-Signature"} {
		fmt.Println(name, len(h.Get(name)))
	}
	// Output:
	// Webhook-Signature 47
	// X-Acme-Signature 23
	// X-Webhook-Signature 64
}
