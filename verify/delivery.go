package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Delivery is a verified request.
type Delivery struct {
	// Body is the body's bytes as they were signed.
	Body []byte

	// ID is the event's ID from webhook-id: the same for every attempt and
	// every resend. It is signed, unless Scheme is SchemePlain: then it is the
	// header's unsigned value, or empty.
	ID string

	// Type is the event type, such as "agent.message", from the signed body.
	Type string

	// Attempt is 1 for the first attempt, 2 for the next, from
	// X-Webhook-Attempt. It is not signed: use it for logs only. It is 0 when
	// the header is missing or not a number.
	Attempt int

	// SentAt is when this attempt was signed, in UTC and whole seconds, from
	// webhook-timestamp. It is zero when Scheme is SchemePlain.
	SentAt time.Time

	// Timestamp is when the event happened, in UTC and whole microseconds, from
	// the signed body. It is older than SentAt by the time that the delivery
	// took, which is days in a replay.
	Timestamp time.Time

	// Webhook is the registration that this delivery was sent for, from the
	// signed body.
	Webhook Ref

	// Data is the event's data as JSON, from the signed body. Event and Decode
	// turn it into Go values.
	Data json.RawMessage

	// Scheme is the signature that verified the delivery. It is SchemeV1 where
	// both v1 and v1a verified it.
	Scheme Scheme
}

// Ref is the ID and name of a thing that an event is about, such as a room or a
// user.
type Ref struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// timestampLayout is the one spelling of a time in a body: UTC, always six
// fractional digits and Z.
const timestampLayout = "2006-01-02T15:04:05.000000Z"

// parse fills the fields that come from the body; on an error it leaves them
// all unset. It ignores unknown fields, so that a sender can add some.
func (d *Delivery) parse() error {
	var env struct {
		Event     *string         `json:"event"`
		Webhook   *Ref            `json:"webhook"`
		Timestamp *string         `json:"timestamp"`
		Data      json.RawMessage `json:"data"`
	}
	if len(d.Body) == 0 {
		return fmt.Errorf("%w: it is empty", ErrPayload)
	}
	if err := json.Unmarshal(d.Body, &env); err != nil {
		return fmt.Errorf("%w: %w", ErrPayload, jsonError(err))
	}
	switch {
	case env.Event == nil || *env.Event == "":
		return fmt.Errorf("%w: no \"event\"", ErrPayload)
	case env.Webhook == nil:
		return fmt.Errorf("%w: no \"webhook\"", ErrPayload)
	case len(env.Webhook.ID) > maxID: // the ID becomes part of DedupKey
		return fmt.Errorf("%w: \"webhook\" has an ID of %d bytes, limit %d", ErrPayload, len(env.Webhook.ID), maxID)
	case env.Timestamp == nil:
		return fmt.Errorf("%w: no \"timestamp\"", ErrPayload)
	case env.Data == nil:
		return fmt.Errorf("%w: no \"data\"", ErrPayload)
	}
	// time.Parse accepts other spellings too; formatting again shows whether
	// this is the canonical spelling.
	at, err := time.Parse(timestampLayout, *env.Timestamp)
	if err != nil || at.Format(timestampLayout) != *env.Timestamp {
		return fmt.Errorf("%w: \"timestamp\" is %.40q, want the form %s", ErrPayload, *env.Timestamp, timestampLayout)
	}
	d.Type, d.Webhook, d.Timestamp, d.Data = *env.Event, *env.Webhook, at, env.Data
	return nil
}

// jsonError replaces the errors of encoding/json that repeat parts of the
// input.
func jsonError(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("field %q has the wrong JSON type, want one for Go's %s", e.Field, e.Type)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("not JSON, at byte %d: %w", e.Offset, err)
	}
	return err
}

// DedupKey returns the key to deduplicate this delivery by: the webhook's ID
// and the event's ID, joined by a dot. The event's ID alone is not enough where
// one URL serves several webhooks, because IDs are unique only within a tenant
// of the sender. The key is empty when ID is. Under SchemePlain the ID is not
// signed: the key then recognises the sender's own retries, but not a copy made
// by an attacker.
func (d *Delivery) DedupKey() string {
	if d.ID == "" {
		return ""
	}
	// An ID that was accepted has no dot, so no two pairs share a key.
	return d.Webhook.ID + "." + d.ID
}

// deliveryKey is the context key of the verified Delivery.
type deliveryKey struct{}

// FromContext returns the Delivery that the middleware verified for this
// request, and whether there is one. The handler may keep and change the
// Delivery: no other request uses it.
func FromContext(ctx context.Context) (*Delivery, bool) {
	d, ok := ctx.Value(deliveryKey{}).(*Delivery)
	return d, ok
}
