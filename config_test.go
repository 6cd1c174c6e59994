package webhook

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/seed68722ecd/webhook/guard"
)

func TestConfigDefaults(t *testing.T) {
	opts := cmp.Options{
		cmpopts.IgnoreFields(Config{}, "Logger", "Now"),
		cmp.Comparer(func(a, b Signer) bool {
			_, oka := a.(wireSigner)
			_, okb := b.(wireSigner)
			return oka && okb
		}),
		cmpopts.IgnoreUnexported(guard.Guard{}),
	}
	want := Config{
		UserAgent: "seed68722ecd-webhook/0.1.0", MaxInFlight: 512, MaxInFlightPerWebhook: 64, MaxClaimed: 2048,
		Lease: 30 * time.Second, PollInterval: 200 * time.Millisecond, StoreTimeout: 30 * time.Second, DrainTimeout: 30 * time.Second,
		Retry: ExponentialRetry{}, MaxRetryAfter: 6 * time.Hour, DisableAfter: 120 * time.Hour, QuarantineAfter: 5,
		SecretOverlap: 24 * time.Hour, MaxEventSize: 262144, Retention: 720 * time.Hour,
		Signer: defaultSigner,
	}
	got := Config{}.withDefaults()
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if got.Logger == nil || got.Logger.Enabled(t.Context(), slog.LevelError) {
		t.Error("the default logger is not silent")
	}
	if d := time.Since(got.Now()); d < 0 || d > time.Minute {
		t.Errorf("the default clock is %v off", d)
	}
	small := Config{MaxInFlight: 3}.withDefaults()
	if small.MaxInFlightPerWebhook != 3 || small.MaxClaimed != 12 {
		t.Errorf("with 3 in flight: %d per webhook and %d claimed, want 3 and 12", small.MaxInFlightPerWebhook, small.MaxClaimed)
	}
	if _, err := New(noStore{}, Config{}); err != nil {
		t.Errorf("the zero Config is refused: %v", err)
	}
}

func TestConfigRefusesWhatMakesNoSense(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want []string // empty: accepted
	}{
		{"MaxInFlight below 1", Config{MaxInFlight: -1, MaxInFlightPerWebhook: 1}, []string{"MaxInFlight ", "at least 1", "-1"}},
		{"MaxInFlight of 1", Config{MaxInFlight: 1}, nil},
		{"per webhook below 1", Config{MaxInFlightPerWebhook: -1}, []string{"MaxInFlightPerWebhook", "512", "-1"}},
		{"per webhook above all", Config{MaxInFlight: 8, MaxInFlightPerWebhook: 9}, []string{"MaxInFlightPerWebhook", "(8)", "9"}},
		{"per webhook as all", Config{MaxInFlight: 8, MaxInFlightPerWebhook: 8}, nil},
		{"claimed below in flight", Config{MaxInFlight: 8, MaxClaimed: 7}, []string{"MaxClaimed", "(8)", "7"}},
		{"claimed as in flight", Config{MaxInFlight: 8, MaxClaimed: 8}, nil},
		{"lease too short", Config{Lease: time.Second - 1}, []string{"Lease", "1s", "999.999999ms"}},
		{"lease of 1 s", Config{Lease: time.Second}, nil},
		{"poll too often", Config{PollInterval: time.Millisecond - 1}, []string{"PollInterval", "1ms", "999.999µs"}},
		{"poll below 0", Config{PollInterval: -1}, []string{"PollInterval"}},
		{"poll of 1 ms", Config{PollInterval: time.Millisecond}, nil},
		{"store timeout too short", Config{StoreTimeout: 100*time.Millisecond - 1}, []string{"StoreTimeout", "100ms", "99.999999ms"}},
		{"store timeout below 0", Config{StoreTimeout: -1}, []string{"StoreTimeout"}},
		{"store timeout of 100 ms", Config{StoreTimeout: 100 * time.Millisecond}, nil},
		{"quarantine below 1", Config{QuarantineAfter: -1}, []string{"QuarantineAfter", "at least 1", "-1"}},
		{"event size of 1", Config{MaxEventSize: 1}, []string{"MaxEventSize", "16 MiB", "1"}},
		{"event size of 2", Config{MaxEventSize: 2}, nil},
		{"event size of 16 MiB", Config{MaxEventSize: 16 << 20}, nil},
		{"event size above", Config{MaxEventSize: 16<<20 + 1}, []string{"MaxEventSize", "16777217"}},
		{"webhooks below 0", Config{MaxWebhooks: -1}, []string{"MaxWebhooks", "-1"}},
		{"client and proxy", Config{Client: &http.Client{}, Proxy: &url.URL{Scheme: "http", Host: "p"}}, []string{"Proxy", "Client"}},
		{"proxy", Config{Proxy: &url.URL{Scheme: "https", Host: "p:8080"}}, nil},
		{"proxy without a host", Config{Proxy: &url.URL{Scheme: "http"}}, []string{"Proxy", "host"}},
		{"proxy of another scheme", Config{Proxy: &url.URL{Scheme: "socks5", Host: "p", User: url.UserPassword("u", "marker")}}, []string{"Proxy", "http"}},
		{"user agent", Config{UserAgent: "ExampleHooks/1.4 (+https://example.com/webhooks)"}, nil},
		{"user agent with a line end", Config{UserAgent: "a\r\nX: y"}, []string{"UserAgent", "printable ASCII"}},
		{"user agent with space around", Config{UserAgent: " a"}, []string{"UserAgent", "spaces"}},
		{"user agent beyond ASCII", Config{UserAgent: "Bjørn"}, []string{"UserAgent", "printable ASCII"}},
		{"user agent too long", Config{UserAgent: strings.Repeat("a", 257)}, []string{"UserAgent", "256", "257"}},
		{"user agent at its limit", Config{UserAgent: strings.Repeat("a", 256)}, nil},
		{"guard", Config{Guard: guard.Guard{AllowNetworks: []netip.Prefix{{}}}}, []string{"Guard"}},
		{"guard's ports", Config{Guard: guard.Guard{AllowPorts: []int{0}}}, []string{"Guard", "0"}},
		{"never, at once, not at all", Config{DrainTimeout: -1, MaxRetryAfter: -1, DisableAfter: -1, SecretOverlap: -1, Retention: -1}, nil},
		{"several", Config{Lease: 1, MaxEventSize: -1}, []string{"Lease", "MaxEventSize"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := New(noStore{}, tt.cfg)
			if len(tt.want) == 0 {
				if err != nil || d == nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil || d != nil {
				t.Fatalf("New = %v, %v; want an error", d, err)
			}
			for _, part := range append(tt.want, "webhook: new: config: ") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "marker") {
				t.Errorf("error %q shows the proxy's password", err)
			}
		})
	}
}

func TestConfigNeedsAStore(t *testing.T) {
	d, err := New(nil, Config{})
	if err == nil || d != nil || !strings.Contains(err.Error(), "store is nil") {
		t.Errorf("New(nil) = %v, %v", d, err)
	}
}

func TestErrorsAreTellable(t *testing.T) {
	all := []error{
		ErrNotFound, ErrConflict, ErrExists, ErrTooManyWebhooks, ErrEventConflict, ErrBacklogFull,
		ErrEventTooLarge, ErrCursor, ErrInactive, ErrInvalid, ErrRunning, guard.ErrBlockedAddress,
	}
	for i, a := range all {
		for j, b := range all {
			if errors.Is(a, b) != (i == j) {
				t.Errorf("errors.Is(%q, %q) = %v", a, b, i != j)
			}
		}
	}
	if prefixed("op", nil) != nil {
		t.Error("no error became one")
	}
}

func TestExponentialRetry(t *testing.T) {
	seconds := func(ns ...float64) (out []time.Duration) {
		for _, n := range ns {
			out = append(out, time.Duration(n*float64(time.Second)))
		}
		return out
	}
	tests := map[string]struct {
		policy ExponentialRetry
		want   []time.Duration
	}{
		"default": {ExponentialRetry{Jitter: -1}, seconds(15, 60, 240, 960, 3840, 15360, 21600, 21600, 21600, 21600)},
		"own": {ExponentialRetry{Initial: time.Second, Multiplier: 1.5, Jitter: -1, Max: 3 * time.Second},
			seconds(1, 1.5, 2.25, 3, 3)},
		"multiplier below 1": {ExponentialRetry{Initial: time.Second, Multiplier: 0.1, Jitter: -1}, seconds(1, 1, 1)},
		"max below initial":  {ExponentialRetry{Initial: time.Minute, Jitter: -1, Max: time.Second}, seconds(1, 1)},
	}
	for name, tt := range tests {
		for i, want := range tt.want {
			if got := tt.policy.Delay(i + 1); got.Round(time.Millisecond) != want {
				t.Errorf("%s: delay %d is %v, want %v", name, i+1, got, want)
			}
		}
	}
	low, high := time.Duration(1<<62), time.Duration(0)
	for range 2000 {
		d := ExponentialRetry{}.Delay(2)
		low, high = min(low, d), max(high, d)
		if d < 48*time.Second || d > 72*time.Second+time.Millisecond {
			t.Fatalf("delay 2 of the default is %v, outside 60 s ± 20 %%", d)
		}
		if d := (ExponentialRetry{Jitter: 5, Max: time.Minute}).Delay(9); d < 0 || d > time.Minute {
			t.Fatalf("delay with all jitter is %v, outside 0–1 min", d)
		}
	}
	if high-low < 12*time.Second {
		t.Errorf("2000 delays lie within %v–%v: hardly any jitter", low, high)
	}
}

// noStore is a Store that is never called.
type noStore struct{ Store }
