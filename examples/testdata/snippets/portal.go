package snippet

import (
	"net/http"

	"github.com/seed68722ecd/webhook"
)

var (
	dispatcher *webhook.Dispatcher
	mux        *http.ServeMux
)

// Order is the host's own.
type Order struct {
	ID    string  `json:"id"`
	Total float64 `json:"total"`
}

// sessions is the host's login.
var sessions struct {
	User func(*http.Request) (struct {
		Account, Email string
		IsAdmin        bool
	}, error)
}
