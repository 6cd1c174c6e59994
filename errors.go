package webhook

import (
	"errors"
	"fmt"
	"strings"
)

// Errors a caller can act on; test for them with errors.Is.
var (
	// ErrNotFound: the tenant has no webhook, event or delivery of this ID.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the webhook was changed since it was read. Read it again,
	// apply the change to the current version, and write that.
	ErrConflict = errors.New("changed by someone else since it was read")
	// ErrExists: the ID is taken.
	ErrExists = errors.New("already exists")
	// ErrTooManyWebhooks: the tenant has as many webhooks as Config.MaxWebhooks allows.
	ErrTooManyWebhooks = errors.New("too many webhooks")
	// ErrEventConflict: another event with other content was published under
	// this ID or key. Use a new ID, or find out why two events share this one.
	ErrEventConflict = errors.New("another event has this id")
	// ErrBacklogFull: a bounded Store takes no more deliveries until some have
	// ended. No event was stored; publish again later.
	ErrBacklogFull = errors.New("backlog is full")
	// ErrEventTooLarge: the event's data is larger than Config.MaxEventSize.
	ErrEventTooLarge = errors.New("event is too large")
	// ErrCursor: the cursor was not issued by this list. Start again without a
	// cursor.
	ErrCursor = errors.New("invalid cursor")
	// ErrInactive: the webhook is disabled. Enable it first.
	ErrInactive = errors.New("webhook is disabled")
	// ErrInvalid: an argument was refused; the error is a *ValidationError
	// that names each field.
	ErrInvalid = errors.New("invalid")
	// ErrUnreadable: a secret or a header value cannot be decrypted. The error
	// says why: its key is missing from Config.Keys or has another value, or
	// the encrypted text was changed or moved. Supply the key, or replace the
	// secret (with an Overlap of 0, see [Rotation]) and the headers.
	ErrUnreadable = errors.New("cannot be decrypted")
	// ErrRunning: Run or DeliverDue is already running on this Dispatcher.
	ErrRunning = errors.New("already running")
)

// FieldError says why one field was refused.
type FieldError struct {
	// Field is the JSON name of the field, with an index or key where it has
	// one: "url", "events[2]", `headers["X-Api-Key"]`.
	Field string
	// Reason describes the error to people, with the limit and the value. It
	// never contains a secret or the value of a header.
	Reason string
}

// ValidationError lists every field of a request that was refused. It wraps
// [ErrInvalid].
type ValidationError struct {
	Fields []FieldError // every refused field, at least one
}

// Error names every field on one line.
func (e *ValidationError) Error() string {
	texts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		texts[i] = f.Field + ": " + f.Reason
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns ErrInvalid.
func (e *ValidationError) Unwrap() error { return ErrInvalid }

func (e *ValidationError) add(field, format string, args ...any) {
	e.Fields = append(e.Fields, FieldError{Field: field, Reason: fmt.Sprintf(format, args...)})
}

// err returns e if a field was refused, and nil otherwise.
func (e *ValidationError) err() error {
	if len(e.Fields) == 0 {
		return nil
	}
	return e
}

// prefixed adds the package and the operation to an exported function's error.
func prefixed(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("webhook: %s: %w", op, err)
}
