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

// Webhook is a customer's registration: where to send which events, and how. It
// never holds the secret, which [Dispatcher.CreateWebhook] and
// [Dispatcher.RotateSecret] return once.
//
// A Webhook is a copy of the stored settings. Change them with
// [Dispatcher.UpdateWebhook].
type Webhook struct {
	ID     string // assigned at creation, "wh_" and 26 characters; sorts by creation time
	Tenant string // owner

	Name        string // 1–128 bytes; part of every body
	URL         string // normalised when saved
	Description string // up to 1024 bytes

	// Events are the event types that the webhook selects: exact names,
	// prefixes such as "agent.*", or "*" for all.
	Events []string

	// Headers are sent with every request, names in canonical form.
	Headers map[string]string

	Active     bool          // an inactive webhook gets no events
	VerifyTLS  bool          // false accepts any certificate: for development
	Timeout    time.Duration // for one attempt: name lookup, connect, TLS, request, headers, body
	MaxRetries int           // retries after the first attempt; 0 means one attempt and no more

	// RateLimit is how many attempts per second each process may start for this
	// webhook, counting first attempts, retries and resends; 0 means no limit.
	// Attempts are spaced evenly: within any t seconds at most RateLimit × t
	// attempts start, plus one, or plus one percent of RateLimit if that is
	// more than one. Deliveries above the limit wait in the Store and do not
	// delay other webhooks. N processes may send N times as much.
	RateLimit float64

	// DisabledReason says why the webhook is inactive: the reason given to
	// DisableWebhook, or a sentence of this package. Empty while it is active.
	DisabledReason string
	DisabledAt     time.Time // zero while it is active

	CreatedAt time.Time
	UpdatedAt time.Time // of the last change of a setting
	// Version counts the changes of its settings, from 1. An edit names the
	// version it was made from, so that two editors do not overwrite each
	// other.
	Version int64

	// Unreadable says why its header values or secrets cannot be decrypted (see
	// [Keyring]), and is empty if they can. Deliveries to such a webhook wait,
	// without attempts, until the values can be decrypted again or are
	// replaced. Headers is nil if a header value cannot be decrypted. The
	// Dispatcher sets Unreadable; a Store does not keep it. In lists, which
	// have no secrets, it covers only headers.
	Unreadable string

	// Health, which the Store updates as attempts are recorded. Attempts that
	// failed on the sender's side (see [ErrorClass.OurFault]) do not count.
	LastTriggeredAt time.Time // start of the latest attempt; zero before the first
	LastSuccessAt   time.Time // start of the latest attempt that was answered 2xx
	FailingSince    time.Time // start of the first failed attempt since the last success; zero while not failing
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

// WebhookSpec holds the settings of a new webhook. Name, URL and Events are
// required; every other field has a default. Pointers distinguish zero from
// unset: MaxRetries: new(0) asks for no retry.
type WebhookSpec struct {
	Name        string   // required, 1–128 bytes
	URL         string   // required; https, or http where Config.AllowHTTP is set
	Events      []string // required, 1–100 event types or patterns
	Description string   // up to 1024 bytes
	// Headers are up to 20 custom headers, names of up to 128 bytes and values
	// of up to 4096, 8 KiB in all. Names that HTTP and this library set are
	// reserved: Host, Content-*, User-Agent, Accept-Encoding, connection and
	// framing headers, Proxy-*, X-Forwarded-*, X-Webhook-*, Webhook-*.
	Headers    map[string]string
	Active     *bool          // nil: true
	VerifyTLS  *bool          // nil: true
	Timeout    *time.Duration // nil: 30 s; 1–300 s
	MaxRetries *int           // nil: 3; 0–10
	RateLimit  float64        // attempts per second from each process; 0: no limit; 0.01–10,000
	// Secret imports an existing secret, such as one from a customer's previous
	// sender: 24–512 printable ASCII characters without spaces. After the
	// prefix whsec_ it must be standard base64 of 24 bytes or more; these bytes
	// sign webhook-signature, as Standard Webhooks libraries expect. A secret
	// without the prefix signs with its text. Empty generates a new secret,
	// which is right for new customers.
	Secret string
}

// WebhookUpdate changes settings of a webhook; nil fields stay as they are.
// Limits and units are those of [WebhookSpec]. All changes are one write, which
// either succeeds or fails as a whole. The secret is changed by
// [Dispatcher.RotateSecret].
type WebhookUpdate struct {
	Name        *string
	URL         *string
	Events      []string // nil: unchanged; never empty
	Description *string
	Headers     map[string]string // nil: unchanged; empty removes all
	VerifyTLS   *bool
	Timeout     *time.Duration
	MaxRetries  *int
	RateLimit   *float64 // new(0.0) removes the limit
	// Active enables or disables the webhook. [Dispatcher.EnableWebhook] and
	// [Dispatcher.DisableWebhook] do so without a check of the version. A
	// webhook that is in this state already stays as it is.
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
