package webhook_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/guard"
)

// exampleReceiver is the customer's side of the examples: a server on this
// machine that prints each request, and the configuration that lets a dispatcher
// reach it. A real receiver needs no AllowHTTP and no Guard.
func exampleReceiver(handle func(r *http.Request, body []byte) (status int)) (*httptest.Server, webhook.Config) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(handle(r, body))
	}))
	return server, webhook.Config{
		AllowHTTP: true,
		Guard:     guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}
}
