package portal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Config holds the settings of the portal. Access is required; every other
// field has a default.
type Config struct {
	// Access returns the tenant and the rights of a request. It gets the
	// request unchanged and is called once for each, concurrently. Required.
	//
	// ErrUnauthenticated is answered with 401, ErrForbidden, or an Access
	// without a tenant, with 403, any other error with 500 and an entry in the
	// log. To send visitors to a login page instead, do so in a handler around
	// the portal.
	Access func(*http.Request) (Access, error)

	// EventTypes is the catalogue that customers choose from, with a sample of
	// each for "send test event". Nil means [BuiltinEventTypes]. It is not a
	// restriction: a webhook may select types that are not in it.
	EventTypes []EventType

	// Challenge is the WWW-Authenticate header of answers with 401, which says
	// how to log in: a scheme and its parameters, such as `Bearer
	// realm="example"`. Empty means `Session realm="webhooks"`, which browsers
	// ignore. A handler in front of the portal may set the header instead.
	Challenge string

	// Audit is called with a record of every change before the change is made;
	// see [AuditRecord]. If it returns an error, the change is not made. Nil
	// means that changes are not recorded.
	Audit func(context.Context, AuditRecord) error

	// MaxWebhooks bounds a tenant's webhooks when one is created here. 0 means
	// 100; below 0 means that only webhook.Config.MaxWebhooks applies.
	MaxWebhooks int
	// Limits bounds tests, resends and replays, which make the portal send.
	Limits Limits

	// BasePath is the path of the portal, such as "/settings/webhooks/", or
	// "/accounts/{account}/webhooks/", where {account} matches any one segment.
	// Set it for routers other than net/http's and chi, which set
	// Request.Pattern, if they pass the path on unchanged. The notation of
	// other routers works too: {account:[0-9]+}, :account, and * or {rest...}
	// at the end. Paths outside BasePath are answered with 404. Empty, the
	// default, means Request.Pattern, and without a pattern that the path is
	// relative to the portal, as it is behind http.StripPrefix.
	BasePath string

	// Title is the heading of the pages. Empty means "Webhooks".
	Title string
	// TrustedOrigins are other origins, such as "https://app.example.com",
	// whose pages may write here with the visitor's cookies. Empty by default;
	// the portal's own origin is always trusted. Behind a proxy that rewrites
	// Host, add the public origin of the portal.
	TrustedOrigins []string
	// FrameAncestors are the origins whose pages may show the portal in a
	// frame. Empty by default.
	FrameAncestors []string

	// Logger gets the portal's own failures, with the ID of the request. Nil
	// means no logs.
	Logger *slog.Logger
	// Now returns the current time. Nil means time.Now. If webhook.Config.Now
	// is set, set the same function here.
	Now func() time.Time
}

// EventType is one entry of the catalogue.
type EventType struct {
	Name        string // dotted, such as "order.paid"
	Description string // one sentence for customers
	// Sample is the data of a test event and of the documentation: a value that
	// encodes to a JSON object, see webhook.Event.Data. Nil means a greeting.
	Sample any
}

// BuiltinEventTypes returns the catalogue of the event types that the library
// itself defines (agent.action, agent.message and user.message), for a host that
// adds its own.
func BuiltinEventTypes() []EventType {
	agent := webhook.Ref{ID: "agent_1", Name: "Ada"}
	return []EventType{
		{
			webhook.TypeAgentAction, "The agent did something, such as running a tool.",
			webhook.AgentAction{Agent: agent, Room: "r0omHash", Action: "WARP_EXECUTE", Content: `{"status":"done"}`},
		},
		{
			webhook.TypeAgentMessage, "The agent said something.",
			webhook.AgentMessage{Agent: agent, Room: "r0omHash", Content: "Hello! How can I help?"},
		},
		{
			webhook.TypeUserMessage, "A user said something to the agent.",
			webhook.UserMessage{
				Agent: agent, User: webhook.Ref{ID: "user_1", Name: "Bob"},
				Room: webhook.Ref{ID: "room_1", Name: "Support"}, Content: "Where is my order?",
			},
		},
	}
}

// server is the handler of the portal.
type server struct {
	d       *webhook.Dispatcher
	cfg     Config
	log     *slog.Logger
	types   []eventType
	guard   guard
	budgets budgets
	routes  []route
	base    mount // of Config.BasePath; nil where it is not set
}

// eventType is an entry of the catalogue, checked and encoded.
type eventType struct {
	Name, Description string
	Sample            []byte // canonical JSON object
	data              any    // nil: the greeting of SendTest
}

// challenge matches a scheme with parameters that cannot break out of the
// WWW-Authenticate header.
var challenge = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+( [\\x20-\\x7e]+)?$")

// New returns the portal over a dispatcher. The dispatcher need not run in this
// process. New returns an error if d or Config.Access is nil, if an event type
// has an invalid name or a sample that is not a JSON object, or if another
// field of cfg is invalid. The error has no sentinel to test for.
//
// Mount the handler at a path that ends with a slash; see Config.BasePath.
// Bodies of requests may be 1 MiB at most. The API describes itself at
// api/openapi.json, below that path.
//
// The handler is safe for concurrent use and starts no goroutines of its own.
func New(d *webhook.Dispatcher, cfg Config) (http.Handler, error) {
	s, err := newServer(d, cfg)
	if err != nil {
		return nil, fmt.Errorf("portal: new: %w", err)
	}
	return s, nil
}

func newServer(d *webhook.Dispatcher, cfg Config) (*server, error) {
	switch {
	case d == nil:
		return nil, errors.New("dispatcher is nil")
	case cfg.Access == nil:
		return nil, errors.New("config: Access is required: without it everybody could manage everybody's webhooks")
	}
	cfg.TrustedOrigins, cfg.FrameAncestors = slices.Clone(cfg.TrustedOrigins), slices.Clone(cfg.FrameAncestors)
	if cfg.Title == "" {
		cfg.Title = "Webhooks"
	}
	if cfg.MaxWebhooks == 0 {
		cfg.MaxWebhooks = 100
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.EventTypes == nil {
		cfg.EventTypes = BuiltinEventTypes()
	}
	if cfg.Challenge == "" {
		cfg.Challenge = `Session realm="webhooks"`
	}
	cfg.Limits = cfg.Limits.withDefaults()

	s := &server{d: d, cfg: cfg, log: cfg.Logger}
	var errs []error
	var err error
	if s.types, err = catalogue(d, cfg.EventTypes); err != nil {
		errs = append(errs, err)
	}
	if s.guard, err = newGuard(cfg.TrustedOrigins, cfg.FrameAncestors); err != nil {
		errs = append(errs, err)
	}
	if !challenge.MatchString(cfg.Challenge) {
		errs = append(errs, fmt.Errorf("config: Challenge: must be a scheme and its parameters such as `Bearer realm=\"example\"`, got %q", cut(cfg.Challenge)))
	}
	if s.base, err = parseBasePath(cfg.BasePath); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.budgets.limits = cfg.Limits
	s.routes = slices.Concat(s.apiRoutes(), s.pageRoutes())
	return s, nil
}

// catalogue checks and encodes the event types as if an event of each were
// published.
func catalogue(d *webhook.Dispatcher, types []EventType) ([]eventType, error) {
	var errs []error
	out := make([]eventType, 0, len(types))
	for i, t := range types {
		data := t.Sample
		if data == nil {
			data = struct {
				Test bool `json:"test"`
			}{true}
		}
		req, err := d.Prepare(webhook.Event{Tenant: "catalogue", Type: t.Name, Data: data})
		if err != nil {
			errs = append(errs, fmt.Errorf("config: EventTypes[%d]: %w", i, err))
			continue
		}
		if slices.ContainsFunc(out, func(o eventType) bool { return o.Name == t.Name }) {
			errs = append(errs, fmt.Errorf("config: EventTypes[%d]: %q is there twice", i, t.Name))
			continue
		}
		out = append(out, eventType{Name: t.Name, Description: t.Description, Sample: req.Event.Data, data: t.Sample})
	}
	return out, errors.Join(errs...)
}

// now returns the time in UTC.
func (s *server) now() time.Time { return s.cfg.Now().UTC() }
