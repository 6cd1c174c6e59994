package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/seed68722ecd/webhook"
)

// maxBody bounds the body of a request to publish: an event of 256 KiB, with
// room for escapes and white space.
const maxBody = 1 << 20

// publish takes one event. It answers 202 with the event's ID once the event is
// as durable as the store makes it, 400 with the reason if the request is
// invalid, and 503 if the store failed. A client that gets no answer, or 503,
// repeats the request with the same id: the event is stored once.
func (b *backend) publish(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Tenant string          `json:"tenant"`
		Type   string          `json:"type"`
		ID     string          `json:"id"`
		Data   json.RawMessage `json:"data"`
	}
	if !readJSON(w, r, &in) {
		return
	}
	ev := webhook.Event{Tenant: in.Tenant, Type: in.Type, ID: in.ID}
	if in.Data != nil {
		ev.Data = in.Data
	}
	p, err := b.d.Publish(r.Context(), ev)
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	writeJSON(w, http.StatusAccepted, map[string]any{"id": p.ID, "deliveries": p.Deliveries, "duplicate": p.Duplicate})
}

// readJSON reads a body that is one JSON object with known fields, or answers
// with the reason why it is not.
func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more after the JSON object")
		}
	}
	if err == nil {
		return true
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = fmt.Errorf("the body is too large: it may have %d bytes", large.Limit)
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the body is empty: send a JSON object")
	}
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
	return false
}

// refuse answers with the reason why an event was not published.
func (b *backend) refuse(w http.ResponseWriter, r *http.Request, err error) {
	answer := map[string]any{"error": err.Error()}
	status := http.StatusBadRequest
	invalid, isInvalid := errors.AsType[*webhook.ValidationError](err)
	switch {
	case isInvalid:
		fields := map[string]string{}
		for _, f := range invalid.Fields {
			fields[f.Field] = f.Reason
		}
		answer["fields"] = fields
	case errors.Is(err, webhook.ErrEventTooLarge), errors.Is(err, webhook.ErrEventConflict):
	case errors.Is(err, webhook.ErrBacklogFull):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	default:
		b.log.ErrorContext(r.Context(), "an event was not published", "error", err)
		status, answer["error"] = http.StatusServiceUnavailable, "the event could not be stored: send it again, with the same id if it has one"
	}
	writeJSON(w, status, answer)
}
