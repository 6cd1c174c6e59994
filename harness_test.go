package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// small says whether a test takes fewer and smaller inputs: with go test -short, and without
// WEBHOOK_TESTS=full, which make test sets.
func small() bool { return testing.Short() || os.Getenv("WEBHOOK_TESTS") != "full" }

// receivers answers requests inside a synctest bubble, by host name, and
// records them.
type receivers struct {
	mu     sync.Mutex
	got    []received
	answer map[string]func(n int, r *http.Request) (status int, header http.Header, err error)
	counts map[string]int
	flying map[string]int
	peak   map[string]int
	total  int // in flight
	peaks  int // most in flight
}

type received struct {
	host, path string
	header     http.Header
	body       string
	at         time.Time
}

func newReceivers() *receivers {
	return &receivers{
		answer: make(map[string]func(int, *http.Request) (int, http.Header, error)),
		counts: make(map[string]int), flying: make(map[string]int), peak: make(map[string]int),
	}
}

// on says how a host answers its n-th request, n = 1, 2, ….
func (f *receivers) on(host string, answer func(n int, r *http.Request) (int, http.Header, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer[host] = answer
}

// status makes a host always answer the same.
func (f *receivers) status(host string, code int) {
	f.on(host, func(int, *http.Request) (int, http.Header, error) { return code, nil, nil })
}

// hang makes a host silent until the attempt is given up.
func (f *receivers) hang(host string) {
	f.on(host, func(_ int, r *http.Request) (int, http.Header, error) {
		<-r.Context().Done()
		return 0, nil, context.Cause(r.Context())
	})
}

func (f *receivers) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	host := r.URL.Host
	f.mu.Lock()
	f.counts[host]++
	n := f.counts[host]
	f.flying[host]++
	f.peak[host] = max(f.peak[host], f.flying[host])
	f.total++
	f.peaks = max(f.peaks, f.total)
	f.got = append(f.got, received{host, r.URL.Path, r.Header.Clone(), string(body), time.Now()})
	answer := f.answer[host]
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.flying[host]--
		f.total--
		f.mu.Unlock()
	}()
	status, header := http.StatusOK, http.Header{}
	if answer != nil {
		var h http.Header
		if status, h, err = answer(n, r); err != nil {
			return nil, err
		}
		if h != nil {
			header = h
		}
	}
	return &http.Response{
		StatusCode: status, Status: strconv.Itoa(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(nil)), Request: r,
	}, nil
}

// at returns the requests that a host has received.
func (f *receivers) at(host string) []received {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []received
	for _, r := range f.got {
		if r.host == host {
			out = append(out, r)
		}
	}
	return out
}

// received returns how many requests all hosts have received.
func (f *receivers) received() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

// world is a dispatcher with a memory store and receivers, in fake time.
type world struct {
	*webhook.Dispatcher
	t     *testing.T
	rx    *receivers
	mem   *memstore.Store
	ended chan error
	stop  context.CancelFunc
}

const tenant = "agent-1"

// inBubble runs f in fake time with a dispatcher of cfg that is not running yet.
func inBubble(t *testing.T, cfg webhook.Config, f func(*world)) {
	t.Helper()
	inBubbleOver(t, cfg, func(m *memstore.Store) webhook.Store { return m }, f)
}

// inBubbleOver is inBubble with something between the dispatcher and its store.
func inBubbleOver(t *testing.T, cfg webhook.Config, wrap func(*memstore.Store) webhook.Store, f func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rx := newReceivers()
		cfg.Client = &http.Client{Transport: rx}
		if cfg.PollInterval == 0 {
			// No test needs polling: a wake or the store's NextDue must do.
			cfg.PollInterval = 24 * time.Hour
		}
		mem := memstore.New(memstore.Config{})
		d, err := webhook.New(wrap(mem), cfg)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{Dispatcher: d, t: t, rx: rx, mem: mem}
		f(w)
		w.end()
	})
}

// start runs the dispatcher.
func (w *world) start() {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.ended = cancel, make(chan error, 1)
	go func() { w.ended <- w.Run(ctx) }()
	synctest.Wait()
}

// end stops the dispatcher if it runs, and wants no error.
func (w *world) end() {
	w.t.Helper()
	if w.stop == nil {
		return
	}
	w.stop()
	if err := <-w.ended; err != nil {
		w.t.Errorf("Run ended with %v", err)
	}
	w.stop = nil
}

// pass lets fake time pass and everything settle.
func (w *world) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// hook creates a webhook at https://host/in for all events.
func (w *world) hook(host string, change ...func(*webhook.WebhookSpec)) webhook.Webhook {
	w.t.Helper()
	wh, _ := w.hookSecret(host, change...)
	return wh
}

func (w *world) hookSecret(host string, change ...func(*webhook.WebhookSpec)) (webhook.Webhook, webhook.Secret) {
	w.t.Helper()
	spec := webhook.WebhookSpec{Name: host, URL: "https://" + host + "/in", Events: []string{"*"}}
	for _, c := range change {
		c(&spec)
	}
	wh, secret, err := w.CreateWebhook(context.Background(), tenant, spec)
	if err != nil {
		w.t.Fatalf("create webhook: %v", err)
	}
	return wh, secret
}

// publish publishes a small event and returns its ID.
func (w *world) publish() string {
	w.t.Helper()
	p, err := w.Publish(context.Background(), webhook.Event{Tenant: tenant, Data: webhook.AgentMessage{Agent: webhook.Ref{"a1", "Ada"}, Room: "r1", Content: "hello"}})
	if err != nil {
		w.t.Fatalf("publish: %v", err)
	}
	return p.ID
}

// only returns the one delivery of a webhook.
func (w *world) only(webhookID string) webhook.Delivery {
	w.t.Helper()
	ds := w.deliveries(webhook.DeliveryQuery{WebhookID: webhookID})
	if len(ds) != 1 {
		w.t.Fatalf("webhook %s has %d deliveries, want 1", webhookID, len(ds))
	}
	return ds[0]
}

func (w *world) deliveries(q webhook.DeliveryQuery) []webhook.Delivery {
	w.t.Helper()
	q.Tenant, q.Limit = tenant, 500
	var out []webhook.Delivery
	for {
		p, err := w.Deliveries(context.Background(), q)
		if err != nil {
			w.t.Fatalf("list deliveries: %v", err)
		}
		out = append(out, p.Items...)
		if p.Next == "" {
			return out
		}
		q.Cursor = p.Next
	}
}

func (w *world) attemptsOf(d webhook.Delivery) []webhook.Attempt {
	w.t.Helper()
	as, err := w.Attempts(context.Background(), tenant, d.ID)
	if err != nil {
		w.t.Fatalf("attempts: %v", err)
	}
	return as
}

// wantState checks where a webhook's one delivery stands.
func (w *world) wantState(webhookID string, s webhook.State, r webhook.Reason) webhook.Delivery {
	w.t.Helper()
	d := w.only(webhookID)
	if d.State != s || d.Reason != r {
		w.t.Errorf("delivery is %s (%s), want %s (%s); attempts %+v", d.State, d.Reason, s, r, w.attemptsOf(d))
	}
	return d
}

// noJitter is the default schedule without its random part.
var noJitter = webhook.ExponentialRetry{Jitter: -1}

// faultyStore fails or panics where it is told to.
type faultyStore struct {
	webhook.Store
	mu    sync.Mutex
	fault func(op string) error // may panic; nil error calls the store
}

func (f *faultyStore) before(op string) error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(op)
}

func (f *faultyStore) set(fault func(op string) error) {
	f.mu.Lock()
	f.fault = fault
	f.mu.Unlock()
}

func (f *faultyStore) Publish(ctx context.Context, now time.Time, r []webhook.PublishRequest) ([]webhook.PublishResult, error) {
	if err := f.before("Publish"); err != nil {
		return nil, err
	}
	return f.Store.Publish(ctx, now, r)
}

func (f *faultyStore) Claim(ctx context.Context, r webhook.ClaimRequest) (webhook.ClaimResult, error) {
	if err := f.before("Claim"); err != nil {
		return webhook.ClaimResult{}, err
	}
	return f.Store.Claim(ctx, r)
}

func (f *faultyStore) Extend(ctx context.Context, now time.Time, l []webhook.Lease, d time.Duration) ([]string, error) {
	if err := f.before("Extend"); err != nil {
		return nil, err
	}
	return f.Store.Extend(ctx, now, l, d)
}

func (f *faultyStore) Complete(ctx context.Context, now time.Time, r []webhook.Result) ([]webhook.Outcome, error) {
	if err := f.before("Complete"); err != nil {
		return nil, err
	}
	return f.Store.Complete(ctx, now, r)
}

func (f *faultyStore) Release(ctx context.Context, now time.Time, l []webhook.Lease, d time.Duration) error {
	if err := f.before("Release"); err != nil {
		return err
	}
	return f.Store.Release(ctx, now, l, d)
}

func (f *faultyStore) GetWebhook(ctx context.Context, tenant, id string) (webhook.WebhookRecord, error) {
	if err := f.before("GetWebhook"); err != nil {
		return webhook.WebhookRecord{}, err
	}
	return f.Store.GetWebhook(ctx, tenant, id)
}

func (f *faultyStore) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := f.before("Prune"); err != nil {
		return 0, err
	}
	return f.Store.Prune(ctx, before, limit)
}

func wantErr(t *testing.T, err, target error, texts ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want one that is %v", err, target)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}
