package webhook

import (
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/seed68722ecd/webhook/internal/eventtype"
)

// Defaults and limits of a webhook's settings.
const (
	DefaultTimeout    = 30 * time.Second
	MinTimeout        = 1 * time.Second
	MaxTimeout        = 300 * time.Second
	DefaultMaxRetries = 3
	MaxMaxRetries     = 10
	MinRateLimit      = 0.01    // attempts per second: one in 100 s
	MaxRateLimit      = 10_000. // attempts per second

	MaxNameLength        = 128  // bytes
	MaxDescriptionLength = 1024 // bytes
	MaxURLLength         = 2048 // bytes
	MaxEventPatterns     = 100  // per webhook
)

// Webhook is a customer's registration: where to send which events, and how.
// It never holds a secret: creating and rotating return it, once.
//
// A Webhook is a value: changing one changes nothing until it is written with
// [Dispatcher.UpdateWebhook].
type Webhook struct {
	ID     string // assigned at creation, "wh_" and 26 characters; sorts by creation time
	Tenant string // owner

	Name        string // 1–128 bytes; part of every body
	URL         string // normalised when saved
	Description string // up to 1024 bytes

	// Events are the event types it selects: exact names, prefixes such as
	// "agent.*", or "*" for all.
	Events []string

	// Headers are sent with every request, names in canonical form.
	Headers map[string]string

	Active     bool          // an inactive webhook gets nothing
	VerifyTLS  bool          // false accepts any certificate: for development
	Timeout    time.Duration // for one attempt: name lookup, connect, TLS, request, headers, body
	MaxRetries int           // retries after the first attempt; 0 means one attempt and no more

	// RateLimit is how many attempts a second each process may begin to it, first
	// ones, retries and resends alike; 0 means no limit. Attempts are spaced evenly:
	// within any t seconds there are at most RateLimit × t and one more, or one
	// percent of RateLimit where that is above one. What is over the limit waits in
	// the Store and holds up nobody else. N processes may send N times as much.
	RateLimit float64

	// DisabledReason says why it is inactive, empty while it is active: what
	// the caller of DisableWebhook gave, or one of the sentences of this package.
	DisabledReason string
	DisabledAt     time.Time // zero while it is active

	CreatedAt time.Time
	UpdatedAt time.Time // of the last change of a setting
	// Version counts the changes of its settings, from 1. An edit says which
	// version it was made from, so that two editors do not overwrite each other.
	Version int64

	// Unreadable says why its header values or secrets cannot be decrypted (see
	// [Keyring]), and is empty when they can. Nothing is sent to such a webhook:
	// its deliveries wait, uncounted, until they can be read again or are
	// replaced. Headers are nil when it is one of them. Filled in by the
	// Dispatcher, never stored; lists, which have no secrets, know of headers only.
	Unreadable string

	// Health, kept by the Store as attempts are recorded; those that failed on the
	// sender's side (see [ErrorClass.OurFault]) are not among them.
	LastTriggeredAt time.Time // start of the latest attempt; zero when there was none
	LastSuccessAt   time.Time // start of the latest attempt that was answered 2xx
	FailingSince    time.Time // start of the first failed attempt since the last success; zero while all is well
}

// LogValue names the webhook by ID, name and host. It leaves out headers, path
// and query, which may hold credentials.
func (w Webhook) LogValue() slog.Value {
	host := ""
	if u, err := url.Parse(w.URL); err == nil {
		host = u.Host
	}
	return slog.GroupValue(
		slog.String("id", w.ID),
		slog.String("name", w.Name),
		slog.String("host", host),
		slog.Bool("active", w.Active),
	)
}

// WebhookSpec is what a new webhook is created from. Name, URL and Events are
// required; everything else has a default. Pointers tell zero from not given:
// MaxRetries: new(0) asks for no retry.
type WebhookSpec struct {
	Name        string   // required, 1–128 bytes
	URL         string   // required; https, or http where Config.AllowHTTP is set
	Events      []string // required, 1–100 event types or patterns
	Description string   // up to 1024 bytes
	// Headers are up to 20 custom headers, names of up to 128 bytes and values of
	// up to 4096, 8 KiB in all. Those that HTTP and this library set
	// are reserved: Host, Content-*, User-Agent, Accept-Encoding, connection and
	// framing headers, Proxy-*, X-Forwarded-*, X-Webhook-*, Webhook-*.
	Headers    map[string]string
	Active     *bool          // nil: true
	VerifyTLS  *bool          // nil: true
	Timeout    *time.Duration // nil: 30 s; 1–300 s
	MaxRetries *int           // nil: 3; 0–10
	RateLimit  float64        // attempts per second from each process; 0: no limit; 0.01–10,000
	// Secret imports an existing secret, such as that of another sender a
	// customer moves away from: 24–512 printable ASCII characters without
	// spaces. What begins with whsec_ goes on in standard base64 of 24 bytes or
	// more, and signs webhook-signature with these, as Standard Webhooks
	// libraries expect; anything else signs with its text. Empty generates one,
	// which is what a new customer wants.
	Secret string
}

// WebhookUpdate changes settings of a webhook; nil fields stay as they are.
// Limits and units are those of [WebhookSpec]. All of it is one write: the webhook
// has every change or none. The secret is changed by [Dispatcher.RotateSecret].
type WebhookUpdate struct {
	Name        *string
	URL         *string
	Events      []string // nil: unchanged; never empty
	Description *string
	Headers     map[string]string // nil: unchanged; empty removes all
	VerifyTLS   *bool
	Timeout     *time.Duration
	MaxRetries  *int
	RateLimit   *float64 // new(0.0) lifts it
	// Active enables or disables, as [Dispatcher.EnableWebhook] and
	// [Dispatcher.DisableWebhook] do for whatever version there is. A webhook that is
	// so already stays as it is.
	Active *bool
	// DisabledReason is the reason when Active disables the webhook. Empty means
	// "disabled by hand"; at most 1024 bytes.
	DisabledReason string
}

// Match says whether, and why, a webhook receives events of a type.
type Match struct {
	Matched bool   // it receives them
	Reason  string // one sentence for people
}

// MatchEvent explains whether w receives events of eventType, for the page that
// a customer opens when a delivery is missing.
func MatchEvent(w Webhook, eventType string) Match {
	if err := eventtype.Check(eventType); err != nil {
		return Match{Reason: fmt.Sprintf("no event has this type: %v", err)}
	}
	if !w.Active {
		reason := "the webhook is disabled"
		if w.DisabledReason != "" {
			reason += ": " + w.DisabledReason
		}
		return Match{Reason: reason}
	}
	for _, p := range w.Events {
		if eventtype.Matches(p, eventType) {
			return Match{Matched: true, Reason: fmt.Sprintf("%s is selected by %q", eventType, p)}
		}
	}
	return Match{Reason: fmt.Sprintf("%s is not selected by any of %q", eventType, w.Events)}
}
