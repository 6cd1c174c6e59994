package hostile

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// A here is a receiver in the test's own process, by handler.
type here struct {
	url   func(host string) string
	names *nameServer
	open  atomic.Int64 // connections
	most  atomic.Int64
}

func serveHere(t *testing.T, handler http.HandlerFunc) *here {
	t.Helper()
	ca, err := loadAuthority(os.Getenv(certDirVar))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.leaf([]string{"*.example.com"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &here{names: newNameServer()}
	h.url = func(host string) string {
		h.names.set(host+".example.com", always("127.0.0.1"))
		return fmt.Sprintf("https://%s.example.com:%d/hook", host, ln.Addr().(*net.TCPAddr).Port)
	}
	server := &http.Server{Handler: handler, ErrorLog: discardLog(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}},
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				now := h.open.Add(1)
				for most := h.most.Load(); now > most && !h.most.CompareAndSwap(most, now); most = h.most.Load() {
				}
			case http.StateClosed, http.StateHijacked:
				h.open.Add(-1)
			}
		}}
	go server.ServeTLS(ln, "", "")
	t.Cleanup(func() { server.Close() })
	return h
}

// eventually waits for what has to become true.
func eventually(t *testing.T, what string, patience time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-tick.C
	}
}

// A receiver that uses the sender's API before it answers: it publishes, reads the
// log, edits its own webhook, rotates its secret, and in the end disables itself.
// Nothing waits for anything, and the loop ends where the receiver ends it.
func TestHR36_ReceiverThatCallsTheSender(t *testing.T) {
	var d *webhook.Dispatcher
	var mu sync.Mutex
	var problems []error
	arrivals, id := 0, ""
	h := serveHere(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		arrivals++
		ctx := r.Context()
		note := func(err error) {
			if err != nil {
				problems = append(problems, err)
			}
		}
		w, err := d.Webhook(ctx, "t", id)
		note(err)
		_, err = d.Deliveries(ctx, webhook.DeliveryQuery{Tenant: "t", WebhookID: id})
		note(err)
		_, err = d.UpdateWebhook(ctx, "t", id, w.Version, webhook.WebhookUpdate{Description: new(fmt.Sprint("edit ", arrivals))})
		note(err)
		_, _, err = d.RotateSecret(ctx, "t", id, webhook.Rotation{})
		note(err)
		_, err = d.Publish(ctx, webhook.Event{Tenant: "t", Type: "x.y", Data: map[string]int{"n": arrivals}})
		note(err)
		if arrivals == 20 {
			_, err = d.DisableWebhook(ctx, "t", id, "enough")
			note(err)
		}
	})
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{Guard: loopbackGuard(h.names), MaxInFlightPerWebhook: 1})
	if err != nil {
		t.Fatal(err)
	}
	w, _, err := d.CreateWebhook(t.Context(), "t", webhook.WebhookSpec{Name: "loop", URL: h.url("loop"), Events: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	id = w.ID
	if _, err := d.Publish(t.Context(), webhook.Event{Tenant: "t", Type: "x.y", Data: map[string]int{}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	attempts, err := d.DeliverDue(ctx)
	if err != nil || attempts != 20 || arrivals != 20 {
		t.Errorf("%d attempts, %d arrivals, %v; want 20 of each: every event is one delivery, and disabling ends the loop", attempts, arrivals, err)
	}
	for _, problem := range problems {
		t.Error(problem)
	}
}

// Thousands of endpoints behind one address: connections are bounded by the attempts
// in flight, and by those that may be kept idle.
func TestHR37_ThousandsOfEndpointsAtOneAddress(t *testing.T) {
	count, inFlight := 500, 32
	if testing.Short() {
		count = 100
	}
	var got atomic.Int64
	h := serveHere(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got.Add(1)
	})
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{Guard: loopbackGuard(h.names), MaxInFlight: inFlight})
	if err != nil {
		t.Fatal(err)
	}
	for n := range count {
		host := fmt.Sprintf("host-%d", n)
		if _, _, err := d.CreateWebhook(t.Context(), "t", webhook.WebhookSpec{Name: host, URL: h.url(host), Events: []string{"*"}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Publish(t.Context(), webhook.Event{Tenant: "t", Type: "x.y", Data: map[string]int{}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if n, err := d.DeliverDue(ctx); n != count || err != nil || got.Load() != int64(count) {
		t.Errorf("%d attempts, %v, %d arrivals, want %d", n, err, got.Load(), count)
	}
	// In flight, idle (twice as many), and those whose end is on its way.
	if most := h.most.Load(); most > int64(4*inFlight) {
		t.Errorf("%d connections at a time with %d attempts in flight", most, inFlight)
	}
	eventually(t, "the end of every connection", 10*time.Second, func() bool { return h.open.Load() == 0 })
}

// An endpoint that is dead and has thousands of deliveries waiting does not hold up
// one that is well.
func TestHR37_EnormousBacklogForOne(t *testing.T) {
	backlog := 20_000
	if testing.Short() {
		backlog = 3000
	}
	var good atomic.Int64
	h := serveHere(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.Host[:4] == "dead" {
			<-r.Context().Done()
			return
		}
		good.Add(1)
	})
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{Guard: loopbackGuard(h.names), MaxInFlight: 32, DrainTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"dead", "good"} {
		spec := webhook.WebhookSpec{Name: host, URL: h.url(host), Events: []string{host + ".*"}, Timeout: new(limit)}
		if _, _, err := d.CreateWebhook(t.Context(), "t", spec); err != nil {
			t.Fatal(err)
		}
	}
	events := make([]webhook.Event, 500)
	for n := 0; n < backlog; n += len(events) {
		for i := range events {
			events[i] = webhook.Event{Tenant: "t", Type: "dead.x", Data: map[string]int{}}
		}
		if _, err := d.PublishAll(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}
	r := start(d)
	eventually(t, "attempts at the dead one", 10*time.Second, func() bool { return d.Stats().InFlight > 0 })
	began := time.Now()
	for n := range int64(50) {
		if _, err := d.Publish(t.Context(), webhook.Event{Tenant: "t", Type: "good.x", Data: map[string]int{}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the delivery of one event beside the backlog", 10*time.Second, func() bool { return good.Load() == n+1 })
	}
	t.Logf("50 events one after the other beside %d that wait: %v", backlog, time.Since(began))
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
