package browser

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// receiver is a customer's endpoint that answers as it is told and remembers
// what it got.
type receiver struct {
	server *httptest.Server

	mu      sync.Mutex
	got     []gotRequest
	status  int
	headers map[string]string
	body    string
	hold    chan struct{} // requests wait for it to be closed; nil when they do not
}

// gotRequest is a request as it arrived.
type gotRequest struct {
	Path    string
	Headers http.Header
	Body    string
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{status: http.StatusOK, body: `{"received":true}`, headers: map[string]string{"Content-Type": "application/json"}}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) url() string { return r.server.URL + "/hook" }

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.got = append(r.got, gotRequest{req.URL.Path, req.Header, string(body)})
	status, headers, answer, hold := r.status, r.headers, r.body, r.hold
	r.mu.Unlock()
	if hold != nil {
		<-hold
	}
	for k, v := range headers {
		w.Header().Set(k, v)
	}
	w.WriteHeader(status)
	io.WriteString(w, answer)
}

// answer says how to answer from now on; with hang, not before the next call.
func (r *receiver) answer(status int, headers map[string]string, body string, hang bool) {
	r.release()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.headers, r.body = status, headers, body
	if hang {
		r.hold = make(chan struct{})
	}
}

// release lets requests that wait go on.
func (r *receiver) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hold != nil {
		close(r.hold)
		r.hold = nil
	}
}

func (r *receiver) requests() []gotRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]gotRequest{}, r.got...)
}
