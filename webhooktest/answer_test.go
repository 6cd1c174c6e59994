package webhooktest_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed68722ecd/webhook/guard"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// The sender sees each kind of answer as intended.
func TestAnswersAreWhatTheSenderSees(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer webhooktest.Answer
		status int
		class  webhook.ErrorClass
		took   time.Duration
		body   string
	}{
		{"nothing said", webhooktest.Answer{}, 200, "", 0, ""},
		{"status", webhooktest.Status(503), 503, webhook.ClassStatus, 0, ""},
		{"body and header", webhooktest.Answer{Status: 422, Body: "no", Header: http.Header{"server": {"test"}}}, 422, webhook.ClassStatus, 0, "no"},
		{"late", webhooktest.Status(204).After(time.Second).After(time.Second), 204, "", 2 * time.Second, ""},
		{"too late", webhooktest.Status(204).After(time.Minute), 0, webhook.ClassTimeout, 30 * time.Second, ""},
		{"hang", webhooktest.Hang(), 0, webhook.ClassTimeout, 30 * time.Second, ""},
		{"reset", webhooktest.Reset(), 0, webhook.ClassConnect, 0, ""},
		{"late reset", webhooktest.Reset().After(time.Second), 0, webhook.ClassConnect, time.Second, ""},
		{"name", webhooktest.Fail(&net.DNSError{Err: "gone", IsNotFound: true}), 0, webhook.ClassDNS, 0, ""},
		{"blocked", webhooktest.Fail(guard.ErrBlockedAddress), 0, webhook.ClassBlocked, 0, ""},
		{"no status", webhooktest.Status(42), 500, webhook.ClassStatus, 0, "webhooktest: 42 cannot be the status of an answer, use 200–999"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, webhook.Config{}, func(t *testing.T, env *webhooktest.Env, w webhook.Webhook, rx *webhooktest.Receiver) {
				rx.Answer(c.answer)
				publish(t, env)
				if _, err := env.DeliverDue(t.Context()); err != nil {
					t.Fatal(err)
				}
				_, as := only(t, env)
				a := as[0]
				if a.Status != c.status || a.Class != c.class || a.Duration != c.took || string(a.ResponseBody) != c.body {
					t.Errorf("the sender saw status %d, class %q after %v, body %q (%s)", a.Status, a.Class, a.Duration, a.ResponseBody, a.Error)
				}
				last, _ := rx.Last()
				if last.Status != c.status || last.Accepted() != (c.class == "") || last.Err != nil {
					t.Errorf("recorded %+v", last)
				}
			})
		})
	}
}

func TestFailNeedsAnError(t *testing.T) {
	if webhooktest.Fail(nil).Err == nil {
		t.Error("a transport would return neither answer nor error")
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	inBubble(t, webhook.Config{}, func(t *testing.T, env *webhooktest.Env, w webhook.Webhook, rx *webhooktest.Receiver) {
		start := time.Now()
		rx.Answer(webhooktest.RetryAfter(429, 20*time.Minute+time.Millisecond), webhooktest.RetryAfter(503, -time.Second))
		publish(t, env)
		if n := env.UntilIdle(); n != 3 {
			t.Errorf("made %d attempts, want 3", n)
		}
		var at []time.Duration
		for _, r := range rx.Requests() {
			at = append(at, r.At.Sub(start))
		}
		if len(at) != 3 || at[0] != 0 {
			t.Fatalf("attempts at %v, want three, the first at once", at)
		}
		// The wait that was asked for, rounded up to seconds like the header,
		// and up to a fifth more.
		if asked := 20*time.Minute + time.Second; at[1] < asked || at[1] > asked+asked/5 {
			t.Errorf("the first wait was %v, want %v and up to a fifth more", at[1], asked)
		}
		// A shorter wait than the schedule's has no effect.
		if wait := at[2] - at[1]; wait != time.Minute {
			t.Errorf("the second wait was %v, want a minute", wait)
		}
	})
}

func TestAnswersFollowTheScriptAndThenTheUsual(t *testing.T) {
	inBubble(t, webhook.Config{}, func(t *testing.T, env *webhooktest.Env, w webhook.Webhook, rx *webhooktest.Receiver) {
		rx.AnswerFunc(func(r webhooktest.Request) webhooktest.Answer {
			if r.Delivery.Attempt%2 == 0 {
				return webhooktest.Status(200)
			}
			return webhooktest.Status(418)
		})
		rx.Answer(webhooktest.Status(500))
		rx.Answer(webhooktest.Times(1, webhooktest.Status(501))...)
		publish(t, env)
		env.UntilIdle()
		var got []int
		for _, r := range rx.Requests() {
			got = append(got, r.Status)
		}
		if diff := cmp.Diff([]int{500, 501, 418, 200}, got); diff != "" {
			t.Errorf("statuses (-want +got):\n%s", diff)
		}
	})
}

func TestUntilIdleWaitsForRetriesAndEndsWithItsContext(t *testing.T) {
	inBubble(t, webhook.Config{}, func(t *testing.T, env *webhooktest.Env, w webhook.Webhook, rx *webhooktest.Receiver) {
		if n := env.UntilIdle(); n != 0 {
			t.Errorf("%d attempts at nothing", n)
		}
		rx.AnswerAlways(webhooktest.Status(500))
		publish(t, env)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n, err := webhooktest.UntilIdle(ctx, env.Dispatcher, "agent-0", "agent-1")
		if n != 2 || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 deliveries are pending") {
			t.Errorf("%d attempts within a minute, %v; want 2 and the deadline", n, err)
		}
		start := time.Now()
		if n := env.UntilIdle(); n != 2 {
			t.Errorf("%d further attempts, want 2", n)
		}
		if d, _ := only(t, env); d.State != webhook.StateFailed || d.Attempts != 4 {
			t.Errorf("delivery is %s after %d attempts", d.State, d.Attempts)
		}
		if took := time.Since(start); took < 4*time.Minute || took > 5*time.Minute {
			t.Errorf("the last two attempts took %v of fake time", took)
		}
		if _, err := webhooktest.UntilIdle(t.Context(), env.Dispatcher); err == nil {
			t.Error("no tenants were named, and that was no error")
		}
		if _, err := webhooktest.UntilIdle(t.Context(), env.Dispatcher, ""); !errors.Is(err, webhook.ErrInvalid) {
			t.Errorf("an empty tenant: %v", err)
		}
		done, end := context.WithCancel(t.Context())
		end()
		if _, err := webhooktest.UntilIdle(done, env.Dispatcher, "agent-1"); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
	})
}

// More pending deliveries than one page of the list holds.
func TestUntilIdleWithManyPending(t *testing.T) {
	inBubble(t, webhook.Config{}, func(t *testing.T, env *webhooktest.Env, w webhook.Webhook, rx *webhooktest.Receiver) {
		const events = 1200
		rx.Answer(webhooktest.Times(events, webhooktest.Status(500))...)
		for range events {
			publish(t, env)
		}
		if n, err := webhooktest.DeliverDue(t.Context(), env.Dispatcher); n != events || err != nil {
			t.Errorf("%d attempts were due, %v", n, err)
		}
		if n := env.UntilIdle(); n != events {
			t.Errorf("%d retries, want %d", n, events)
		}
		if n := len(rx.Deliveries()); n != events {
			t.Errorf("%d of %d accepted", n, events)
		}
	})
}

func TestZeroTransportKnowsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := webhooktest.New(t, webhook.Config{})
		_, rx := env.Register("agent-1", webhook.WebhookSpec{URL: "http://Gone.Example.com:8080/x", MaxRetries: new(0)})
		env.Transport.Handle("gone.example.com:8080", nil)
		publish(t, env)
		env.UntilIdle()
		if _, as := only(t, env); as[0].Class != webhook.ClassDNS {
			t.Errorf("class %q: %s", as[0].Class, as[0].Error)
		}
		if rx.Requests() != nil || len(env.Transport.Hosts()) != 0 {
			t.Error("the receiver is still there")
		}
	})
}
