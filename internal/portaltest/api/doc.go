// Package api tests the portal's JSON API as its clients see it: over HTTP, on the
// stores that backends use, with every request and every answer held against the
// OpenAPI document that the portal serves.
package api
