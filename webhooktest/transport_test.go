package webhooktest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/verify"
	"github.com/seed68722ecd/webhook/webhooktest"
)

func TestTransportKeepsHostsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := webhooktest.New(t, webhook.Config{})
		one, rxOne := env.Register("agent-1", webhook.WebhookSpec{URL: "https://One.example.com/a"})
		_, rxPort := env.Register("agent-1", webhook.WebhookSpec{URL: "https://one.example.com:8443/b", Events: []string{"user.*"}})
		_, rxTwo := env.Register("agent-2", webhook.WebhookSpec{URL: "http://two.example.com/"})
		if rxOne == rxPort || rxOne == rxTwo {
			t.Fatal("two hosts share a receiver")
		}
		if env.Transport.Receiver("ONE.example.com") != rxOne {
			t.Error("the case of a host's name makes a difference")
		}
		_, again := env.Register("agent-1", webhook.WebhookSpec{URL: "https://one.example.com/c", Name: "second"})
		if again != rxOne {
			t.Error("two webhooks at one host have two receivers")
		}
		publish(t, env)
		env.UntilIdle()
		if a, b, c := len(rxOne.Deliveries()), len(rxPort.Requests()), len(rxTwo.Requests()); a != 2 || b != 0 || c != 0 {
			t.Errorf("accepted %d, %d and %d, want 2, 0 and 0; webhook %+v", a, b, c, one)
		}
		if diff := cmp.Diff([]string{"one.example.com", "one.example.com:8443", "two.example.com"}, env.Transport.Hosts()); diff != "" {
			t.Errorf("hosts (-want +got):\n%s", diff)
		}
	})
}

// A host's own receiver code is tested by real deliveries to it.
func TestTransportCallsAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := webhooktest.New(t, webhook.Config{})
		w, secret, err := env.CreateWebhook(t.Context(), "agent-1", webhook.WebhookSpec{
			Name: "own", URL: "https://own.example.com/hook", Events: []string{"*"}, MaxRetries: new(1),
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		answer := func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusEarlyHints) // not the final answer
			w.Header().Set("X-Request-Id", "7")
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(http.StatusTeapot) // too late
			io.WriteString(w, "thank you")
		}
		h, err := verify.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d, _ := verify.FromContext(r.Context())
			got = append(got, d.Type+" "+r.Host+" "+r.RequestURI)
			answer(w)
		}), secret.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		env.Transport.Handle("own.example.com", h)
		publish(t, env)
		env.UntilIdle()
		if diff := cmp.Diff([]string{"agent.message own.example.com /hook"}, got); diff != "" {
			t.Errorf("the handler saw (-want +got):\n%s", diff)
		}
		d, as := only(t, env)
		if d.State != webhook.StateSucceeded || as[0].Status != 202 || string(as[0].ResponseBody) != "thank you" || as[0].ResponseHeaders["X-Request-Id"] != "7" {
			t.Errorf("delivery %+v, attempt %+v, webhook %s", d, as[0], w.ID)
		}

		// A handler that does not write answers 200.
		env.Transport.Handle("own.example.com", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		resp, err := env.Transport.Client().Get("https://own.example.com/")
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("answered %v, %v", resp, err)
		}
		resp.Body.Close()

		// A handler that panics breaks the connection; a handler that outlives
		// the attempt times out.
		env.Transport.Handle("own.example.com", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		publish(t, env)
		env.DeliverDue(t.Context())
		env.Transport.Handle("own.example.com", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		env.UntilIdle()
		page, err := env.Deliveries(t.Context(), webhook.DeliveryQuery{Tenant: "agent-1", State: webhook.StateFailed})
		if err != nil || len(page.Items) != 1 {
			t.Fatalf("%d failed deliveries, %v", len(page.Items), err)
		}
		as, err = env.Attempts(t.Context(), "agent-1", page.Items[0].ID)
		if err != nil || len(as) != 2 || as[0].Class != webhook.ClassConnect || as[1].Class != webhook.ClassTimeout {
			t.Errorf("attempts %+v, %v", as, err)
		}
	})
}

// A RoundTripper leaves the caller's request as it was, and closes its body.
func TestRoundTripLeavesTheRequestAlone(t *testing.T) {
	rx := webhooktest.Receiver{Unverified: true}
	body := &closeRecorder{Reader: strings.NewReader("x")}
	req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://x.example/", body)
	req.Host = ""
	resp, err := rx.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if req.Body != io.ReadCloser(body) || !body.closed {
		t.Errorf("body replaced or not closed: %v", body.closed)
	}
	if last, _ := rx.Last(); last.Host != "x.example" || resp.Request != req {
		t.Errorf("recorded %+v", last)
	}
}

type closeRecorder struct {
	io.Reader
	closed bool
}

func (c *closeRecorder) Close() error { c.closed = true; return nil }
