package portal

import (
	"net/http"
	"slices"
)

// pageRoutes are the routes of the pages. Every change is a POST, and risky
// changes have a confirmation page of their own, so that the portal works
// without scripts.
func (s *server) pageRoutes() []route {
	page := func(method, pattern string, n need, h func(http.ResponseWriter, *http.Request, Access)) route {
		return route{method: method, pattern: pattern, kind: kindPage, need: n, handler: h}
	}
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		page(get, "", needView, s.listPage),
		page(get, "new", needManage, s.newPage),
		page(post, "new", needManage, s.createPage),
		page(get, "webhooks/{id}", needView, s.webhookPage),
		page(get, "webhooks/{id}/edit", needManage, s.editPage),
		page(post, "webhooks/{id}/edit", needManage, s.savePage),
		page(post, "webhooks/{id}/enable", needManage, s.enablePage),
		page(get, "webhooks/{id}/disable", needManage, s.askDisablePage),
		page(post, "webhooks/{id}/disable", needManage, s.disablePage),
		page(get, "webhooks/{id}/delete", needManage, s.askDeletePage),
		page(post, "webhooks/{id}/delete", needManage, s.deletePage),
		page(get, "webhooks/{id}/secret", needManage, s.askRotatePage),
		page(post, "webhooks/{id}/secret", needManage, s.rotatePage),
		page(get, "webhooks/{id}/test", needManage, s.askTestPage),
		page(post, "webhooks/{id}/test", needManage, s.sendTestPage),
		page(get, "webhooks/{id}/replay", needManage, s.replayPage),
		page(post, "webhooks/{id}/replay", needManage, s.replayStepPage),
		page(get, "deliveries/{id}", needView, s.deliveryPage),
		page(post, "deliveries/{id}/resend", needManage, s.resendPage),
		{method: get, pattern: "assets/{file}", kind: kindAsset, need: needNothing, handler: s.serveAsset},
	}
}

// problemView is an error page.
type problemView struct {
	Heading, Detail string
	Fields          []problemField
	Status          int
	Retry           int // seconds after which to try again; 0 if retrying does not help
}

// problemHeadings are the headings of error pages by status.
var problemHeadings = map[int]string{
	http.StatusBadRequest:            "That could not be understood",
	http.StatusUnauthorized:          "Please log in",
	http.StatusForbidden:             "You cannot do that here",
	http.StatusNotFound:              "Page not found",
	http.StatusMethodNotAllowed:      "That is not possible here",
	http.StatusConflict:              "That is not possible right now",
	http.StatusPreconditionFailed:    "Someone else was faster",
	http.StatusRequestEntityTooLarge: "That is too large",
	http.StatusUnsupportedMediaType:  "That could not be understood",
	http.StatusTooManyRequests:       "That was a little fast",
	http.StatusServiceUnavailable:    "Too busy at the moment",
}

// pageProblem answers a refused request with an error page, which shows only
// the contents of p.
func (s *server) pageProblem(w http.ResponseWriter, r *http.Request, p problem) {
	heading := problemHeadings[p.Status]
	if heading == "" {
		heading = "Something went wrong"
	}
	view := s.page(r, Access{}, heading, crumb{"", heading})
	view.Done = ""
	fields := slices.Clone(p.Errors)
	view.V = problemView{Heading: heading, Detail: p.Detail, Fields: fields, Status: p.Status, Retry: int(p.retryAfter.Seconds() + 0.999)}
	s.show(w, r, p.Status, "problem", view)
}

// refusePage answers with the error page of err.
func (s *server) refusePage(w http.ResponseWriter, r *http.Request, err error) {
	s.fail(w, r, kindPage, err)
}
