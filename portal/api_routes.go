package portal

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strconv"
)

// openAPI describes the API. Tests compare it with the routes below, and check
// every request and answer against it.
//
//go:embed openapi.json
var openAPI []byte

// openAPITag is the ETag of the description.
var openAPITag = contentTag(openAPI)

// contentTag returns an ETag for content that never changes while the program
// runs.
func contentTag(content []byte) string {
	sum := sha256.Sum256(content)
	return etag(hex.EncodeToString(sum[:8]))
}

// apiHandler answers a request. It returns an error only before it has written
// anything.
type apiHandler func(w http.ResponseWriter, r *http.Request, a Access) error

// apiRoutes are the routes of the JSON API.
func (s *server) apiRoutes() []route {
	var routes []route
	add := func(method, pattern string, n need, h apiHandler) {
		routes = append(routes, route{method, "api/" + pattern, kindAPI, n, func(w http.ResponseWriter, r *http.Request, a Access) {
			if err := h(w, r, a); err != nil {
				s.fail(w, r, kindAPI, err)
			}
		}})
	}
	add(http.MethodGet, "openapi.json", needView, apiDocument)
	add(http.MethodGet, "event-types", needView, s.apiEventTypes)
	add(http.MethodGet, "webhooks", needView, s.apiListWebhooks)
	add(http.MethodPost, "webhooks", needManage, s.apiCreateWebhook)
	add(http.MethodGet, "webhooks/{id}", needView, s.apiGetWebhook)
	add(http.MethodPatch, "webhooks/{id}", needManage, s.apiUpdateWebhook)
	add(http.MethodDelete, "webhooks/{id}", needManage, s.apiDeleteWebhook)
	add(http.MethodPost, "webhooks/{id}/enable", needManage, s.apiEnableWebhook)
	add(http.MethodPost, "webhooks/{id}/disable", needManage, s.apiDisableWebhook)
	add(http.MethodPost, "webhooks/{id}/rotate-secret", needManage, s.apiRotateSecret)
	add(http.MethodPost, "webhooks/{id}/test", needManage, s.apiTest)
	add(http.MethodPost, "webhooks/{id}/replay", needManage, s.apiReplay)
	add(http.MethodGet, "webhooks/{id}/deliveries", needView, s.apiListDeliveries)
	add(http.MethodGet, "webhooks/{id}/stats", needView, s.apiStats)
	add(http.MethodGet, "deliveries/{id}", needView, s.apiGetDelivery)
	add(http.MethodPost, "deliveries/{id}/resend", needManage, s.apiResend)
	return routes
}

// apiDocument answers GET openapi.json.
func apiDocument(w http.ResponseWriter, r *http.Request, _ Access) error {
	if done, err := notModified(w, r, openAPITag); done || err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(openAPI)))
	_, _ = w.Write(openAPI) // an error means that the client has gone
	return nil
}

// answerJSON answers with v as JSON.
func answerJSON(w http.ResponseWriter, status int, v any) error {
	writeJSON(w, status, "application/json", v)
	return nil
}

// deref returns *p, or the zero value if p is nil.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
