package portal

import (
	"net/http"
	"time"

	"github.com/seed68722ecd/webhook"
)

// secretView is the page that shows a secret.
type secretView struct {
	Root     string
	Hook     hookView
	Secret   string
	Created  bool // the webhook is new; otherwise the secret replaces another
	Imported bool // the visitor entered the secret
	AtOnce   bool // the old secret no longer signs
	Overlap  string
	Snippets []snippet
}

// snippet is an example receiver in one language.
type snippet struct {
	ID, Name, Code string
}

// snippets are the example receivers shown beside a secret. Tests run them.
var snippets = []snippet{
	{"node", "Node.js", readSnippet("node.js")},
	{"go", "Go", readSnippet("go.go.txt")},
	{"python", "Python", readSnippet("python.py")},
}

func readSnippet(name string) string {
	text, err := templateFiles.ReadFile("templates/snippets/" + name)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// showSecret answers the POST that made a secret with the only page that ever
// shows it. It does not redirect: the secret has no address of its own.
func (s *server) showSecret(w http.ResponseWriter, r *http.Request, a Access, hook *webhook.Webhook, secret webhook.Secret, v secretView) {
	title := "New secret"
	if v.Created {
		title = "Webhook created"
	}
	p := s.page(r, a, title, crumb{"webhooks/" + hook.ID, hook.Name}, crumb{"", title})
	v.Root, v.Hook, v.Snippets = p.Root, s.hookView(a, hook), snippets
	overlap := s.d.Policy().SecretOverlap
	v.Overlap, v.AtOnce = span(overlap), v.AtOnce || overlap == 0
	if !v.Imported {
		v.Secret = secret.Reveal()
	}
	p.V = v
	s.show(w, r, http.StatusOK, "secret", p)
}

// askView is a page that asks for confirmation or options before a change.
type askView struct {
	Root  string
	Hook  hookView
	Types []typeOption // of the catalogue, for a test event
	Error string       // why the change was refused
	Chose string       // the earlier choice, shown again
	// Overlap is how long the old secret goes on signing; empty if it stops at
	// once.
	Overlap string
}

// ask shows a page that asks before a change of a webhook.
func (s *server) ask(w http.ResponseWriter, r *http.Request, a Access, status int, name, title string, fill func(*askView)) {
	hook, err := s.d.Webhook(r.Context(), a.Tenant, r.PathValue("id"))
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	p := s.page(r, a, title+" "+hook.Name, crumb{"webhooks/" + hook.ID, hook.Name}, crumb{"", title})
	v := askView{Root: p.Root, Hook: s.hookView(a, &hook)}
	if fill != nil {
		fill(&v)
	}
	p.V = v
	s.show(w, r, status, name, p)
}

// askRotatePage explains the effect of a rotation on the receiver.
func (s *server) askRotatePage(w http.ResponseWriter, r *http.Request, a Access) {
	s.ask(w, r, a, http.StatusOK, "rotate", "Rotate secret", func(v *askView) {
		if overlap := s.d.Policy().SecretOverlap; overlap > 0 {
			v.Overlap = span(overlap)
		}
	})
}

// rotatePage rotates the secret and shows the new one, in this answer only.
func (s *server) rotatePage(w http.ResponseWriter, r *http.Request, a Access) {
	if err := parseForm(r); err != nil {
		s.refusePage(w, r, err)
		return
	}
	var rot webhook.Rotation
	atOnce := r.PostForm.Get("old") == "stop"
	if atOnce {
		rot.Overlap = new(time.Duration(0))
	}
	hook, secret, err := s.rotateSecret(r.Context(), a, r.PathValue("id"), rot)
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	s.showSecret(w, r, a, &hook, secret, secretView{AtOnce: atOnce})
}

// enablePage enables a webhook.
func (s *server) enablePage(w http.ResponseWriter, r *http.Request, a Access) {
	id := r.PathValue("id")
	if _, err := s.setActive(r.Context(), a, id, 0, true, ""); err != nil {
		s.refusePage(w, r, err)
		return
	}
	redirect(w, r, "webhooks/"+id+"?done=enabled")
}

// askDisablePage asks for the reason of disabling.
func (s *server) askDisablePage(w http.ResponseWriter, r *http.Request, a Access) {
	s.ask(w, r, a, http.StatusOK, "disable", "Disable", nil)
}

// disablePage disables a webhook.
func (s *server) disablePage(w http.ResponseWriter, r *http.Request, a Access) {
	if err := parseForm(r); err != nil {
		s.refusePage(w, r, err)
		return
	}
	id, reason := r.PathValue("id"), r.PostForm.Get("reason")
	if _, err := s.setActive(r.Context(), a, id, 0, false, reason); err != nil {
		if p := problemOf(err); len(p.Errors) > 0 {
			s.ask(w, r, a, p.Status, "disable", "Disable", func(v *askView) { v.Chose, v.Error = reason, p.Errors[0].Reason })
			return
		}
		s.refusePage(w, r, err)
		return
	}
	redirect(w, r, "webhooks/"+id+"?done=disabled")
}

// askDeletePage asks for confirmation.
func (s *server) askDeletePage(w http.ResponseWriter, r *http.Request, a Access) {
	s.ask(w, r, a, http.StatusOK, "delete", "Delete", nil)
}

// deletePage deletes a webhook if the form confirms it.
func (s *server) deletePage(w http.ResponseWriter, r *http.Request, a Access) {
	if err := parseForm(r); err != nil {
		s.refusePage(w, r, err)
		return
	}
	if r.PostForm.Get("sure") != "yes" {
		s.ask(w, r, a, http.StatusBadRequest, "delete", "Delete", func(v *askView) {
			v.Error = "Tick the box to say that you mean it."
		})
		return
	}
	if err := s.deleteWebhook(r.Context(), a, r.PathValue("id")); err != nil {
		s.refusePage(w, r, err)
		return
	}
	redirect(w, r, "?done=deleted")
}

// askTestPage lets the visitor choose the test event.
func (s *server) askTestPage(w http.ResponseWriter, r *http.Request, a Access) {
	s.askTest(w, r, a, http.StatusOK, "", "")
}

func (s *server) askTest(w http.ResponseWriter, r *http.Request, a Access, status int, chose, why string) {
	s.ask(w, r, a, status, "test", "Send test event", func(v *askView) {
		v.Chose, v.Error = chose, why
		for i := range s.types {
			t := &s.types[i]
			v.Types = append(v.Types, typeOption{Index: i, Name: t.Name, Description: t.Description, Sample: prettyJSON(t.Sample), Chosen: t.Name == chose})
		}
	})
}

// sendTestPage sends a test event and shows its delivery.
func (s *server) sendTestPage(w http.ResponseWriter, r *http.Request, a Access) {
	if err := parseForm(r); err != nil {
		s.refusePage(w, r, err)
		return
	}
	chose := r.PostForm.Get("type")
	d, err := s.sendTest(r.Context(), a, r.PathValue("id"), chose)
	if err != nil {
		switch p := problemOf(err); {
		case len(p.Errors) > 0:
			s.askTest(w, r, a, p.Status, chose, p.Errors[0].Reason)
		default:
			s.refusePage(w, r, err)
		}
		return
	}
	redirect(w, r, "deliveries/"+d.ID+"?done=test")
}
