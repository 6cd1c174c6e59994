package webhook_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

func TestPolicyIsWhatIsInForce(t *testing.T) {
	defaults := webhook.Policy{
		UnverifiedTLS: true, SecretOverlap: 24 * time.Hour, DisableAfter: 5 * 24 * time.Hour, Retention: 30 * 24 * time.Hour,
		MaxEventSize: 256 << 10, MaxRetryAfter: 6 * time.Hour, QuarantineAfter: 5,
	}
	off := defaults
	off.UnverifiedTLS, off.SecretOverlap, off.DisableAfter, off.Retention, off.MaxRetryAfter = false, 0, 0, 0, 0
	off.AllowHTTP, off.MaxWebhooks = true, 7
	noTLS := defaults
	noTLS.UnverifiedTLS = false
	for name, c := range map[string]struct {
		cfg  webhook.Config
		want webhook.Policy
	}{
		"defaults":             {webhook.Config{}, defaults},
		"all off":              {webhook.Config{AllowHTTP: true, ForbidUnverifiedTLS: true, SecretOverlap: -1, DisableAfter: -1, Retention: -1, MaxRetryAfter: -1, MaxWebhooks: 7}, off},
		"a client of its own":  {webhook.Config{Client: &http.Client{Transport: newReceivers()}}, noTLS},
		"a client without any": {webhook.Config{Client: &http.Client{Transport: new(http.Transport)}}, defaults},
	} {
		d, err := webhook.New(memstore.New(memstore.Config{}), c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, d.Policy()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
