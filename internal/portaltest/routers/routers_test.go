package routers

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	fiber3 "github.com/gofiber/fiber/v3"
	adaptor3 "github.com/gofiber/fiber/v3/middleware/adaptor"
	"github.com/gorilla/mux"
	"github.com/julienschmidt/httprouter"
	"github.com/labstack/echo/v4"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/portal"
)

// mounting is one way of hanging the portal into a router.
type mounting struct {
	name string
	base string // as browsers see it
	// bare says that the router leads the base without its slash to the portal too,
	// or redirects.
	bare  bool
	serve func(t *testing.T, d *webhook.Dispatcher, cfg portal.Config) string // its origin
}

// handler is a mounting under something that is an http.Handler.
func handler(name, base string, bare bool, build func(d *webhook.Dispatcher, cfg portal.Config) (http.Handler, error)) mounting {
	return mounting{name, base, bare, func(t *testing.T, d *webhook.Dispatcher, cfg portal.Config) string {
		t.Helper()
		h, err := build(d, cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}}
}

const at = "/accounts/acc_1/webhooks/"

// mountings are all that is tested. What stands in docs/portal.md stands here line
// by line; a test compares them.
var mountings = []mounting{
	handler("net/http", at, true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		mux := http.NewServeMux()
		h, err := portal.New(dispatcher, cfg)
		mux.Handle("/accounts/{account}/webhooks/", h)
		return mux, err
	}),
	handler("net/http, rest", at, false, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		mux := http.NewServeMux()
		h, err := portal.New(dispatcher, cfg)
		mux.Handle("/accounts/{account}/webhooks/{rest...}", h)
		return mux, err
	}),
	handler("net/http, base", at, true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		mux := http.NewServeMux()
		cfg.BasePath = "/accounts/{account}/webhooks/"
		h, err := portal.New(dispatcher, cfg)
		mux.Handle("/", h)
		return mux, err
	}),
	handler("net/http, stripped by hand", at, true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		mux := http.NewServeMux()
		h, err := portal.New(dispatcher, cfg)
		mux.HandleFunc("/accounts/{account}/webhooks/", func(w http.ResponseWriter, r *http.Request) {
			http.StripPrefix("/accounts/"+r.PathValue("account")+"/webhooks", h).ServeHTTP(w, r)
		})
		return mux, err
	}),
	handler("net/http, like a route, stripped and named", "/webhooks/", true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		cfg.BasePath = "/webhooks"
		h, err := portal.New(dispatcher, cfg)
		return http.StripPrefix("/webhooks", h), err
	}),
	handler("net/http, wildcards only", "/acc_1/webhooks/", true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		mux := http.NewServeMux()
		h, err := portal.New(dispatcher, cfg)
		mux.Handle("/{account}/{page}/", h)
		return mux, err
	}),
	handler("chi", at, true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		router := chi.NewRouter()
		h, err := portal.New(dispatcher, cfg)
		router.Mount("/accounts/{account}/webhooks", h)
		return router, err
	}),
	handler("chi, in a subrouter, with a regexp", at, true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		router := chi.NewRouter()
		h, err := portal.New(dispatcher, cfg)
		router.Route("/accounts/{account:[^/]+}", func(r chi.Router) { r.Mount("/webhooks", h) })
		return router, err
	}),
	handler("chi, slashes redirected", at, true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		router := chi.NewRouter()
		router.Use(chimiddleware.RedirectSlashes)
		h, err := portal.New(dispatcher, cfg)
		router.Mount("/accounts/{account}/webhooks", h)
		return router, err
	}),
	handler("chi, stripped", "/webhooks/", true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		router := chi.NewRouter()
		h, err := portal.New(dispatcher, cfg)
		router.Mount("/webhooks", http.StripPrefix("/webhooks", h))
		return router, err
	}),
	handler("gin", at, true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		gin.SetMode(gin.ReleaseMode)
		router := gin.New()
		cfg.BasePath = "/accounts/:account/webhooks/"
		h, err := portal.New(dispatcher, cfg)
		router.Any("/accounts/:account/webhooks/*path", gin.WrapH(h))
		return router, err
	}),
	handler("echo", at, false, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		router := echo.New()
		cfg.BasePath = "/accounts/:account/webhooks/"
		h, err := portal.New(dispatcher, cfg)
		router.Any("/accounts/:account/webhooks/*", echo.WrapHandler(h))
		return router, err
	}),
	handler("gorilla/mux", at, false, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		router := mux.NewRouter()
		cfg.BasePath = "/accounts/{account}/webhooks/"
		h, err := portal.New(dispatcher, cfg)
		router.PathPrefix("/accounts/{account}/webhooks/").Handler(h)
		return router, err
	}),
	handler("gorilla/mux, stripped", "/settings/webhooks/", true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		router := mux.NewRouter()
		h, err := portal.New(dispatcher, cfg)
		router.PathPrefix("/settings/webhooks").Handler(http.StripPrefix("/settings/webhooks", h))
		return router, err
	}),
	handler("httprouter", at, true, func(dispatcher *webhook.Dispatcher, cfg portal.Config) (http.Handler, error) {
		router := httprouter.New()
		cfg.BasePath = "/accounts/:account/webhooks/"
		h, err := portal.New(dispatcher, cfg)
		for _, method := range []string{"GET", "HEAD", "POST", "PATCH", "DELETE"} {
			router.Handler(method, "/accounts/:account/webhooks/*path", h)
		}
		return router, err
	}),
	{"fiber", at, true, func(t *testing.T, dispatcher *webhook.Dispatcher, cfg portal.Config) string {
		router := fiber.New(fiber.Config{DisableStartupMessage: true})
		cfg.BasePath = "/accounts/:account/webhooks/"
		h, err := portal.New(dispatcher, cfg)
		router.All("/accounts/:account/webhooks/*", adaptor.HTTPHandler(h))
		if err != nil {
			t.Fatal(err)
		}
		return listen(t, router.Listener, router.Shutdown)
	}},
	{"fiber 3", at, true, func(t *testing.T, dispatcher *webhook.Dispatcher, cfg portal.Config) string {
		router := fiber3.New()
		cfg.BasePath = "/accounts/:account/webhooks/"
		h, err := portal.New(dispatcher, cfg)
		router.All("/accounts/:account/webhooks/*", adaptor3.HTTPHandler(h))
		if err != nil {
			t.Fatal(err)
		}
		return listen(t, func(ln net.Listener) error {
			return router.Listener(ln, fiber3.ListenConfig{DisableStartupMessage: true})
		}, router.Shutdown)
	}},
}

// listen serves on a free port until the test ends.
func listen(t *testing.T, serve func(net.Listener) error, shutdown func() error) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serve(ln) }()
	t.Cleanup(func() {
		if err := shutdown(); err != nil {
			t.Error(err)
		}
		ln.Close()
		<-done
	})
	return "http://" + ln.Addr().String()
}

// What docs/portal.md says of a router is what is tested here, line by line.
func TestTheDocumentSaysWhatIsTested(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/portal.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("routers_test.go")
	if err != nil {
		t.Fatal(err)
	}
	tested := make(map[string]bool)
	for line := range strings.Lines(string(source)) {
		tested[strings.TrimSpace(line)] = true
	}
	_, section, ok := strings.Cut(string(doc), "<!-- nocompile: internal/portaltest/routers compiles and tests each line -->\n```go\n")
	section, _, ok2 := strings.Cut(section, "```")
	if !ok || !ok2 {
		t.Fatal("docs/portal.md has no block about routers")
	}
	lines := 0
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "//") {
			continue
		}
		lines++
		if !tested[line] {
			t.Errorf("docs/portal.md has a line that no test has: %s", line)
		}
	}
	if lines < 3*6 {
		t.Errorf("the block has %d lines", lines)
	}
}
