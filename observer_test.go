package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

type traceKey struct{}

// sightings is an Observer that notes its calls.
type sightings struct {
	mu    sync.Mutex
	lines []string
}

func (s *sightings) add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *sightings) count(line string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if strings.HasPrefix(l, line) {
			n++
		}
	}
	return n
}

func (s *sightings) observer(send webhook.AttemptObservation) webhook.Observer {
	return webhook.Observer{
		Publish: func(ctx context.Context, reqs []webhook.PublishRequest) (string, func([]webhook.Published, error)) {
			trace, _ := ctx.Value(traceKey{}).(string)
			return trace, func(out []webhook.Published, err error) { s.add("stored %d %v", len(out), err) }
		},
		Attempt: func(d webhook.Delivery, ev *webhook.EventRecord) webhook.AttemptObservation {
			s.add("attempt %d trace %q", d.Attempts+1, ev.Trace)
			send := send
			send.Ended = func(a webhook.Attempt, aborted bool) { s.add("ended %d %s aborted %v", a.Status, a.Class, aborted) }
			return send
		},
		Recorded: func(d webhook.Delivery, a *webhook.Attempt, o webhook.Outcome) {
			s.add("recorded %s %v %d", d.State, a != nil, o)
		},
		Claimed:  func(n int, took time.Duration, err error) { s.add("claimed %d %v", n, err) },
		Disabled: func(w webhook.Webhook, gone bool) { s.add("disabled %s %v", w.Name, gone) },
	}
}

func TestObserverSeesAnEventFromPublishToReceiver(t *testing.T) {
	var s sightings
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	inBubble(t, webhook.Config{Retry: noJitter, Observer: s.observer(webhook.AttemptObservation{Traceparent: "00-a-b-01", Tracestate: "x=1"})}, func(w *world) {
		w.hook("h.example.com")
		w.rx.on("h.example.com", answers(500, 410))
		w.start()
		if _, err := w.Publish(context.WithValue(context.Background(), traceKey{}, parent), webhook.Event{Tenant: tenant, Type: "a.b", Data: map[string]int{}}); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		for line, want := range map[string]int{
			"stored 1 <nil>": 1, "attempt 1 trace \"" + parent: 1, "attempt 2 trace \"" + parent: 1, "ended 500 status aborted false": 1,
			"ended 410 status aborted false": 1, "recorded pending true 0": 1, "recorded failed true 0": 1, "claimed 1 <nil>": 2, "disabled h.example.com true": 1,
		} {
			if n := s.count(line); n != want {
				t.Errorf("%q was seen %d times, want %d: %v", line, n, want, s.lines)
			}
		}
		for _, r := range w.rx.at("h.example.com") {
			if r.header.Get("Traceparent") != "00-a-b-01" || r.header.Get("Tracestate") != "x=1" {
				t.Errorf("sent %v", r.header)
			}
		}
	})
}

// answers answers with each status in turn.
func answers(codes ...int) func(int, *http.Request) (int, http.Header, error) {
	return func(n int, _ *http.Request) (int, http.Header, error) { return codes[min(n, len(codes))-1], nil, nil }
}

// Trace headers are sent only if the host asks, and customers cannot set them.
func TestTraceHeadersAreTheHosts(t *testing.T) {
	var s sightings
	inBubble(t, webhook.Config{Observer: s.observer(webhook.AttemptObservation{Tracestate: "a\r\nX-Webhook-Signature: b"})}, func(w *world) {
		for _, name := range []string{"traceparent", "Tracestate", "BAGGAGE", "trace_parent"} {
			spec := goodSpec()
			spec.Headers = map[string]string{name: "x"}
			if _, _, err := w.CreateWebhook(context.Background(), tenant, spec); (err == nil) != (name == "trace_parent") {
				t.Errorf("header %s: %v", name, err)
			}
		}
		w.hook("h.example.com")
		w.start()
		long := strings.Repeat("x", 129)
		for _, trace := range []string{long, "a\x00", "é"} {
			if _, err := w.Publish(context.WithValue(context.Background(), traceKey{}, trace), webhook.Event{Tenant: tenant, Type: "a.b", Data: map[string]int{}}); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(time.Second)
		if n := s.count(`attempt 1 trace ""`); n != 3 {
			t.Errorf("%d events without a trace, want 3: %v", n, s.lines)
		}
		for _, r := range w.rx.at("h.example.com") {
			if len(r.header["Traceparent"])+len(r.header["Tracestate"]) != 0 {
				t.Errorf("sent %v", r.header)
			}
		}
	})
}

func TestObserverSeesRefusalsAndAborts(t *testing.T) {
	var s sightings
	var faults *faultyStore
	inBubbleOver(t, webhook.Config{DrainTimeout: -1, Observer: s.observer(webhook.AttemptObservation{})}, func(m *memstore.Store) webhook.Store {
		faults = &faultyStore{Store: m}
		return faults
	}, func(w *world) {
		w.hook("h.example.com")
		w.rx.hang("h.example.com")
		faults.set(func(op string) error {
			if op == "Publish" {
				return errors.New("no room")
			}
			return nil
		})
		if _, err := w.Publish(context.Background(), webhook.Event{Tenant: tenant, Type: "a.b", Data: map[string]int{}}); err == nil {
			t.Fatal("published")
		}
		faults.set(nil)
		w.start()
		w.publish()
		w.pass(time.Second)
		w.end()
		if s.count("stored 0 no room") != 1 || s.count("ended 0  aborted true") != 1 || s.count("recorded") != 0 {
			t.Errorf("seen: %v", s.lines)
		}
	})
}

// An observer that panics everywhere has no effect on deliveries.
func TestObserverThatPanics(t *testing.T) {
	inBubble(t, webhook.Config{Observer: webhook.Observer{
		Publish:  func(context.Context, []webhook.PublishRequest) (string, func([]webhook.Published, error)) { panic("p") },
		Attempt:  func(webhook.Delivery, *webhook.EventRecord) webhook.AttemptObservation { panic("a") },
		Recorded: func(webhook.Delivery, *webhook.Attempt, webhook.Outcome) { panic("r") },
		Claimed:  func(int, time.Duration, error) { panic("c") },
		Disabled: func(webhook.Webhook, bool) { panic("d") },
	}}, func(w *world) {
		wh := w.hook("h.example.com")
		gone := w.hook("gone.example.com")
		w.rx.status("gone.example.com", 410)
		w.start()
		w.publish()
		w.pass(time.Second)
		w.wantState(wh.ID, webhook.StateSucceeded, "")
		w.wantState(gone.ID, webhook.StateFailed, webhook.ReasonGone)
	})
	// An observer whose functions for the end panic.
	inBubble(t, webhook.Config{Observer: webhook.Observer{
		Publish: func(context.Context, []webhook.PublishRequest) (string, func([]webhook.Published, error)) {
			return "", func([]webhook.Published, error) { panic("s") }
		},
		Attempt: func(webhook.Delivery, *webhook.EventRecord) webhook.AttemptObservation {
			return webhook.AttemptObservation{Ended: func(webhook.Attempt, bool) { panic("e") }}
		},
	}}, func(w *world) {
		wh := w.hook("h.example.com")
		w.start()
		w.publish()
		w.pass(time.Second)
		w.wantState(wh.ID, webhook.StateSucceeded, "")
	})
}
