package webhook

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook/guard"
	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/internal/eventtype"
	"github.com/seed68722ecd/webhook/internal/header"
	"github.com/seed68722ecd/webhook/internal/post"
)

// Version of the library, sent in User-Agent.
const Version = "0.1.0"

const (
	defaultUserAgent = "seed68722ecd-webhook/" + Version
	maxUserAgent     = 256 // bytes
)

// Config holds the settings of a [Dispatcher]. The zero value works and is
// safe: https to public addresses only. Each field documents the meaning of its
// zero value; New refuses values out of range.
type Config struct {
	// Client sends the requests of webhooks that verify TLS. Nil means the
	// library's own guarded client: public addresses only, no proxy from the
	// environment, no cookies. A client given here is used unchanged, except
	// that it never follows a redirect and keeps no cookies. To guard it, put
	// [guard.Guard.DialContext] into its transport.
	Client *http.Client
	// AllowHTTP permits plain http URLs, for development.
	AllowHTTP bool
	// ForbidUnverifiedTLS refuses webhooks that switch TLS verification off.
	ForbidUnverifiedTLS bool
	// Guard says which addresses and ports may be dialed; see [guard.Guard]. The zero
	// value permits public addresses and every port. It applies to URLs when
	// they are saved, and to connections of the library's own client.
	Guard guard.Guard
	// Proxy sends every request of the library's own client through this proxy,
	// an http or https URL; a user name and password in it are sent to the
	// proxy. Nil, the default, means no proxy: HTTP_PROXY and similar variables
	// are ignored. Behind a proxy the Guard sees only the proxy's address,
	// which must be permitted: the proxy has to do the filtering. New refuses a
	// proxy at an IP address that Guard does not admit; a proxy's name is
	// looked up and checked when it is dialed.
	//
	// Each connection begins with CONNECT, also for plain http URLs, so that an
	// answer of the proxy is never taken for the receiver's. Requests that the
	// proxy refuses or cannot pass on do not count against webhooks: see
	// ClassUnsent and Hooks.Unsent.
	Proxy *url.URL

	// UserAgent is the User-Agent of every request, such as "ExampleHooks/1.4
	// (+https://example.com/webhooks)": operators of receivers see it in their
	// logs and write rules for it. It is up to 256 bytes of printable ASCII.
	// Empty means the library's name and version. A webhook's custom headers
	// cannot change it.
	UserAgent string

	// MaxInFlight bounds the attempts in flight, and with them goroutines and
	// connections. 0 means 512.
	MaxInFlight int
	// MaxInFlightPerWebhook bounds the attempts in flight to one webhook in
	// this process. 0 means 64; it cannot be above MaxInFlight. A failing or
	// slow webhook gets fewer, down to one at a time, and at most 500 attempts
	// per second after some twenty failures in a row without a success.
	MaxInFlightPerWebhook int
	// MaxClaimed bounds the deliveries that this process holds under a lease,
	// in flight or next in line. 0 means 4 × MaxInFlight; at least MaxInFlight.
	MaxClaimed int
	// Lease is how long a claim lasts before another process may take over. It
	// is renewed while an attempt runs, so it need not cover a webhook's
	// timeout. Deliveries of a crashed process wait this long. 0 means 30 s; at
	// least 1 s.
	Lease time.Duration
	// PollInterval is how often an idle dispatcher looks for deliveries that it
	// was not woken for: events published by other processes, or in
	// transactions of the host. 0 means 200 ms; at least 1 ms.
	PollInterval time.Duration
	// StoreTimeout is how long a call of the Store by Run or DeliverDue may
	// take before it is given up and repeated, since a connection whose other
	// side has vanished stays silent for ever. A timeout is logged and reported
	// to Observer.StoreTimeout. A step of pruning may take ten times as long,
	// and a renewal of leases a third of Lease at most. The host's own calls,
	// such as Publish, are bounded only by their context. 0 means 30 s; at
	// least 100 ms.
	StoreTimeout time.Duration
	// DrainTimeout is how long Run lets attempts in flight finish after its
	// context has ended. Then it aborts them and gives their deliveries back,
	// which are attempted again. 0 means 30 s, below 0 aborts at once.
	DrainTimeout time.Duration

	// Retry is the schedule of retries; each webhook's MaxRetries determines
	// their number. Nil means ExponentialRetry{}.
	Retry RetryPolicy
	// MaxRetryAfter caps the wait that a receiver may ask for with Retry-After.
	// The random extra of up to 20 %, which spreads retries, is within the cap.
	// 0 means 6 h; below 0 ignores Retry-After. Retry-After never shortens the
	// schedule.
	MaxRetryAfter time.Duration
	// DisableAfter is how long a webhook may fail without a success before it
	// is disabled. A gap without attempts counts for at most a quarter of it,
	// as far back as Retention keeps statistics. So at least five failures,
	// spread over that time, are needed, and Hooks.Failing warns before. 0
	// means 5 days; below 0 means never.
	DisableAfter time.Duration
	// QuarantineAfter is how many crashes of the process during its attempts a
	// delivery may see before it is set aside as failed. 0 means 5.
	QuarantineAfter int

	// Keys encrypts secrets and header values before the Store sees them. Nil
	// stores them as plain text, and cannot read encrypted values.
	Keys *Keyring
	// SecretOverlap is how long the old secret goes on signing after a
	// rotation. 0 means 24 h; below 0 ends it at once.
	SecretOverlap time.Duration
	// MaxEventSize bounds the encoded data of an event, in bytes. 0 means 256
	// KiB; at most 16 MiB. Receivers built on Express accept 100 KB by default.
	MaxEventSize int
	// MaxWebhooks bounds the webhooks of one tenant, active or not: creating
	// one more returns an error wrapping [ErrTooManyWebhooks], also when many
	// are created at once by several processes. A tenant that has more webhooks
	// than a lowered bound keeps them. 0 means no bound.
	MaxWebhooks int
	// Retention is how long finished deliveries and their events are kept
	// before Run prunes them. 0 means 30 days; below 0 keeps them for ever.
	Retention time.Duration
	// RetentionByType keeps events of some types for a shorter time than
	// Retention: personal data, for instance. Keys are event types and
	// "prefix.*"; if several select a type, the most specific counts. An event
	// and all its deliveries are deleted when the event and the end of its last
	// delivery are older than the value: within the hour, or within the day if
	// a delivery ended late. Pending deliveries are never deleted. Values must
	// be above 0 and at most Retention. Empty, the default, means Retention for
	// all types. If it is set, New refuses a Store that is not an [EraseStore].
	RetentionByType map[string]time.Duration

	// Signer signs the requests. Nil means [DefaultSigner].
	Signer Signer
	// Hooks are called after deliveries and webhooks have changed.
	Hooks Hooks
	// Observer is for telemetry: it follows events, attempts and claims.
	Observer Observer
	// Logger gets warnings and errors, and every attempt at debug level. Nil
	// means no logs.
	Logger *slog.Logger
	// Now is the clock for all stored and sent times: times of events and
	// attempts, signatures, and when retries are due. Nil means time.Now; a
	// clock of another pace makes retries early or late. Timeouts use the
	// monotonic clock. Leases use the monotonic clock or the machine's wall
	// clock, whichever has advanced further, because on most systems the
	// monotonic clock stops while the machine sleeps.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	// Later changes of the caller's slices must have no effect.
	g := &c.Guard
	g.AllowNetworks, g.DenyNetworks = slices.Clone(g.AllowNetworks), slices.Clone(g.DenyNetworks)
	g.AllowPorts, g.NAT64 = slices.Clone(g.AllowPorts), slices.Clone(g.NAT64)

	c.UserAgent = orDefault(c.UserAgent, defaultUserAgent)
	c.RetentionByType = maps.Clone(c.RetentionByType)
	c.MaxInFlight = orDefault(c.MaxInFlight, 512)
	c.MaxInFlightPerWebhook = orDefault(c.MaxInFlightPerWebhook, min(64, c.MaxInFlight))
	c.MaxClaimed = orDefault(c.MaxClaimed, 4*c.MaxInFlight)
	c.Lease = orDefault(c.Lease, 30*time.Second)
	c.PollInterval = orDefault(c.PollInterval, 200*time.Millisecond)
	c.StoreTimeout = orDefault(c.StoreTimeout, 30*time.Second)
	c.DrainTimeout = orDefault(c.DrainTimeout, 30*time.Second)
	c.MaxRetryAfter = orDefault(c.MaxRetryAfter, 6*time.Hour)
	c.DisableAfter = orDefault(c.DisableAfter, 5*24*time.Hour)
	c.QuarantineAfter = orDefault(c.QuarantineAfter, 5)
	c.SecretOverlap = orDefault(c.SecretOverlap, 24*time.Hour)
	c.MaxEventSize = orDefault(c.MaxEventSize, 256<<10)
	c.Retention = orDefault(c.Retention, 30*24*time.Hour)
	if c.Retry == nil {
		c.Retry = ExponentialRetry{}
	}
	if c.Signer == nil {
		c.Signer = defaultSigner
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	} else {
		c.Logger = contain.Logger(c.Logger)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c *Config) check() error {
	var errs []error
	refuse := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("config: %s %s", field, fmt.Sprintf(format, args...)))
	}
	least := func(field string, ok bool, limit, got any) {
		if !ok {
			refuse(field, "must be at least %v, got %v", limit, got)
		}
	}
	least("MaxInFlight", c.MaxInFlight >= 1, 1, c.MaxInFlight)
	if c.MaxInFlightPerWebhook < 1 || c.MaxInFlightPerWebhook > c.MaxInFlight {
		refuse("MaxInFlightPerWebhook", "must be 1–MaxInFlight (%d), got %d", c.MaxInFlight, c.MaxInFlightPerWebhook)
	}
	if c.MaxClaimed < c.MaxInFlight {
		refuse("MaxClaimed", "must be at least MaxInFlight (%d), got %d", c.MaxInFlight, c.MaxClaimed)
	}
	least("Lease", c.Lease >= time.Second, "1s", c.Lease)
	least("PollInterval", c.PollInterval >= time.Millisecond, "1ms", c.PollInterval)
	least("StoreTimeout", c.StoreTimeout >= 100*time.Millisecond, "100ms", c.StoreTimeout)
	least("QuarantineAfter", c.QuarantineAfter >= 1, 1, c.QuarantineAfter)
	if c.MaxEventSize < 2 || c.MaxEventSize > 16<<20 {
		refuse("MaxEventSize", "must be 2 bytes–16 MiB, got %d", c.MaxEventSize)
	}
	if c.MaxWebhooks < 0 {
		refuse("MaxWebhooks", "must not be below 0, got %d", c.MaxWebhooks)
	}
	for _, pattern := range slices.Sorted(maps.Keys(c.RetentionByType)) {
		keep := c.RetentionByType[pattern]
		if err := eventtype.CheckPattern(pattern); err != nil || pattern == "*" {
			refuse("RetentionByType", `has the key %s; keys are event types and "prefix.*"`, quoted(pattern))
		} else if keep <= 0 || c.Retention > 0 && keep > c.Retention {
			refuse("RetentionByType", "of %s must be above 0 and at most Retention (%v), got %v", quoted(pattern), c.Retention, keep)
		}
	}
	if c.Client != nil && c.Proxy != nil {
		refuse("Proxy", "has no effect on Client: set the proxy in the client's transport")
	}
	if p := c.Proxy; p != nil && (p.Scheme != "http" && p.Scheme != "https" || p.Host == "") {
		refuse("Proxy", "must be an http or https URL with a host")
	}
	if len(c.UserAgent) > maxUserAgent {
		refuse("UserAgent", "must be at most %d bytes, got %d", maxUserAgent, len(c.UserAgent))
	} else if err := header.CheckText(c.UserAgent); err != nil || strings.TrimSpace(c.UserAgent) != c.UserAgent {
		refuse("UserAgent", "must be printable ASCII without spaces around it, got %q", c.UserAgent)
	}
	if err := errors.Unwrap(c.Guard.Validate()); err != nil {
		refuse("Guard", "is invalid: %v", err)
	} else if c.Proxy != nil {
		if err := post.CheckProxy(&c.Guard, c.Proxy); err != nil {
			refuse("Proxy", "%v", err)
		}
	}
	return errors.Join(errs...)
}

// Policy holds the parts of the host's [Config] that matter to the people who set
// up webhooks, with every default filled in.
type Policy struct {
	AllowHTTP       bool          // plain http URLs are taken
	UnverifiedTLS   bool          // webhooks may switch TLS verification off
	SecretOverlap   time.Duration // how long an old secret signs after a rotation; 0: not at all
	DisableAfter    time.Duration // how long a webhook may fail before it is disabled; 0: for ever
	Retention       time.Duration // how long finished deliveries are kept; 0: for ever
	MaxEventSize    int           // bytes of an event's data
	MaxWebhooks     int           // of one tenant; 0: any number
	MaxRetryAfter   time.Duration // the longest Retry-After that is obeyed; 0: no Retry-After is
	QuarantineAfter int           // crashes of its process after which a delivery is set aside
}

// Policy returns the dispatcher's policy. It does not change.
func (d *Dispatcher) Policy() Policy {
	return Policy{
		AllowHTTP:       d.cfg.AllowHTTP,
		UnverifiedTLS:   d.rules.canSkipVerify,
		SecretOverlap:   max(d.cfg.SecretOverlap, 0),
		DisableAfter:    max(d.cfg.DisableAfter, 0),
		Retention:       max(d.cfg.Retention, 0),
		MaxEventSize:    d.cfg.MaxEventSize,
		MaxWebhooks:     d.cfg.MaxWebhooks,
		MaxRetryAfter:   max(d.cfg.MaxRetryAfter, 0),
		QuarantineAfter: d.cfg.QuarantineAfter,
	}
}
