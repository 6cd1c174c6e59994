package webhook_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed68722ecd/webhook"
)

// The shown request of every attempt equals the received request, except for the
// values of custom headers.
func TestSentRequestIsWhatWasSent(t *testing.T) {
	const agent = "ExampleHooks/1.4 (+https://example.com/webhooks)"
	inBubble(t, webhook.Config{UserAgent: agent}, func(w *world) {
		ctx := context.Background()
		w.rx.status("a.example.com", 500)
		wh := w.hook("a.example.com", func(s *webhook.WebhookSpec) {
			s.Headers = map[string]string{"X-Api-Key": "hunter2"}
			s.URL += "?token=t0ken"
		})
		w.start()
		w.publish()
		w.pass(time.Hour)
		d := w.wantState(wh.ID, webhook.StateFailed, webhook.ReasonRetriesExhausted)
		got := w.rx.at("a.example.com")
		if len(got) != 4 {
			t.Fatalf("%d attempts were made, want 4", len(got))
		}
		for i, g := range got {
			r, err := w.SentRequest(ctx, tenant, d.ID, i+1)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.header["User-Agent"]; len(got) != 1 || got[0] != agent {
				t.Errorf("attempt %d: User-Agent %q, want %q", i+1, got, agent)
			}
			want := g.header.Clone()
			want["X-Api-Key"] = []string{webhook.HiddenValue}
			want["Host"] = []string{"a.example.com"}
			want["Content-Length"] = []string{strconv.Itoa(len(g.body))}
			if diff := cmp.Diff(want, r.Headers); diff != "" {
				t.Errorf("attempt %d: headers (-sent +shown):\n%s", i+1, diff)
			}
			if string(r.Body) != g.body || r.Method != http.MethodPost || r.URL != wh.URL || r.Number != i+1 || !r.Time.Equal(g.at.UTC()) {
				t.Errorf("attempt %d: %+v, sent %+v", i+1, r, g)
			}
			if r.Signatures != webhook.SignaturesExact || r.Changed {
				t.Errorf("attempt %d: signatures %s, changed %v", i+1, r.Signatures, r.Changed)
			}
		}
		// The request of the next attempt.
		next, err := w.SentRequest(ctx, tenant, d.ID, 0)
		if err != nil || next.Number != 5 || next.Headers.Get("X-Webhook-Attempt") != "5" || !next.Time.Equal(time.Now().UTC().Truncate(time.Microsecond)) {
			t.Errorf("the next request: %+v, %v", next, err)
		}
	})
}

func TestSentRequestThatIsNotThere(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		wh := w.hook("a.example.com")
		w.start()
		w.publish()
		w.pass(time.Second)
		d := w.only(wh.ID)
		for name, c := range map[string]struct {
			tenant, id string
			number     int
		}{
			"another tenant": {"agent-2", d.ID, 1},
			"no delivery":    {tenant, "none", 1},
			"no ID":          {tenant, "a\x00b", 1},
			"no attempt":     {tenant, d.ID, 2},
			"below zero":     {tenant, d.ID, -1},
		} {
			if _, err := w.SentRequest(ctx, c.tenant, c.id, c.number); !errors.Is(err, webhook.ErrNotFound) || !strings.HasPrefix(err.Error(), "webhook: sent request: ") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A shown signature was sent; in doubt no signature is shown.
func TestSentRequestAfterRotations(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		wh := w.hook("a.example.com")
		w.start()
		rotate := func(r webhook.Rotation) {
			t.Helper()
			if _, _, err := w.RotateSecret(ctx, tenant, wh.ID, r); err != nil {
				t.Fatal(err)
			}
			w.pass(time.Minute)
		}
		send := func() (webhook.Delivery, received) {
			t.Helper()
			before := len(w.rx.at("a.example.com"))
			id := w.publish()
			w.pass(time.Second)
			got := w.rx.at("a.example.com")
			if len(got) != before+1 {
				t.Fatalf("%d more requests, want 1", len(got)-before)
			}
			return w.deliveries(webhook.DeliveryQuery{EventID: id})[0], got[before]
		}
		shown := func(d webhook.Delivery, sent received, want webhook.SignatureState) {
			t.Helper()
			r, err := w.SentRequest(ctx, tenant, d.ID, 1)
			if err != nil {
				t.Fatal(err)
			}
			if r.Signatures != want {
				t.Errorf("signatures are %s, want %s", r.Signatures, want)
			}
			plain, standard := r.Headers.Get("X-Webhook-Signature"), r.Headers.Get("Webhook-Signature")
			sentPlain, sentStandard := sent.header.Get("X-Webhook-Signature"), sent.header.Get("Webhook-Signature")
			switch r.Signatures {
			case webhook.SignaturesExact:
				if plain != sentPlain || standard != sentStandard {
					t.Errorf("shown %s %s, sent %s %s", plain, standard, sentPlain, sentStandard)
				}
			case webhook.SignaturesPartial:
				if plain != sentPlain || !strings.HasPrefix(sentStandard, standard) {
					t.Errorf("shown %s %s, sent %s %s", plain, standard, sentPlain, sentStandard)
				}
			case webhook.SignaturesUnknown:
				if plain != "" || standard != "" {
					t.Errorf("shown %s %s though nobody knows", plain, standard)
				}
			}
		}
		w.pass(time.Minute)
		first, sentFirst := send()
		shown(first, sentFirst, webhook.SignaturesExact)
		rotate(webhook.Rotation{Secret: "the-second-secret-of-this-webhook"})
		second, sentSecond := send()
		shown(first, sentFirst, webhook.SignaturesPartial)
		shown(second, sentSecond, webhook.SignaturesExact) // both secrets sign
		rotate(webhook.Rotation{})
		shown(first, sentFirst, webhook.SignaturesPartial)
		shown(second, sentSecond, webhook.SignaturesPartial)
		// The second secret comes back: who was current when is forgotten for
		// the time in which it was.
		rotate(webhook.Rotation{Secret: "the-second-secret-of-this-webhook"})
		shown(second, sentSecond, webhook.SignaturesUnknown)
		third, sentThird := send()
		shown(third, sentThird, webhook.SignaturesExact)
		// Rotated to itself: it signs on, and those before it end.
		rotate(webhook.Rotation{Secret: "the-second-secret-of-this-webhook", Overlap: new(time.Duration)})
		shown(third, sentThird, webhook.SignaturesUnknown)
		fourth, sentFourth := send()
		shown(fourth, sentFourth, webhook.SignaturesExact)
		// In the moment after a rotation the secret that signed is unknown.
		if _, _, err := w.RotateSecret(ctx, tenant, wh.ID, webhook.Rotation{}); err != nil {
			t.Fatal(err)
		}
		fifth, sentFifth := send()
		shown(fifth, sentFifth, webhook.SignaturesUnknown)
		// The old secrets have leaked and are gone.
		rotate(webhook.Rotation{Overlap: new(time.Duration)})
		shown(first, sentFirst, webhook.SignaturesUnknown)
		shown(fourth, sentFourth, webhook.SignaturesUnknown)
	})
}

func TestSentRequestSaysWhatHasChanged(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		wh := w.hook("a.example.com")
		w.start()
		w.publish()
		w.pass(time.Second)
		d := w.only(wh.ID)
		if _, err := w.UpdateWebhook(ctx, tenant, wh.ID, wh.Version, webhook.WebhookUpdate{URL: new("https://b.example.com/in")}); err != nil {
			t.Fatal(err)
		}
		r, err := w.SentRequest(ctx, tenant, d.ID, 1)
		if err != nil || !r.Changed || r.Signatures != webhook.SignaturesExact || r.Headers.Get("Host") != "b.example.com" {
			t.Errorf("after an edit: %+v, %v", r, err)
		}
		if err := w.DeleteWebhook(ctx, tenant, wh.ID); err != nil {
			t.Fatal(err)
		}
		r, err = w.SentRequest(ctx, tenant, d.ID, 1)
		if err != nil || !r.Changed || r.URL != "" || r.Signatures != webhook.SignaturesUnknown || r.Headers.Get("Webhook-Id") != d.EventID || len(r.Body) == 0 {
			t.Errorf("after the deletion: %+v, %v", r, err)
		}
	})
}

// A signer of the host's that fails, panics or spoils its arguments does not spoil
// the shown request.
func TestSentRequestContainsTheSigner(t *testing.T) {
	for name, sign := range map[string]func(h http.Header, m webhook.Message) error{
		"fails":  func(http.Header, webhook.Message) error { return errors.New("the key is away") },
		"panics": func(http.Header, webhook.Message) error { panic("out of order") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, webhook.Config{Signer: signerFunc(func(h http.Header, m webhook.Message, s []webhook.Secret) error {
				h["X-Half"] = []string{"done"}
				return sign(h, m)
			})}, func(w *world) {
				wh := w.hook("a.example.com")
				w.start()
				w.publish()
				w.pass(time.Second)
				r, err := w.SentRequest(context.Background(), tenant, w.only(wh.ID).ID, 1)
				if err != nil || r.Signatures != webhook.SignaturesUnknown || r.Headers.Get("X-Half") != "" {
					t.Errorf("%+v, %v", r, err)
				}
			})
		})
	}
}
