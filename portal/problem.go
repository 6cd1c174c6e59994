package portal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/seed68722ecd/webhook"
)

// problem is an error as clients see it: RFC 9457's problem details, with the
// refused fields. Error pages show the same.
type problem struct {
	Type      string         `json:"type"` // always about:blank: Code tells them apart
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail,omitempty"`
	Code      string         `json:"code"`
	RequestID string         `json:"requestId"`
	Errors    []problemField `json:"errors,omitempty"`

	retryAfter time.Duration // sent as Retry-After
	allow      []string      // sent as Allow
	headers    map[string]string
	more       int // refused fields that Errors leaves out
}

// problemField is one refused field.
type problemField struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// The codes of problems.
const (
	codeInvalid         = "invalid"
	codeMalformed       = "malformed"
	codeUnauthenticated = "unauthenticated"
	codeForbidden       = "forbidden"
	codeCrossOrigin     = "cross_origin"
	codeNotFound        = "not_found"
	codeMethod          = "method_not_allowed"
	codeInactive        = "webhook_disabled"
	codeTooMany         = "too_many_webhooks"
	codeChanged         = "changed"
	codeNeedsIfMatch    = "precondition_required"
	codeTooLarge        = "too_large"
	codeMediaType       = "unsupported_media_type"
	codeRateLimited     = "rate_limited"
	codeBusy            = "busy"
	codeAudit           = "not_audited"
	codeInternal        = "internal"
	detailInternal      = "Something failed on our side. The details are in the server's log under this request ID."
	detailNotFound      = "It does not exist, or it is not yours."
)

// newProblem returns a problem of a status, with the status's own name as title.
func newProblem(status int, code, format string, args ...any) problem {
	return problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...),
	}
}

// problemError is a problem as an error.
type problemError struct{ problem problem }

func (e *problemError) Error() string { return e.problem.Title + ": " + e.problem.Detail }

// refuse returns a problem as an error.
func refuse(status int, code, format string, args ...any) error {
	return &problemError{newProblem(status, code, format, args...)}
}

// problemOf returns the problem that a client is shown for an error. An unknown
// error becomes a 500 without details; the caller logs it.
func problemOf(err error) problem {
	if p, ok := errors.AsType[*problemError](err); ok {
		return p.problem
	}
	var refused refusals
	if refused.add(err) {
		return refused.problem()
	}
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return newProblem(http.StatusUnauthorized, codeUnauthenticated, "Log in first.")
	case errors.Is(err, ErrForbidden):
		return newProblem(http.StatusForbidden, codeForbidden, "You have no access to webhooks here.")
	case errors.Is(err, errNeedManage):
		return newProblem(http.StatusForbidden, codeForbidden, "You may look at webhooks here, not change them.")
	case errors.Is(err, webhook.ErrNotFound):
		return newProblem(http.StatusNotFound, codeNotFound, detailNotFound)
	case errors.Is(err, webhook.ErrConflict):
		return newProblem(http.StatusPreconditionFailed, codeChanged,
			"Someone else changed the webhook since you read it. Read it again, and apply your change to the current version.")
	case errors.Is(err, webhook.ErrInactive):
		return newProblem(http.StatusConflict, codeInactive, "The webhook is disabled. Enable it first.")
	case errors.Is(err, webhook.ErrTooManyWebhooks):
		return newProblem(http.StatusConflict, codeTooMany, "You have as many webhooks as you can have. Delete one first.")
	case errors.Is(err, webhook.ErrCursor):
		refused.refuse("cursor", "was not issued by this list: start again without one")
		return refused.problem()
	case errors.Is(err, webhook.ErrBacklogFull):
		p := newProblem(http.StatusServiceUnavailable, codeBusy, "Too many deliveries are waiting. Try again later.")
		p.retryAfter = 5 * time.Second
		return p
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p := newProblem(http.StatusServiceUnavailable, codeBusy, "It took too long. Try again.")
		p.retryAfter = time.Second
		return p
	}
	return newProblem(http.StatusInternalServerError, codeInternal, detailInternal)
}

// fail answers with the problem of err, in the form of the route's kind, and
// logs errors that are the server's fault.
func (s *server) fail(w http.ResponseWriter, r *http.Request, k kind, err error) {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		s.log.ErrorContext(r.Context(), "portal: a request failed", "request_id", requestID(r.Context()), "error", err)
	}
	s.answerProblem(w, r, k, p)
}

// answerProblem answers with a problem.
func (s *server) answerProblem(w http.ResponseWriter, r *http.Request, k kind, p problem) {
	p.RequestID = requestID(r.Context())
	h := w.Header()
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.retryAfter+time.Second-1)/time.Second)))
	}
	if len(p.allow) > 0 {
		h["Allow"] = []string{joinMethods(p.allow)}
	}
	for name, value := range p.headers {
		h.Set(name, value)
	}
	if p.Status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", s.cfg.Challenge)
	}
	if k != kindAPI {
		s.pageProblem(w, r, p)
		return
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

// writeJSON answers with v as JSON. A value that cannot be encoded is a bug of
// this package: writeJSON panics, and ServeHTTP contains the panic.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // an error means that the client has gone
}
