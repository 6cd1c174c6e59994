package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/internal/ecmajson"
	"github.com/seed68722ecd/webhook/internal/eventtype"
	"github.com/seed68722ecd/webhook/internal/id"
)

// Limits of an event.
const (
	MaxEventIDLength   = 64  // bytes
	MaxEventKeyLength  = 512 // bytes
	MaxEventTypeLength = 128 // bytes
	MaxTenantLength    = 128 // bytes
	// MaxEventDepth is how deeply arrays and objects may be nested in an
	// event's data.
	MaxEventDepth = 256
)

// The built-in event types.
const (
	TypeAgentAction  = "agent.action"  // the agent acted; data is an AgentAction
	TypeAgentMessage = "agent.message" // the agent spoke; data is an AgentMessage
	TypeUserMessage  = "user.message"  // a user spoke; data is a UserMessage
	// TypeTest is the default type of the event that SendTest sends.
	TypeTest = "webhook.test"
)

// Event is an occurrence that customers can subscribe to. Tenant and Data are
// required, and Type unless Data is [Typed].
type Event struct {
	// ID names the event: 1–64 characters of A–Z a–z 0–9 _ and -. It is sent as
	// webhook-id, and receivers deduplicate on it. Publishing the same ID again
	// for the same tenant stores no second event, so a caller that is unsure
	// whether a Publish succeeded repeats it with the same ID. Empty generates
	// an ID that sorts by time.
	ID string
	// Key is an idempotency key of any form, up to 512 bytes, for callers
	// whose own key does not fit ID: an ID is derived from it, "key_" and a hash,
	// which does not sort by time. At most one of ID and Key may be given.
	Key string
	// Tenant is the owner of the event: only webhooks of this tenant receive
	// it.
	Tenant string
	// Type is a dotted name such as "order.paid": letters, digits, _ and - in
	// parts joined by dots, up to 128 bytes. Empty takes the type that Data
	// reports through [Typed].
	Type string
	// Time is when the event happened. Zero means now. It is sent in UTC with
	// microseconds; finer digits are cut off.
	Time time.Time
	// Data is the content of the event: a value that encodes to a JSON object,
	// or a json.RawMessage that holds one. It is encoded once, when published,
	// into the bytes that JSON.stringify(JSON.parse(…)) would give, so that
	// receivers which re-encode the body still compute the right signature: key
	// order, number format and escapes may therefore change, but never the
	// values. Numbers that JavaScript cannot hold (integers beyond 2^53 such as
	// 9007199254740993, 1e400) are refused with their path: send them as
	// strings. Keys named __proto__ and nesting beyond 256 are refused too.
	Data any
}

// Typed is implemented by event data that knows its event type.
type Typed interface {
	// EventType returns the type, such as "order.paid"; always the same.
	EventType() string
}

// Ref names an agent, a user or a room.
type Ref struct {
	ID   string `json:"id"`   // the platform's ID
	Name string `json:"name"` // for people
}

// AgentAction is the data of an "agent.action" event: an agent acted.
type AgentAction struct {
	Agent   Ref    `json:"agent"`   // who acted
	Room    string `json:"room"`    // the room's hash ID
	Action  string `json:"action"`  // such as WARP_EXECUTE
	Content string `json:"content"` // a JSON text, as a string
}

// EventType returns "agent.action".
func (AgentAction) EventType() string { return TypeAgentAction }

// AgentMessage is the data of an "agent.message" event: an agent spoke.
type AgentMessage struct {
	Agent   Ref    `json:"agent"`   // who spoke
	Room    string `json:"room"`    // the room's hash ID
	Content string `json:"content"` // the text
}

// EventType returns "agent.message".
func (AgentMessage) EventType() string { return TypeAgentMessage }

// UserMessage is the data of a "user.message" event: a user spoke.
type UserMessage struct {
	Agent   Ref    `json:"agent"`   // whom the user spoke to
	User    Ref    `json:"user"`    // who spoke
	Room    Ref    `json:"room"`    // where
	Content string `json:"content"` // the text
}

// EventType returns "user.message".
func (UserMessage) EventType() string { return TypeUserMessage }

// Published is the result of publishing an event.
type Published struct {
	// ID is the event's ID: given, derived from Key, or generated.
	ID string
	// Deliveries is the number of webhooks that the event is delivered to.
	Deliveries int
	// Duplicate is true if this event had been published before: it is not
	// stored or sent again.
	Duplicate bool
}

// prepareEvent validates ev and encodes its data. It returns a
// *ValidationError, or an error wrapping ErrEventTooLarge.
func prepareEvent(ev Event, now time.Time, maxSize int) (EventRecord, error) {
	var bad ValidationError
	rec := EventRecord{ID: ev.ID, Tenant: ev.Tenant, Type: ev.Type, Time: ev.Time}

	checkTenant(&bad, ev.Tenant)
	switch {
	case ev.ID != "" && ev.Key != "":
		bad.add("key", "give an id or a key, not both")
	case ev.ID != "":
		if !validID(ev.ID) {
			bad.add("id", "must be 1–%d characters of A–Z a–z 0–9 _ -, got %s", MaxEventIDLength, quoted(ev.ID))
		}
	case len(ev.Key) > MaxEventKeyLength:
		bad.add("key", "is %d bytes, at most %d are allowed", len(ev.Key), MaxEventKeyLength)
	case ev.Key != "":
		rec.ID = id.FromKey(ev.Tenant, ev.Key)
	default:
		rec.ID = id.New("evt_", now)
	}

	if t, ok := ev.Data.(Typed); ok && !isNil(ev.Data) {
		own, err := contain.Call("EventType", func() (string, error) { return t.EventType(), nil })
		switch {
		case err != nil:
			bad.add("data", "of type %T does not tell its event type: %v", ev.Data, err)
		case rec.Type == "":
			rec.Type = own
		case own != rec.Type:
			bad.add("type", "is %s, but data of type %T is of type %s", quoted(rec.Type), ev.Data, quoted(own))
		}
	}
	if err := eventtype.Check(rec.Type); err != nil {
		bad.add("type", "%v", err)
	}

	if rec.Time.IsZero() {
		rec.Time = now
	}
	rec.Time = rec.Time.UTC().Truncate(time.Microsecond)
	if y := rec.Time.Year(); y < 1 || y > 9999 {
		bad.add("time", "is in the year %d, outside 1–9999", y)
	}

	data, err := encodeData(ev.Data, maxSize)
	switch {
	case errors.Is(err, ErrEventTooLarge) && len(bad.Fields) == 0:
		return EventRecord{}, err
	case err != nil:
		bad.add("data", "%v", err)
	}
	rec.Data = data
	return rec, bad.err()
}

func encodeData(data any, maxSize int) ([]byte, error) {
	switch v := data.(type) {
	case AgentAction:
		return sized(v.appendJSON(make([]byte, 0, 128+len(v.Content))), maxSize)
	case AgentMessage:
		return sized(v.appendJSON(make([]byte, 0, 128+len(v.Content))), maxSize)
	case UserMessage:
		return sized(v.appendJSON(make([]byte, 0, 192+len(v.Content))), maxSize)
	case nil:
		return nil, errors.New("is missing: give a value that encodes to a JSON object")
	case json.RawMessage:
		return canonicalData(v, maxSize)
	}
	// The host's own methods may panic, for example on a nil pointer inside.
	src, err := contain.Call("encoding it", func() ([]byte, error) { return json.Marshal(data) })
	if err != nil {
		return nil, fmt.Errorf("cannot be encoded as JSON: %w", err)
	}
	return canonicalData(src, maxSize)
}

// canonicalData checks that src is one JSON object and returns its canonical
// form in memory of its own.
func canonicalData(src []byte, maxSize int) ([]byte, error) {
	// The canonical form is at most six times shorter (escapes), apart from
	// white space, so refuse a far longer text unread.
	if len(src) > 16*maxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrEventTooLarge, len(src), maxSize)
	}
	out, err := ecmajson.AppendObject(make([]byte, 0, len(src)), src, ecmajson.Limits{MaxDepth: MaxEventDepth})
	if err != nil {
		return nil, err
	}
	return sized(out, maxSize)
}

func sized(data []byte, maxSize int) ([]byte, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrEventTooLarge, len(data), maxSize)
	}
	return data, nil
}

// The built-in types, of which most events are, are written without reflection.

func appendRef(dst []byte, r Ref) []byte {
	dst = append(dst, `{"id":`...)
	dst = ecmajson.AppendString(dst, r.ID)
	dst = append(dst, `,"name":`...)
	dst = ecmajson.AppendString(dst, r.Name)
	return append(dst, '}')
}

func (e AgentAction) appendJSON(dst []byte) []byte {
	dst = appendRef(append(dst, `{"agent":`...), e.Agent)
	dst = ecmajson.AppendString(append(dst, `,"room":`...), e.Room)
	dst = ecmajson.AppendString(append(dst, `,"action":`...), e.Action)
	dst = ecmajson.AppendString(append(dst, `,"content":`...), e.Content)
	return append(dst, '}')
}

func (e AgentMessage) appendJSON(dst []byte) []byte {
	dst = appendRef(append(dst, `{"agent":`...), e.Agent)
	dst = ecmajson.AppendString(append(dst, `,"room":`...), e.Room)
	dst = ecmajson.AppendString(append(dst, `,"content":`...), e.Content)
	return append(dst, '}')
}

func (e UserMessage) appendJSON(dst []byte) []byte {
	dst = appendRef(append(dst, `{"agent":`...), e.Agent)
	dst = appendRef(append(dst, `,"user":`...), e.User)
	dst = appendRef(append(dst, `,"room":`...), e.Room)
	dst = ecmajson.AppendString(append(dst, `,"content":`...), e.Content)
	return append(dst, '}')
}
