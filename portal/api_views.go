package portal

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed68722ecd/webhook"
)

// The bodies of the API's answers. Names and forms are those of openapi.json;
// tests check every answer against it.

// stamp is a time in UTC with six digits, or null.
type stamp time.Time

// stampFormat is the format of the timestamp in a delivery's body.
const stampFormat = "2006-01-02T15:04:05.000000Z"

// MarshalJSON implements json.Marshaler.
func (t stamp) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return time.Time(t).UTC().AppendFormat(nil, `"`+stampFormat+`"`), nil
}

// textOrNull is a string that is encoded as null when empty.
type textOrNull string

// MarshalJSON implements json.Marshaler.
func (s textOrNull) MarshalJSON() ([]byte, error) {
	if s == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(s))
}

type webhookView struct {
	ID              string            `json:"id"`
	Name            string            `json:"name"`
	URL             string            `json:"url"`
	Events          []string          `json:"events"`
	Description     string            `json:"description"`
	Active          bool              `json:"active"`
	DisabledReason  textOrNull        `json:"disabledReason"`
	DisabledAt      stamp             `json:"disabledAt"`
	Headers         map[string]string `json:"headers"` // values hidden
	SSLVerification bool              `json:"sslVerification"`
	Timeout         float64           `json:"timeout"` // seconds
	MaxRetries      int               `json:"maxRetries"`
	RateLimit       float64           `json:"rateLimit"` // attempts per second; 0 for no limit
	CreatedAt       stamp             `json:"createdAt"`
	UpdatedAt       stamp             `json:"updatedAt"`
	LastTriggeredAt stamp             `json:"lastTriggeredAt"`
	LastSuccessAt   stamp             `json:"lastSuccessAt"`
	FailingSince    stamp             `json:"failingSince"`
	SuccessRate     *float64          `json:"successRate"` // of the last 24 hours; null without attempts
	Warnings        []string          `json:"warnings"`
	Secret          string            `json:"secret,omitempty"` // in the answers to create and rotate
}

// readOnlySettings are the fields of a webhook that clients read and cannot write.
var readOnlySettings = []string{
	"id", "disabledReason", "disabledAt", "createdAt", "updatedAt", "lastTriggeredAt", "lastSuccessAt",
	"failingSince", "successRate", "warnings",
}

// warnUnverified is shown for a webhook while TLS verification is off.
const warnUnverified = "TLS verification is off: whoever sits between here and the receiver can read the events and forge answers. Switch it on again unless this is a test."

// view returns a webhook as the access may see it, with the statistics of its
// recent attempts.
func (a Access) view(w webhook.Webhook, recent []webhook.StatsBucket) webhookView {
	v := webhookView{
		ID: w.ID, Name: w.Name, URL: a.shownURL(w), Events: w.Events, Description: w.Description,
		Active: w.Active, DisabledReason: textOrNull(w.DisabledReason), DisabledAt: stamp(w.DisabledAt),
		Headers: maskedHeaders(w), SSLVerification: w.VerifyTLS, Timeout: w.Timeout.Seconds(), MaxRetries: w.MaxRetries, RateLimit: w.RateLimit,
		CreatedAt: stamp(w.CreatedAt), UpdatedAt: stamp(w.UpdatedAt),
		LastTriggeredAt: stamp(w.LastTriggeredAt), LastSuccessAt: stamp(w.LastSuccessAt), FailingSince: stamp(w.FailingSince),
		Warnings: []string{},
	}
	if rate, n := webhook.SuccessRate(recent); n > 0 {
		v.SuccessRate = &rate
	}
	if !w.VerifyTLS {
		v.Warnings = append(v.Warnings, warnUnverified)
	}
	return v
}

type pageView[T any] struct {
	Items []T        `json:"items"`
	Next  textOrNull `json:"next"` // cursor of the next page
}

// deliveryPage is a page of deliveries. A short or empty page need not be the
// last.
type deliveryPage struct {
	pageView[deliveryView]
	Reached stamp `json:"reached"` // how far back the search went, if its bound ended the page
}

type deliveryView struct {
	ID            string     `json:"id"`
	EventID       string     `json:"eventId"`
	EventType     string     `json:"eventType"`
	WebhookID     string     `json:"webhookId"`
	WebhookName   string     `json:"webhookName"`
	State         string     `json:"state"`
	Reason        textOrNull `json:"reason"`
	AttemptCount  int        `json:"attemptCount"`
	CreatedAt     stamp      `json:"createdAt"`
	NextAttemptAt stamp      `json:"nextAttemptAt"`
	FinishedAt    stamp      `json:"finishedAt"`
	LastStatus    *int       `json:"lastStatus"`
	LastError     textOrNull `json:"lastError"`
}

func viewDelivery(d webhook.Delivery) deliveryView {
	return deliveryView{
		ID: d.ID, EventID: d.EventID, EventType: d.EventType, WebhookID: d.WebhookID, WebhookName: d.WebhookName,
		State: string(d.State), Reason: textOrNull(d.Reason), AttemptCount: d.Attempts, CreatedAt: stamp(d.CreatedAt),
		NextAttemptAt: stamp(d.NextAttemptAt), FinishedAt: stamp(d.FinishedAt),
		LastStatus: statusOrNull(d.LastStatus), LastError: textOrNull(d.LastClass),
	}
}

func statusOrNull(status int) *int {
	if status == 0 {
		return nil
	}
	return &status
}

type deliveryDetail struct {
	deliveryView
	Request  *requestView  `json:"request"` // null once the event has been pruned
	Attempts []attemptView `json:"attempts"`
}

type requestView struct {
	Attempt    int                 `json:"attempt"`
	Method     string              `json:"method"`
	URL        textOrNull          `json:"url"`
	Headers    map[string][]string `json:"headers"` // values of custom headers hidden
	Body       string              `json:"body"`
	Signatures string              `json:"signatures"` // exact, partial, unknown
	Changed    bool                `json:"settingsChanged"`
}

// viewRequest returns a request as the access may see it. Bodies are canonical
// JSON, and so valid UTF-8.
func (a Access) viewRequest(r webhook.SentRequest) *requestView {
	u := r.URL
	if !a.Manage {
		u = hideQuery(u)
	}
	return &requestView{r.Number, r.Method, textOrNull(u), r.Headers, string(r.Body), string(r.Signatures), r.Changed}
}

type attemptView struct {
	Number             int               `json:"number"`
	StartedAt          stamp             `json:"startedAt"`
	DurationMs         float64           `json:"durationMs"`
	Succeeded          bool              `json:"succeeded"`
	Status             *int              `json:"status"`
	ErrorClass         textOrNull        `json:"errorClass"`
	Error              textOrNull        `json:"error"`
	ResponseHeaders    map[string]string `json:"responseHeaders"`
	ResponseBody       string            `json:"responseBody"`
	ResponseBodyBase64 string            `json:"responseBodyBase64,omitempty"` // if the response is not valid UTF-8
	ResponseTruncated  bool              `json:"responseTruncated"`
	Late               bool              `json:"late"`
}

func viewAttempt(a webhook.Attempt) attemptView {
	v := attemptView{
		Number: a.Number, StartedAt: stamp(a.StartedAt), DurationMs: milliseconds(a.Duration), Succeeded: a.Succeeded(),
		Status: statusOrNull(a.Status), ErrorClass: textOrNull(a.Class), Error: textOrNull(a.Error),
		ResponseHeaders: a.ResponseHeaders, ResponseBody: strings.ToValidUTF8(string(a.ResponseBody), "\ufffd"),
		ResponseTruncated: a.ResponseTruncated, Late: a.Late,
	}
	if v.ResponseHeaders == nil {
		v.ResponseHeaders = map[string]string{}
	}
	if !utf8.Valid(a.ResponseBody) {
		v.ResponseBodyBase64 = base64.StdEncoding.EncodeToString(a.ResponseBody)
	}
	return v
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type replayView struct {
	Resent  int        `json:"resent"`
	Created int        `json:"created"`
	DryRun  bool       `json:"dryRun"`
	Next    textOrNull `json:"next"` // cursor of the next step
}

type statsView struct {
	WebhookID   string     `json:"webhookId"`
	Since       stamp      `json:"since"`
	Until       stamp      `json:"until"`
	Attempts    int64      `json:"attempts"`
	SuccessRate *float64   `json:"successRate"`
	Hours       []hourView `json:"hours"`
}

type hourView struct {
	Hour      stamp    `json:"hour"`
	Succeeded int64    `json:"succeeded"`
	Failed    int64    `json:"failed"`
	AverageMs *float64 `json:"averageMs"` // null without attempts
}

type eventTypeView struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Sample      json.RawMessage `json:"sample"`
}
