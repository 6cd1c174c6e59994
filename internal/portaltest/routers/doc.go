// Package routers holds the tests that mount the portal under the routers that
// hosts use, as docs/portal.md says. It has no code of its own.
package routers
