package portal

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/seed68722ecd/webhook"
)

// Access holds the tenant and the rights of a request.
type Access struct {
	// Tenant is the tenant whose webhooks are shown and changed. Required: a
	// request without a tenant is refused.
	Tenant string
	// Actor names the visitor in audit records: a user's name or ID. May be
	// empty.
	Actor string
	// Manage permits changes. The default, false, permits only viewing and
	// hides the query of webhooks' URLs, which may hold a token.
	Manage bool
}

// Errors that Config.Access returns.
var (
	// ErrUnauthenticated means that the visitor is not logged in. The answer is
	// 401.
	ErrUnauthenticated = errors.New("not logged in")
	// ErrForbidden means that the visitor is logged in but may not use the
	// portal. The answer is 403.
	ErrForbidden = errors.New("no access")
)

// errNeedManage refuses a write of a visitor who may only view.
var errNeedManage = errors.New("this needs the right to manage webhooks")

// need is the right that a route requires.
type need uint8

const (
	needNothing need = iota // static assets, the same for every visitor
	needView
	needManage
)

// hiddenQuery replaces the query of a URL, which may hold a token.
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

// hostOf returns the host of a URL, the only part that may be logged.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

type requestIDKey struct{}

// requestID returns the request's ID from its context. The ID is sent as
// X-Request-Id and is part of every error.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
