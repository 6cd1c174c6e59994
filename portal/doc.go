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
// It works under any path, with wildcards and without, with http.StripPrefix and
// without; routers that do not say the path in Request.Pattern need it in
// Config.BasePath. The page is at the root of the mount, the API under api/,
// described by api/openapi.json.
//
// # Who may do what
//
// Config.Access maps each request to a tenant and says whether it may manage or
// only view. There is no portal without it: New refuses. The tenant comes from
// nowhere else, neither path nor body nor header, and what belongs to another
// tenant is answered exactly as what does not exist.
//
// # What it refuses
//
// Writes that come from another origin, bodies that are not what the route
// takes, and more tests, resends and replays than Config.Limits allows. Every
// answer carries a Content-Security-Policy that loads nothing from elsewhere, and
// cannot be framed. Secrets are shown in the answers to creating and rotating,
// and nowhere else; values of custom headers never.
package portal
