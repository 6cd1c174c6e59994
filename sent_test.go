package webhook

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What is shown of every attempt is what the receiver got, but for the values of
// custom headers.
func TestSentRequestIsWhatWasSent(t *testing.T) {
	const agent = "ExampleHooks/1.4 (+https://example.com/webhooks)"
	inBubble(t, Config{UserAgent: agent}, func(w *world) {
		ctx := context.Background()
		w.rx.status("a.example.com", 500)
		wh := w.hook("a.example.com", func(s *WebhookSpec) {
			s.Headers = map[string]string{"X-Api-Key": "hunter2"}
			s.URL += "?token=t0ken"
		})
		w.start()
		w.publish()
		w.pass(time.Hour)
		d := w.wantState(wh.ID, StateFailed, ReasonRetriesExhausted)
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
			want["X-Api-Key"] = []string{HiddenValue}
			want["Host"] = []string{"a.example.com"}
			want["Content-Length"] = []string{strconv.Itoa(len(g.body))}
			if diff := cmp.Diff(want, r.Headers); diff != "" {
				t.Errorf("attempt %d: headers (-sent +shown):\n%s", i+1, diff)
			}
			if string(r.Body) != g.body || r.Method != http.MethodPost || r.URL != wh.URL || r.Number != i+1 || !r.Time.Equal(g.at.UTC()) {
				t.Errorf("attempt %d: %+v, sent %+v", i+1, r, g)
			}
			if r.Signatures != SignaturesExact || r.Changed {
				t.Errorf("attempt %d: signatures %s, changed %v", i+1, r.Signatures, r.Changed)
			}
		}
		// The one that would come next.
		next, err := w.SentRequest(ctx, tenant, d.ID, 0)
		if err != nil || next.Number != 5 || next.Headers.Get(headerAttempt) != "5" || !next.Time.Equal(time.Now().UTC().Truncate(time.Microsecond)) {
			t.Errorf("the next request: %+v, %v", next, err)
		}
	})
}

func TestSentRequestThatIsNotThere(t *testing.T) {
	inBubble(t, Config{}, func(w *world) {
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
			if _, err := w.SentRequest(ctx, c.tenant, c.id, c.number); !errors.Is(err, ErrNotFound) || !strings.HasPrefix(err.Error(), "webhook: sent request: ") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A signature that is shown is one that was sent; where that cannot be known
// none is shown.
func TestSentRequestAfterRotations(t *testing.T) {
	inBubble(t, Config{}, func(w *world) {
		ctx := context.Background()
		wh := w.hook("a.example.com")
		w.start()
		rotate := func(r Rotation) {
			t.Helper()
			if _, _, err := w.RotateSecret(ctx, tenant, wh.ID, r); err != nil {
				t.Fatal(err)
			}
			w.pass(time.Minute)
		}
		send := func() (Delivery, received) {
			t.Helper()
			before := len(w.rx.at("a.example.com"))
			id := w.publish()
			w.pass(time.Second)
			got := w.rx.at("a.example.com")
			if len(got) != before+1 {
				t.Fatalf("%d more requests, want 1", len(got)-before)
			}
			return w.deliveries(DeliveryQuery{EventID: id})[0], got[before]
		}
		shown := func(d Delivery, sent received, want SignatureState) {
			t.Helper()
			r, err := w.SentRequest(ctx, tenant, d.ID, 1)
			if err != nil {
				t.Fatal(err)
			}
			if r.Signatures != want {
				t.Errorf("signatures are %s, want %s", r.Signatures, want)
			}
			plain, standard := r.Headers.Get(headerSignature), r.Headers.Get(headerWebhookSignature)
			sentPlain, sentStandard := sent.header.Get(headerSignature), sent.header.Get(headerWebhookSignature)
			switch r.Signatures {
			case SignaturesExact:
				if plain != sentPlain || standard != sentStandard {
					t.Errorf("shown %s %s, sent %s %s", plain, standard, sentPlain, sentStandard)
				}
			case SignaturesPartial:
				if plain != sentPlain || !strings.HasPrefix(sentStandard, standard) {
					t.Errorf("shown %s %s, sent %s %s", plain, standard, sentPlain, sentStandard)
				}
			case SignaturesUnknown:
				if plain != "" || standard != "" {
					t.Errorf("shown %s %s though nobody knows", plain, standard)
				}
			}
		}
		w.pass(time.Minute)
		first, sentFirst := send()
		shown(first, sentFirst, SignaturesExact)
		rotate(Rotation{Secret: "the-second-secret-of-this-webhook"})
		second, sentSecond := send()
		shown(first, sentFirst, SignaturesPartial)
		shown(second, sentSecond, SignaturesExact) // both secrets sign
		rotate(Rotation{})
		shown(first, sentFirst, SignaturesPartial)
		shown(second, sentSecond, SignaturesPartial)
		// The second secret comes back: who was current when is forgotten for
		// the time in which it was.
		rotate(Rotation{Secret: "the-second-secret-of-this-webhook"})
		shown(second, sentSecond, SignaturesUnknown)
		third, sentThird := send()
		shown(third, sentThird, SignaturesExact)
		// Rotated to itself: it signs on, and those before it end.
		rotate(Rotation{Secret: "the-second-secret-of-this-webhook", Overlap: new(time.Duration)})
		shown(third, sentThird, SignaturesUnknown)
		fourth, sentFourth := send()
		shown(fourth, sentFourth, SignaturesExact)
		// In the moment after a rotation nobody knows which process signed.
		if _, _, err := w.RotateSecret(ctx, tenant, wh.ID, Rotation{}); err != nil {
			t.Fatal(err)
		}
		fifth, sentFifth := send()
		shown(fifth, sentFifth, SignaturesUnknown)
		// The old secrets have leaked and are gone.
		rotate(Rotation{Overlap: new(time.Duration)})
		shown(first, sentFirst, SignaturesUnknown)
		shown(fourth, sentFourth, SignaturesUnknown)
	})
}

func TestSentRequestSaysWhatHasChanged(t *testing.T) {
	inBubble(t, Config{}, func(w *world) {
		ctx := context.Background()
		wh := w.hook("a.example.com")
		w.start()
		w.publish()
		w.pass(time.Second)
		d := w.only(wh.ID)
		if _, err := w.UpdateWebhook(ctx, tenant, wh.ID, wh.Version, WebhookUpdate{URL: new("https://b.example.com/in")}); err != nil {
			t.Fatal(err)
		}
		r, err := w.SentRequest(ctx, tenant, d.ID, 1)
		if err != nil || !r.Changed || r.Signatures != SignaturesExact || r.Headers.Get("Host") != "b.example.com" {
			t.Errorf("after an edit: %+v, %v", r, err)
		}
		if err := w.DeleteWebhook(ctx, tenant, wh.ID); err != nil {
			t.Fatal(err)
		}
		r, err = w.SentRequest(ctx, tenant, d.ID, 1)
		if err != nil || !r.Changed || r.URL != "" || r.Signatures != SignaturesUnknown || r.Headers.Get(headerWebhookID) != d.EventID || len(r.Body) == 0 {
			t.Errorf("after the deletion: %+v, %v", r, err)
		}
	})
}

// A signer of the host's that fails, panics or spoils what it is given spoils
// nothing that is shown.
func TestSentRequestContainsTheSigner(t *testing.T) {
	for name, sign := range map[string]func(h http.Header, m Message) error{
		"fails":  func(http.Header, Message) error { return errors.New("the key is away") },
		"panics": func(http.Header, Message) error { panic("out of order") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Signer: signerFunc(func(h http.Header, m Message, s []Secret) error {
				h["X-Half"] = []string{"done"}
				return sign(h, m)
			})}, func(w *world) {
				wh := w.hook("a.example.com")
				w.start()
				w.publish()
				w.pass(time.Second)
				r, err := w.SentRequest(context.Background(), tenant, w.only(wh.ID).ID, 1)
				if err != nil || r.Signatures != SignaturesUnknown || r.Headers.Get("X-Half") != "" {
					t.Errorf("%+v, %v", r, err)
				}
			})
		})
	}
}
