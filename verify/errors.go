package verify

import (
	"errors"
	"net/http"
)

// The errors of this package. They are returned wrapped with the details of the
// request, so test for them with errors.Is. [StatusCode] maps each to an HTTP
// status.
var (
	// ErrNoSecret means that no secret was given, or that a secret is empty.
	// Look for an environment variable that is not set.
	ErrNoSecret = errors.New("verify: no secret")

	// ErrSecret means that a secret or public key can never verify anything:
	// too short, cut off, or with a space or line break in it. Copy it again.
	ErrSecret = errors.New("verify: unusable secret or key")

	// ErrConfig means that a field of Config is out of its range.
	ErrConfig = errors.New("verify: invalid configuration")

	// ErrMethod means that the request is not a POST. Deliveries always are;
	// other methods come from a browser that opens the URL, or from a health
	// check.
	ErrMethod = errors.New("verify: method is not POST")

	// ErrContentEncoding means that the body is compressed. Deliveries never
	// are. Look for a proxy that compresses requests: the signature covers the
	// bytes before compression.
	ErrContentEncoding = errors.New("verify: compressed body")

	// ErrBodyRead means that the body could not be read to its end: the sender
	// went away, a deadline passed, or a handler in front of this package has
	// read the body already. The sender will try again.
	ErrBodyRead = errors.New("verify: body could not be read")

	// ErrBodyTooLarge means that the body is longer than Config.MaxBody. Raise
	// the limit if your sender's events are that large.
	ErrBodyTooLarge = errors.New("verify: body too large")

	// ErrNoSignature means that the request carries no signature. It does not
	// come from the sender, or a proxy strips the headers.
	ErrNoSignature = errors.New("verify: no signature")

	// ErrPlainOnly means that the request carries only the plain
	// X-Webhook-Signature header, and Config.AllowPlain is not set. Set it if
	// you accept that such a request can be replayed for ever.
	ErrPlainOnly = errors.New("verify: only the plain signature is present")

	// ErrSignatureVersion means that webhook-signature has no entry that this
	// receiver has a key for: give a secret for v1, a public key for v1a, or
	// update this package for later versions.
	ErrSignatureVersion = errors.New("verify: no signature of a known version")

	// ErrSignatureFormat means that a signature header is malformed: empty,
	// of the wrong length, not hex or base64, with a prefix, white space or
	// several values in one. Look for a proxy that rewrites headers.
	ErrSignatureFormat = errors.New("verify: malformed signature header")

	// ErrHeaderRepeated means that a header that belongs to the signature is
	// there more than once, so that it is unclear which value counts. Look for
	// a proxy that adds or copies headers.
	ErrHeaderRepeated = errors.New("verify: repeated header")

	// ErrSignatureMismatch means that the signature is well-formed and wrong.
	// Compare the secret with this webhook's, and make sure that the body
	// reaches this package as it was sent, not parsed and encoded again.
	ErrSignatureMismatch = errors.New("verify: signature does not match")

	// ErrNoID means that webhook-signature is there without webhook-id.
	ErrNoID = errors.New("verify: no webhook-id header")

	// ErrIDFormat means that webhook-id is not an identifier: longer than 255
	// bytes, or with a dot, a comma, a space, a control or a non-ASCII character.
	// (This library's sender keeps to 1–64 characters of A–Z a–z 0–9 _ and -;
	// other senders of Standard Webhooks need not.)
	ErrIDFormat = errors.New("verify: malformed webhook-id header")

	// ErrNoTimestamp means that webhook-signature is there without
	// webhook-timestamp.
	ErrNoTimestamp = errors.New("verify: no webhook-timestamp header")

	// ErrTimestampFormat means that webhook-timestamp is not a number of unix
	// seconds in plain decimal digits.
	ErrTimestampFormat = errors.New("verify: malformed webhook-timestamp header")

	// ErrTooOld means that the signature is right but was made longer ago than
	// Config.Tolerance. Either this machine's clock is ahead, or the request is
	// a copy of an old request. A sender signs every attempt anew.
	ErrTooOld = errors.New("verify: delivery is too old")

	// ErrTooNew means that the signature is right but its time lies further in
	// the future than Config.Tolerance. This machine's clock is behind, or the
	// sender's is ahead.
	ErrTooNew = errors.New("verify: delivery is from the future")

	// ErrPayload means that the signature is right but the body has another
	// form than this package expects: it is not JSON, or lacks event,
	// timestamp, webhook or data. For another sender's bodies, set
	// Config.AnyBody.
	ErrPayload = errors.New("verify: unexpected body")

	// ErrEventHeader means that X-Webhook-Event, which is not signed, names
	// another event type than the signed body. The header was changed on the
	// way.
	ErrEventHeader = errors.New("verify: X-Webhook-Event contradicts the body")

	// ErrDuplicate means that this delivery was handled before. Answer with
	// 200, or the sender goes on sending it. Seen implementations return it
	// from Claim.
	ErrDuplicate = errors.New("verify: delivery was handled before")

	// ErrInProgress means that another request is handling this delivery right
	// now. Answer with a failure: the other request may still fail, and then
	// the sender's next attempt must reach the handler. Seen implementations
	// return it from Claim.
	ErrInProgress = errors.New("verify: delivery is being handled")

	// ErrSeen means that the Seen store failed. If it failed before the handler
	// ran, the delivery was refused and will be sent again; if it failed
	// afterwards, the delivery may be handled a second time. The wrapped error
	// says why.
	ErrSeen = errors.New("verify: deduplication failed")

	// ErrSeenFull means that a MemorySeen has no room left: as many deliveries
	// as it can hold are being handled at this moment.
	ErrSeenFull = errors.New("verify: too many deliveries in progress")
)

// statuses is searched in order: the first match wins.
var statuses = []struct {
	err  error
	code int
}{
	{ErrDuplicate, http.StatusOK},
	{ErrInProgress, http.StatusConflict},
	{ErrSeen, http.StatusServiceUnavailable},
	{ErrSeenFull, http.StatusServiceUnavailable},
	{ErrMethod, http.StatusMethodNotAllowed},
	{ErrContentEncoding, http.StatusUnsupportedMediaType},
	{ErrBodyTooLarge, http.StatusRequestEntityTooLarge},
	{ErrNoSignature, http.StatusUnauthorized},
	{ErrPlainOnly, http.StatusUnauthorized},
	{ErrSignatureVersion, http.StatusUnauthorized},
	{ErrSignatureMismatch, http.StatusUnauthorized},
	{ErrTooOld, http.StatusUnauthorized},
	{ErrTooNew, http.StatusUnauthorized},
	{ErrBodyRead, http.StatusBadRequest},
	{ErrSignatureFormat, http.StatusBadRequest},
	{ErrHeaderRepeated, http.StatusBadRequest},
	{ErrNoID, http.StatusBadRequest},
	{ErrIDFormat, http.StatusBadRequest},
	{ErrNoTimestamp, http.StatusBadRequest},
	{ErrTimestampFormat, http.StatusBadRequest},
	{ErrPayload, http.StatusBadRequest},
	{ErrEventHeader, http.StatusBadRequest},
}

// StatusCode returns the HTTP status to answer err with, as the middleware
// does: 401 where the signature is missing, wrong or out of time; 400 where a
// header or the body is malformed or could not be read; 413 for
// ErrBodyTooLarge, 415 for ErrContentEncoding and 405 for ErrMethod; 409 for
// ErrInProgress; 503 for ErrSeen and ErrSeenFull; 200 for nil and for
// ErrDuplicate; and 500 for every other error, such as ErrNoSecret. Give the
// client no more than the status: the text of err is for your own log.
func StatusCode(err error) int {
	if err == nil {
		return http.StatusOK
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.code
		}
	}
	return http.StatusInternalServerError
}
