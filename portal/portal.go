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

// Config adjusts the portal. Access is required; everything else has a default.
type Config struct {
	// Access says whose webhooks a request is about and what it may do. It gets
	// the request as the handler got it and is called once for each, from many
	// goroutines at once. Required.
	//
	// ErrUnauthenticated is answered with 401, ErrForbidden, or an Access without
	// a tenant, with 403, any other error with 500 and an entry in the log. To
	// send people to a login page instead, do so in a handler around this one.
	Access func(*http.Request) (Access, error)

	// EventTypes is the catalogue that customers choose from, with a sample of
	// each for "send test event". Nil means [BuiltinEventTypes]. It restricts
	// nothing: a webhook may select types that are not in it.
	EventTypes []EventType

	// Challenge is the WWW-Authenticate of answers with 401, which says how to log
	// in: a scheme and its parameters, such as `Bearer realm="example"`. Empty means
	// `Session realm="webhooks"`, of which browsers make nothing. A handler in front
	// of the portal may set the header instead.
	Challenge string

	// Audit is told of every change before it is made; see [AuditRecord]. When
	// it fails the change is not made. Nil means that nobody is told.
	Audit func(context.Context, AuditRecord) error

	// MaxWebhooks bounds the webhooks a tenant can have by creating them here. 0
	// means 100; below 0 leaves it to webhook.Config.MaxWebhooks.
	MaxWebhooks int
	// Limits bounds what makes traffic: tests, resends, replays.
	Limits Limits

	// BasePath is the path of the portal where a router that is not net/http's (or
	// chi, which says it in Request.Pattern too) leads to it and leaves the path
	// as it is, such as "/settings/webhooks/", or "/accounts/{account}/webhooks/",
	// in which {account} stands for any one segment. The notation of routers is
	// taken as well: {account:[0-9]+}, :account, and * or {rest...} at the end. What
	// does not lie below it is answered with 404. Empty, the default, means the
	// pattern in Request.Pattern, and without one that the path begins below the
	// portal, as it does behind http.StripPrefix.
	BasePath string

	// Title heads the pages. Empty means "Webhooks".
	Title string
	// TrustedOrigins are other origins, such as "https://app.example.com", whose
	// pages may write here with the visitor's cookies. None by default; the
	// portal's own origin needs no mention. A backend that sees another Host
	// than browsers do, behind a proxy that rewrites it, names its public origin.
	TrustedOrigins []string
	// FrameAncestors are the origins whose pages may show the portal in a
	// frame. None by default.
	FrameAncestors []string

	// Logger gets what went wrong on this side, with the ID of the request. Nil
	// means silence.
	Logger *slog.Logger
	// Now is the clock that times are compared with. Nil means time.Now. Give the
	// one of webhook.Config.Now where that is set.
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

// server is the portal.
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

// challenge is what WWW-Authenticate may hold, as far as it can do harm.
var challenge = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+( [\\x20-\\x7e]+)?$")

// New returns the portal over a dispatcher. The dispatcher need not run in this
// process. New returns an error when d or Config.Access is nil, an event type of
// cfg is not a name that can be published or its sample no JSON object, or an
// origin is not one. It wraps nothing that a program could act on.
//
// Mount it at a path that ends with a slash; see Config.BasePath. Requests have a body of 1 MiB at
// most. The API describes itself at api/openapi.json, below that path.
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

// catalogue checks the event types as publishing an event of each would.
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

// now is the time, in UTC.
func (s *server) now() time.Time { return s.cfg.Now().UTC() }
