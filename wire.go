package webhook

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/seed68722ecd/webhook/internal/ecmajson"
	"github.com/seed68722ecd/webhook/internal/post"
)

// errSign marks a signer's failure, whose text may be shown.
var errSign = errors.New("signing failed")

// outgoing is a request with the values of the library's own headers, in one
// piece of memory.
type outgoing struct {
	post.Request
	values [8]string
}

// seconds is a point in time in the text of webhook-timestamp.
type seconds struct {
	unix int64
	text string
}

// stamp returns unix seconds as text, which many attempts share.
func (e *engine) stamp(unix int64) string {
	s := e.second.Load()
	if s == nil || s.unix != unix {
		s = &seconds{unix, strconv.FormatInt(unix, 10)}
		e.second.Store(s)
	}
	return s.text
}

func (e *engine) attempt(j *job, t *target) (post.Answer, error) {
	if t.err != nil {
		return post.Answer{}, t.err
	}
	started := e.d.now()
	j.attempt.StartedAt, j.url = started, t.rec.URL
	number := j.Delivery.Attempts + 1
	body := Body(*j.Event, j.Delivery)

	o := &outgoing{values: [8]string{
		"application/json", e.cfg.UserAgent, j.Event.ID, e.stamp(started.Unix()), j.Event.Type, strconv.Itoa(number),
	}}
	h := make(http.Header, len(t.header)+len(o.values))
	for name, v := range t.header {
		h[name] = v
	}
	v := o.values[:]
	h["Content-Type"] = v[0:1:1]
	h["User-Agent"] = v[1:2:2]
	h[headerWebhookID] = v[2:3:3]
	h[headerWebhookTimestamp] = v[3:4:4]
	h[headerEvent] = v[4:5:5]
	h[headerAttempt] = v[5:6:6]
	if j.seen != nil {
		j.seen.traceHeaders(h)
	}
	if err := e.sign(o, h, Message{ID: j.Event.ID, Time: started, Body: body}, t.secretsAt(started)); err != nil {
		e.d.log.Error("webhook: a delivery could not be signed, and nothing is sent unsigned", "delivery", j.Delivery.ID, "error", err)
		return post.Answer{}, errSign
	}

	o.Request = post.Request{URL: t.url, Header: h, Body: body, Timeout: t.rec.Timeout, VerifyTLS: t.rec.VerifyTLS}
	a := e.d.send.Do(e.attemptCtx, &o.Request)
	j.attempt = Attempt{
		DeliveryID: j.Delivery.ID, Number: number, StartedAt: started, Duration: a.Duration,
		Status: a.Status, Class: ErrorClass(a.Class), Error: a.Error,
		ResponseHeaders: a.ResponseHeaders, ResponseBody: a.ResponseBody, ResponseTruncated: a.ResponseTruncated,
	}
	return a, nil
}

// errUnsigned is the error of a host's signer that adds no header.
var errUnsigned = errors.New("the signer added no header")

// sign adds the signatures to the headers of a request. Signatures of the wire
// format are kept beside the other values.
func (e *engine) sign(o *outgoing, h http.Header, m Message, secrets []Secret) (err error) {
	if _, ok := e.cfg.Signer.(wireSigner); ok {
		v := o.values[:]
		if v[6], v[7], err = m.wireSignatures(secrets); err != nil {
			return err
		}
		h[headerSignature] = v[6:7:7]
		h[headerWebhookSignature] = v[7:8:8]
		return nil
	}
	unsigned := len(h)
	if err = e.cfg.Signer.Sign(h, m, secrets); err == nil && len(h) == unsigned {
		err = errUnsigned
	}
	return err
}

// timestampFormat always has six fractional digits, cut off, not rounded.
const timestampFormat = "2006-01-02T15:04:05.000000Z"

// appendBody appends the bytes that are signed and sent. They depend only on values
// stored when the event was published, so that every attempt and resend sends the
// same bytes.
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
