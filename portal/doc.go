// Package portal is the page on which customers manage their webhooks, and the
// JSON API behind it, as one http.Handler that a backend mounts behind its own
// login:
//
//	h, err := portal.New(dispatcher, portal.Config{
//		Access: func(r *http.Request) (portal.Access, error) {
//			user, err := sessions.User(r) // the host's own
//			if err != nil {
//				return portal.Access{}, portal.ErrUnauthenticated
//			}
//			return portal.Access{Tenant: user.Account, Actor: user.Email, Manage: user.IsAdmin}, nil
//		},
//	})
//	mux.Handle("/webhooks/", h)
//
// It works under any path, with or without wildcards, and with or without
// http.StripPrefix. With a router that does not set Request.Pattern, set
// Config.BasePath. The page is at the root of the mount and the API under api/,
// described by api/openapi.json.
//
// # Tenants and rights
//
// Config.Access maps each request to a tenant and says whether the visitor may
// manage or only view. New refuses a Config without it. The tenant comes only
// from Access, never from the path, body or a header. A request for another
// tenant's webhook or delivery gets exactly the answer for an unknown ID.
//
// # Refused requests
//
// The portal refuses writes from another origin, bodies of another form than
// the route takes, and more tests, resends and replays than Config.Limits
// allows. Every answer carries a Content-Security-Policy that allows resources
// of the portal's own origin only, and forbids framing unless
// Config.FrameAncestors permits it. A secret is shown only in the answer to the
// request that created or rotated it; values of custom headers are never shown.
package portal
