package webhook_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// errNoFiles is the error of a dial on a machine that is out of files.
var errNoFiles = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}

// A fault of this side that lasts for a day: every delivery is tried again at
// growing distances and at least once a minute, the log has one attempt of each,
// no webhook is disabled, others are not held up, and all is delivered in the end.
func TestUnsentForADayThenDelivered(t *testing.T) {
	logged := &countingHandler{}
	var told []webhook.Unsent
	cfg := webhook.Config{
		DisableAfter: time.Hour, Logger: slog.New(logged),
		Hooks: webhook.Hooks{Unsent: func(u webhook.Unsent) { told = append(told, u) }},
	}
	inBubble(t, cfg, func(w *world) {
		bad := w.hook("bad.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(0) })
		w.hook("well.example.com")
		w.rx.on("bad.example.com", func(int, *http.Request) (int, http.Header, error) { return 0, nil, errNoFiles })
		w.start()
		const events = 100
		for range events {
			w.publish()
		}
		w.pass(time.Second / 2)
		if n := len(w.rx.at("well.example.com")); n != events {
			t.Errorf("the other webhook has %d of %d events", n, events)
		}
		w.pass(24 * time.Hour)
		tries := w.rx.at("bad.example.com")
		// A round is one try from the second on: 1, 2, 4, … 60 s apart, and a minute
		// apart for the rest of the day.
		if n := len(tries); n < 24*60/2 || n > 24*60+2*events+100 {
			t.Errorf("%d tries within a day", n)
		}
		for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: bad.ID, Limit: 500}) {
			if d.State != webhook.StatePending || d.Tries != 0 {
				t.Fatalf("after a day: %+v", d)
			}
			if as := w.attemptsOf(d); len(as) > 1 || len(as) == 1 && !strings.HasPrefix(as[0].Error, unsentText) {
				t.Fatalf("attempts %+v", as)
			}
		}
		wh, err := w.Webhook(context.Background(), tenant, bad.ID)
		if err != nil || !wh.Active || !wh.FailingSince.IsZero() || !wh.LastTriggeredAt.IsZero() {
			t.Errorf("webhook %+v, %v", wh, err)
		}
		if n := len(told); n < 24*60/2 || n > 24*60*6 {
			t.Errorf("the hook was called %d times within a day", n)
		} else if u := told[0]; u.Kind != "machine" || u.Delivery.WebhookID != bad.ID || u.Again.IsZero() {
			t.Errorf("the hook was told %+v", u)
		}
		if n := logged.count(); n != len(told) {
			t.Errorf("%d warnings and errors logged, the hook was called %d times", n, len(told))
		}

		before := len(tries)
		w.rx.status("bad.example.com", 204)
		w.pass(3 * time.Minute)
		if n := len(w.rx.at("bad.example.com")) - before; n != events {
			t.Errorf("%d of %d events delivered in the end", n, events)
		}
		for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: bad.ID, Limit: 500}) {
			if d.State != webhook.StateSucceeded || d.Tries != 1 {
				t.Fatalf("in the end: %+v", d)
			}
		}
	})
}

// A fault between failures of the receiver's own: only those use up retries, and
// the next fault is logged again.
func TestUnsentBetweenFailures(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		wh := w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(1) })
		w.rx.on("h.example.com", func(n int, _ *http.Request) (int, http.Header, error) {
			if n == 3 || n == 6 {
				return 500, nil, nil
			}
			return 0, nil, errNoFiles
		})
		w.start()
		w.publish()
		w.pass(24 * time.Hour)
		d := w.wantState(wh.ID, webhook.StateFailed, webhook.ReasonRetriesExhausted)
		var classes []webhook.ErrorClass
		for _, a := range w.attemptsOf(d) {
			classes = append(classes, a.Class)
		}
		if d.Tries != 2 || len(classes) != 4 || classes[0] != webhook.ClassUnsent || classes[1] != webhook.ClassStatus || classes[2] != webhook.ClassUnsent || classes[3] != webhook.ClassStatus {
			t.Errorf("tries %d, attempts %v", d.Tries, classes)
		}
	})
}

// A delivery that cannot be sent ends when its webhook does.
func TestUnsentEndsWithItsWebhook(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		wh := w.hook("h.example.com")
		w.rx.on("h.example.com", func(int, *http.Request) (int, http.Header, error) { return 0, nil, errNoFiles })
		w.start()
		w.publish()
		w.pass(time.Hour)
		if err := w.DeleteWebhook(context.Background(), tenant, wh.ID); err != nil {
			t.Fatal(err)
		}
		w.pass(2 * webhook.UnsentWaitMax)
		w.wantState(wh.ID, webhook.StateCanceled, webhook.ReasonWebhookDeleted)
	})
}

func (h *countingHandler) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// A signer that fails for days is no webhook's fault either. Its deliveries do use
// up their retries, because a delivery may never become signable.
func TestSignerThatFailsDisablesNobody(t *testing.T) {
	cfg := webhook.Config{
		DisableAfter: time.Hour,
		Signer:       signerFunc(func(http.Header, webhook.Message, []webhook.Secret) error { return errors.New("the key store is away") }),
		Hooks: webhook.Hooks{
			Failing:  func(webhook.Webhook, time.Time, time.Time) { t.Error("a webhook is said to fail") },
			Disabled: func(w webhook.Webhook) { t.Errorf("disabled: %s", w.DisabledReason) },
		},
	}
	inBubble(t, cfg, func(w *world) {
		wh := w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(10) })
		w.start()
		for range 100 {
			w.publish()
			w.pass(time.Hour)
		}
		got, err := w.Webhook(context.Background(), tenant, wh.ID)
		if err != nil || !got.Active || !got.FailingSince.IsZero() {
			t.Errorf("webhook %+v, %v", got, err)
		}
		failed := w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateFailed, Limit: 500})
		if len(failed) == 0 || failed[0].Tries != 11 || failed[0].LastClass != webhook.ClassInternal {
			t.Errorf("%d failed deliveries: %+v", len(failed), failed)
		}
	})
}
