package portal

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/seed68722ecd/webhook"
)

// Access is what one request may do.
type Access struct {
	// Tenant whose webhooks are shown and changed. Required: a request without
	// one is refused.
	Tenant string
	// Actor names who asks, for the audit record: a user's name or ID. May be empty.
	Actor string
	// Manage permits changes. False, the default, permits looking only; the
	// query of webhooks' URLs, which may hold a token, is then hidden too.
	Manage bool
}

// Errors that Config.Access returns.
var (
	// ErrUnauthenticated: nobody is logged in. The answer is 401.
	ErrUnauthenticated = errors.New("not logged in")
	// ErrForbidden: whoever is logged in has no business here. The answer is 403.
	ErrForbidden = errors.New("no access")
)

// errNeedManage is what a request that may only look gets when it writes.
var errNeedManage = errors.New("this needs the right to manage webhooks")

// need is what a route asks of an Access.
type need uint8

const (
	needNothing need = iota // static assets: the same for everybody
	needView
	needManage
)

// hiddenQuery stands for the query of a URL that may hold a token.
const hiddenQuery = "?…"

// shownURL returns the URL of a webhook as this access may see it.
func (a Access) shownURL(w webhook.Webhook) string {
	if a.Manage {
		return w.URL
	}
	return hideQuery(w.URL)
}

func hideQuery(u string) string {
	if before, _, found := strings.Cut(u, "?"); found {
		return before + hiddenQuery
	}
	return u
}

// hostOf is the part of a URL that may be logged.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

type requestIDKey struct{}

// requestID returns the ID of the request that ctx belongs to, which is sent as
// X-Request-Id and stands in every error.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
