package interop

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/seed68722ecd/webhook"
)

// A receiver is a library somewhere behind an URL.
type receiver struct {
	name string
	url  func(secret string) string // for a secret of that name
}

// receivers returns every Standard Webhooks library over the protocols it is
// reached by. set gives them a secret under a name.
func receivers(t *testing.T, p *peers) (all []receiver, set func(name, secret string)) {
	t.Helper()
	for _, library := range []string{"standardwebhooks", "svix", "svix1"} {
		for _, protocol := range []string{"http", "https", "http2"} {
			all = append(all, receiver{library + " for Node over " + protocol, func(secret string) string {
				return p.url(protocol, library, secret)
			}})
		}
	}
	goURL, setGo := goLibrary(t)
	all = append(all, receiver{"standard-webhooks for Go", func(secret string) string { return goURL + "/" + secret }})
	return all, func(name, secret string) {
		p.set(t, name, secret)
		setGo(name, secret)
	}
}

// goLibrary serves with the Go library of Standard Webhooks.
func goLibrary(t *testing.T) (url string, set func(name, secret string)) {
	t.Helper()
	var secrets sync.Map
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		secret, _ := secrets.Load(strings.Split(r.URL.Path, "/")[1])
		wh, err := standardwebhooks.NewWebhook(secret.(string))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if err := wh.Verify(body, r.Header); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func(name, secret string) { secrets.Store(name, secret) }
}

// Every library takes every delivery with the one secret that the customer was
// shown, and refuses a changed body and a copy that comes too late.
func TestLibrariesAcceptWithTheSameSecret(t *testing.T) {
	t.Parallel()
	p := startPeers(t)
	s := newSender(t, p.roots, webhook.Config{})
	all, set := receivers(t, p)
	_, secret := s.hook(all[0].url("one"), "") // generated, as for a new customer
	set("one", secret)
	hooks := make([]webhook.Webhook, len(all))
	for i, r := range all {
		hooks[i], _ = s.hook(r.url("one")+"/again", secret)
	}
	n := s.publishAll(append(corpus(t)[:50], newGenerator(3).payloads(generated(50))...))
	s.deliver()
	for i, r := range all {
		s.wantAccepted(r.name, hooks[i], n)
		sent := s.sentTo(hooks[i].URL)
		for k, req := range sent[:min(len(sent), 10)] {
			status, answer := again(t, p.roots, req.flipped((k*7919)%len(req.body)))
			if status != http.StatusUnauthorized || !strings.Contains(strings.ToLower(answer), "no matching signature") {
				t.Errorf("%s, with a flipped bit: %d %q", r.name, status, answer)
			}
		}
		for _, c := range []struct {
			off    time.Duration
			status int
			reason string
		}{
			{-4 * time.Minute, 200, ""},
			{4 * time.Minute, 200, ""},
			{-6 * time.Minute, 401, "message timestamp too old"},
			{6 * time.Minute, 401, "message timestamp too new"},
		} {
			status, answer := again(t, p.roots, signedAt(t, sent[0], time.Now().Add(c.off), secret))
			if status != c.status || !strings.Contains(strings.ToLower(answer), c.reason) {
				t.Errorf("%s, signed at %v: %d %q, want %d %q", r.name, c.off, status, answer, c.status, c.reason)
			}
		}
	}
}

// signedAt is the request as it would have been signed at another time.
func signedAt(t *testing.T, r request, at time.Time, secret string) request {
	t.Helper()
	r.header = r.header.Clone()
	r.header.Del("webhook-signature")
	r.header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	m := webhook.Message{ID: r.header.Get("webhook-id"), Time: at, Body: r.body}
	if err := (webhook.StandardSigner{}).Sign(r.header, m, []webhook.Secret{webhook.NewSecret(secret)}); err != nil {
		t.Fatal(err)
	}
	return r
}

// During a rotation receivers with the old secret and receivers with the new one
// accept the same deliveries; after it only the new one does.
func TestLibrariesAcceptDuringARotation(t *testing.T) {
	t.Parallel()
	p := startPeers(t)
	s := newSender(t, p.roots, webhook.Config{})
	all, set := receivers(t, p)
	_, old := s.hook(all[0].url("old"), "")
	_, fresh := s.hook(all[0].url("new"), "")
	set("old", old)
	set("new", fresh)
	// rotated returns webhooks at every receiver that holds the named secret.
	rotated := func(held, when string, r webhook.Rotation) (hooks []webhook.Webhook) {
		for _, at := range all {
			w, _ := s.hook(at.url(held)+"/"+when, old)
			w, _, err := s.RotateSecret(t.Context(), tenant, w.ID, r)
			if err != nil {
				t.Fatal(err)
			}
			hooks = append(hooks, w)
		}
		return hooks
	}
	during := webhook.Rotation{Secret: fresh}
	after := webhook.Rotation{Secret: fresh, Overlap: new(time.Duration)} // which ends at once
	holdOld, holdNew := rotated("old", "during", during), rotated("new", "during", during)
	keepOld, changed := rotated("old", "after", after), rotated("new", "after", after)

	s.publish(webhook.AgentMessage{Content: "hello"})
	s.deliver()
	for i, r := range all {
		s.wantAccepted(r.name+" with the old secret", holdOld[i], 1)
		s.wantAccepted(r.name+" with the new secret", holdNew[i], 1)
		s.wantRefused(r.name+" with the old secret after the overlap", keepOld[i], "atching signature")
		s.wantAccepted(r.name+" with the new secret after the overlap", changed[i], 1)
		sent := s.sentTo(holdOld[i].URL)[0]
		if n := len(strings.Fields(sent.header.Get("webhook-signature"))); n != 2 {
			t.Errorf("%d signatures during a rotation, want 2", n)
		}
		if status, _ := again(t, p.roots, sent.flipped(3)); status != http.StatusUnauthorized {
			t.Errorf("%s: a flipped bit during a rotation was answered %d", r.name, status)
		}
	}
}

// A customer brings the secret of another sender's along, in any of the forms
// that are in use.
func TestLibrariesAcceptAnImportedSecret(t *testing.T) {
	t.Parallel()
	p := startPeers(t)
	s := newSender(t, p.roots, webhook.Config{})
	all, set := receivers(t, p)
	const imported = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD" // 24 bytes, of the standard's own example
	set("imported", imported)
	hooks := make([]webhook.Webhook, len(all))
	for i, r := range all {
		hooks[i], _ = s.hook(r.url("imported"), imported)
	}
	s.publish(webhook.AgentAction{Action: "WARP_EXECUTE", Content: `{"a":[1,"\u2028"]}`})
	s.deliver()
	for i, r := range all {
		s.wantAccepted(r.name, hooks[i], 1)
	}
}

// A webhook that does not verify certificates reaches a receiver whose
// certificate nobody has signed, with the library's own client; one that does
// verify does not.
func TestUnverifiedTLSWithTheLibrarysOwnClient(t *testing.T) {
	t.Parallel()
	p := startPeers(t)
	for _, c := range []struct {
		protocol  string
		verifyTLS bool
		class     webhook.ErrorClass
	}{
		{"https", false, ""},
		{"http2", false, ""},
		{"https", true, webhook.ClassTLS},
	} {
		d, last := ownClient(t)
		w, secret, err := d.CreateWebhook(t.Context(), tenant, webhook.WebhookSpec{
			Name: "x", URL: p.url(c.protocol, "standardwebhooks", "own"), Events: []string{"*"}, VerifyTLS: &c.verifyTLS, MaxRetries: new(0),
		})
		if err != nil {
			t.Fatal(err)
		}
		p.set(t, "own", secret.Reveal())
		// The connection is new, so that nothing is there to break.
		if _, err := d.SendTest(t.Context(), tenant, w.ID, webhook.TestEvent{}); err != nil {
			t.Fatal(err)
		}
		if n, err := d.DeliverDue(t.Context()); n != 1 || err != nil {
			t.Fatalf("%d attempts, %v", n, err)
		}
		if a := last(); a.Class != c.class {
			t.Errorf("%s, verification %v: class %q, want %q (%s)", c.protocol, c.verifyTLS, a.Class, c.class, a.Error)
		} else if want := map[string]string{"https": "HTTP/1.1", "http2": "HTTP/2.0"}[c.protocol]; c.class == "" && string(a.ResponseBody) != "ok over "+want {
			t.Errorf("%s: answered %q", c.protocol, a.ResponseBody)
		}
	}
}
