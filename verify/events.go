package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// The event types that this package knows. A sender may have others: any
// dotted name.
const (
	// TypeAgentAction is the type of an AgentAction.
	TypeAgentAction = "agent.action"
	// TypeAgentMessage is the type of an AgentMessage.
	TypeAgentMessage = "agent.message"
	// TypeUserMessage is the type of a UserMessage.
	TypeUserMessage = "user.message"
)

// AgentAction is the data of an "agent.action" event: an agent acted in a room.
type AgentAction struct {
	Agent Ref `json:"agent"`
	// Room is the room's public ID, a hash.
	Room string `json:"room"`
	// Action names the action, such as "WARP_EXECUTE".
	Action string `json:"action"`
	// Content is a JSON text whose form depends on Action. It was written by
	// the agent: decode it as input of unknown origin.
	Content string `json:"content"`
}

// AgentMessage is the data of an "agent.message" event: an agent wrote a
// message in a room.
type AgentMessage struct {
	Agent Ref `json:"agent"`
	// Room is the room's public ID, a hash.
	Room string `json:"room"`
	// Content is the message's text, not escaped for any output.
	Content string `json:"content"`
}

// UserMessage is the data of a "user.message" event: a user wrote a message to
// an agent.
type UserMessage struct {
	Agent Ref `json:"agent"`
	User  Ref `json:"user"`
	// Room is the room; its ID is the public ID, a hash.
	Room Ref `json:"room"`
	// Content is the message's text, not escaped for any output.
	Content string `json:"content"`
}

// Event returns the data as an AgentAction, AgentMessage or UserMessage (the
// values, not pointers), according to Type. For every other type it returns
// Data itself, a json.RawMessage: decode that with Decode. Fields that the Go
// types do not have are ignored. It returns ErrPayload when the data does not
// fit the type.
func (d *Delivery) Event() (any, error) {
	switch d.Type {
	case TypeAgentAction:
		return decode[AgentAction](d)
	case TypeAgentMessage:
		return decode[AgentMessage](d)
	case TypeUserMessage:
		return decode[UserMessage](d)
	}
	return d.Data, nil
}

func decode[T any](d *Delivery) (any, error) {
	var v T
	// Decoding null into a struct would leave it empty without an error.
	if !bytes.HasPrefix(d.Data, []byte("{")) {
		return nil, fmt.Errorf("%w: data of %.64q is not a JSON object", ErrPayload, d.Type)
	}
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return v, nil
}

// Decode decodes Data into v as json.Unmarshal does, for event types of the
// sender's own. Fields that v does not have are ignored. It returns ErrPayload
// when the data does not fit.
func (d *Delivery) Decode(v any) error {
	if err := json.Unmarshal(d.Data, v); err != nil {
		return fmt.Errorf("%w: data of %.64q: %w", ErrPayload, d.Type, jsonError(err))
	}
	return nil
}
