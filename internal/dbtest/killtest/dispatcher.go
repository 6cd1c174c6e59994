package killtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/seed68722ecd/webhook/guard"

	"github.com/seed68722ecd/webhook"
)

// jumpFile is the file whose presence moves the clocks of dispatchers.
const jumpFile = "clock-jump"

// dispatch is a dispatcher: the library as a host runs it, with times that make
// a run short.
func dispatch(s *spec) error {
	ctx, stop := signal.NotifyContext(background(), syscall.SIGTERM)
	defer stop()
	db, store, err := openWatched(s)
	if err != nil {
		return err
	}
	defer db.close()
	d, err := webhook.New(store, s.config(store))
	if err != nil {
		return err
	}
	endMeasuring, err := startGauge(s, d, store)
	if err != nil {
		return err
	}
	defer endMeasuring()
	if err := s.sayReady("ready"); err != nil {
		return err
	}
	err = d.Run(ctx)
	endMeasuring()
	if err != nil {
		return err
	}
	return checkGoroutines()
}

// maxInFlight is how many attempts a dispatcher makes at once. It holds up to
// four times as many deliveries.
const maxInFlight = 64

// config is what all dispatchers have.
func (s *spec) config(store *watched) webhook.Config {
	cfg := webhook.Config{
		Guard:         guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		MaxInFlight:   maxInFlight,
		Lease:         s.Lease,
		PollInterval:  s.Poll,
		DrainTimeout:  s.Drain,
		Retry:         webhook.ExponentialRetry{Initial: 100 * time.Millisecond, Multiplier: 2, Max: 2 * time.Second},
		MaxRetryAfter: 2 * time.Second,
		Signer:        &deadly{Signer: webhook.DefaultSigner(), spec: s, store: store},
		Logger:        slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Now:           s.clock(),
	}
	if s.Point == pointHalf {
		cfg.Client = &http.Client{Transport: halfway{
			// What is written goes out before the buffer holds much of the body.
			Transport: &http.Transport{WriteBufferSize: 64, TLSHandshakeTimeout: hookTimeout},
			store:     store,
		}}
	}
	return cfg
}

// clock returns Config.Now.
func (s *spec) clock() func() time.Time {
	if s.Clock == 0 && s.Jump == 0 {
		return nil
	}
	jumping := s.jumping(s.Jump)
	return func() time.Time { return jumping().Add(s.Clock) }
}

// jumping is a clock that is wrong while there is a file.
func (s *spec) jumping(by time.Duration) func() time.Time {
	return func() time.Time {
		now := time.Now()
		if _, err := os.Stat(filepath.Join(s.Dir, jumpFile)); err == nil {
			now = now.Add(by)
		}
		return now
	}
}

// startGauge makes the gauge of this process, which measure keeps until end is
// called.
func startGauge(s *spec, d *webhook.Dispatcher, store *watched) (end func(), err error) {
	gauge, err := os.Create(s.file("gauge"))
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(background())
	go func() {
		defer gauge.Close()
		measure(ctx, gauge, d, store)
	}()
	return end, nil
}

// measure keeps the gauge of this process up to date, for the driver, and notes
// when the machine did not let it run.
func measure(ctx context.Context, gauge *os.File, d *webhook.Dispatcher, store *watched) {
	const step = 10 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	var longest time.Duration
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			late := time.Since(last) - step
			last = time.Now()
			longest = max(longest, late)
			store.waited(late)
			st := d.Stats()
			_, _ = gauge.WriteAt(fmt.Appendf(nil, "%8d %8d %8d %8d %16d\n", st.InFlight, st.Claimed, runtime.NumGoroutine(), residentKiB(), longest), 0)
		}
	}
}

// residentKiB is the memory of this process.
func residentKiB() int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := bytes.Fields(text)
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(string(f[1]))
	return pages * os.Getpagesize() / 1024
}

// checkGoroutines looks for goroutines that Run has left behind. Those of idle
// connections are not Run's.
func checkGoroutines() error {
	var left []string
	ok := eventually(5*time.Second, func() bool {
		buf := make([]byte, 4<<20)
		left = left[:0]
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "webhook.(*engine)") || strings.Contains(g, "webhook.(*Dispatcher)") || strings.Contains(g, "store.(*Store)") {
				left = append(left, g)
			}
		}
		return len(left) == 0
	})
	if !ok {
		return fmt.Errorf("%d goroutines are left after Run:\n%s", len(left), strings.Join(left, "\n\n"))
	}
	return nil
}

// deadly is a signer at which the process can be made to die, between the
// claim and the request.
type deadly struct {
	webhook.Signer
	spec  *spec
	store *watched
}

func (k *deadly) Sign(h http.Header, m webhook.Message, secrets []webhook.Secret) error {
	if k.spec.Poison && h.Get("X-Webhook-Event") == poisonType {
		die()
	}
	k.store.pass("sign:before")
	return k.Signer.Sign(h, m, secrets)
}

// pointHalf is in the middle of a request's body.
const pointHalf = "request:half"

// halfway is a transport at which the process dies when half of the body has
// been written.
type halfway struct {
	*http.Transport
	store *watched
}

func (t halfway) RoundTrip(r *http.Request) (*http.Response, error) {
	clone := *r
	clone.Body = &halfBody{ReadCloser: r.Body, left: r.ContentLength / 2, store: t.store}
	return t.Transport.RoundTrip(&clone)
}

type halfBody struct {
	io.ReadCloser
	left  int64
	store *watched
}

func (b *halfBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		b.store.pass(pointHalf)
		return b.ReadCloser.Read(p)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// die is kill -9 from within.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
