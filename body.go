package webhook

import (
	"time"

	"github.com/seed68722ecd/webhook/internal/ecmajson"
)

// timestampFormat always has six fractional digits, cut off, not rounded.
const timestampFormat = "2006-01-02T15:04:05.000000Z"

// appendBody appends the bytes that are signed and sent. They depend on what
// was stored when the event was published and on nothing else, so that every
// attempt and resend sends the same ones.
func appendBody(dst []byte, ev *EventRecord, webhookID, webhookName string) []byte {
	dst = append(dst, `{"event":`...)
	dst = ecmajson.AppendString(dst, ev.Type)
	dst = append(dst, `,"webhook":{"id":`...)
	dst = ecmajson.AppendString(dst, webhookID)
	dst = append(dst, `,"name":`...)
	dst = ecmajson.AppendString(dst, webhookName)
	dst = append(dst, `},"timestamp":"`...)
	dst = ev.Time.UTC().Truncate(time.Microsecond).AppendFormat(dst, timestampFormat)
	dst = append(dst, `","data":`...)
	dst = append(dst, ev.Data...)
	return append(dst, '}')
}

// Body returns the bytes that are, or were, sent for an event in a delivery.
func Body(ev EventRecord, d Delivery) []byte {
	return appendBody(make([]byte, 0, len(ev.Data)+len(ev.Type)+len(d.WebhookID)+len(d.WebhookName)+128), &ev, d.WebhookID, d.WebhookName)
}
