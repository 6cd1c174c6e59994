package portal

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/seed68722ecd/webhook"
)

// newPage shows the empty form.
func (s *server) newPage(w http.ResponseWriter, r *http.Request, a Access) {
	s.showForm(w, r, a, http.StatusOK, s.newForm())
}

// createPage creates a webhook and shows its secret, in this answer and never
// again. If the input is refused, it shows the form as typed, with the errors.
func (s *server) createPage(w http.ResponseWriter, r *http.Request, a Access) {
	if err := parseForm(r); err != nil {
		s.refusePage(w, r, err)
		return
	}
	f := s.readForm(r.PostForm)
	f.New = true
	for i := range f.Headers {
		f.Headers[i].Set = false // a new webhook has no stored value to keep
	}
	if r.PostForm.Get("op") == "add-header" {
		f.addRows(f.emptyRows + 1)
		s.showForm(w, r, a, http.StatusOK, f)
		return
	}
	set := f.settings()
	spec := webhook.WebhookSpec{
		Name: f.Name, URL: f.URL, Description: f.Description, Events: f.chosen, Headers: set.headers, Active: new(!f.Inactive),
		VerifyTLS: &set.verify, Timeout: &set.timeout, MaxRetries: &set.retries, RateLimit: set.rateLimit, Secret: f.Secret,
	}
	if len(f.Errors) > 0 {
		spec.MaxRetries = new(refuseIt)
	}
	hook, secret, err := s.createWebhook(r.Context(), a, spec)
	if err != nil {
		s.refuseForm(w, r, a, f, err)
		return
	}
	s.showSecret(w, r, a, &hook, secret, secretView{Created: true, Imported: f.Secret != ""})
}

// editPage shows the form of a webhook.
func (s *server) editPage(w http.ResponseWriter, r *http.Request, a Access) {
	hook, err := s.d.Webhook(r.Context(), a.Tenant, r.PathValue("id"))
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	s.showForm(w, r, a, http.StatusOK, s.formOf(&hook))
}

// savePage saves the settings, unless they have been changed since the form was
// made.
func (s *server) savePage(w http.ResponseWriter, r *http.Request, a Access) {
	hook, err := s.d.Webhook(r.Context(), a.Tenant, r.PathValue("id"))
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	if err := parseForm(r); err != nil {
		s.refusePage(w, r, err)
		return
	}
	f := s.readForm(r.PostForm)
	f.ID, f.WasOff = hook.ID, !hook.VerifyTLS
	if f.VerifyTLS == "" { // a form without the field leaves the setting as it is
		f.VerifyTLS = onOff(hook.VerifyTLS)
	}
	if r.PostForm.Get("op") == "add-header" {
		f.addRows(f.emptyRows + 1)
		s.showForm(w, r, a, http.StatusOK, f)
		return
	}
	set := f.settings()
	if f.Version <= 0 {
		f.Errors = append(f.Errors, problemField{"version", "is missing: load the form again"})
	}
	if len(f.Errors) > 0 {
		set.retries = refuseIt
	}
	u := webhook.WebhookUpdate{Events: f.chosen, Headers: set.headers, VerifyTLS: &set.verify, MaxRetries: &set.retries}
	u.Name, u.URL, u.Description = sent(r, "name", f.Name), sent(r, "url", f.URL), sent(r, "description", f.Description)
	u.Timeout, u.RateLimit = sent(r, "timeout", set.timeout), sent(r, "rateLimit", set.rateLimit)
	if !r.PostForm.Has("maxRetries") && len(f.Errors) == 0 {
		u.MaxRetries = nil
	}
	if !f.hasHeaders {
		u.Headers = nil
	}
	_, err = s.updateWebhook(r.Context(), a, hook.ID, f.Version, u)
	switch {
	case errors.Is(err, webhook.ErrConflict):
		s.showConflict(w, r, a, f)
	case err != nil:
		s.refuseForm(w, r, a, f, err)
	default:
		redirect(w, r, "webhooks/"+hook.ID+"?done=saved")
	}
}

// sent returns a setting that the form holds, or nil, which leaves the stored
// setting as it is.
func sent[T any](r *http.Request, field string, v T) *T {
	if !r.PostForm.Has(field) {
		return nil
	}
	return &v
}

// showConflict shows the form again after another user has saved, with the
// stored settings beside the typed ones. Saving again replaces the stored
// settings.
func (s *server) showConflict(w http.ResponseWriter, r *http.Request, a Access, f formView) {
	hook, err := s.d.Webhook(r.Context(), a.Tenant, f.ID)
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	f.Version = hook.Version
	now := s.formOf(&hook)
	for _, c := range []struct{ label, theirs, typed string }{
		{"Name", now.Name, f.Name},
		{"URL", now.URL, f.URL},
		{"Description", now.Description, f.Description},
		{"Events", strings.Join(hook.Events, ", "), strings.Join(f.chosen, ", ")},
		{"Timeout", now.Timeout + " s", f.Timeout + " s"},
		{"Retries", now.MaxRetries, f.MaxRetries},
		{"Rate limit", now.RateLimit, f.RateLimit},
		{"TLS verification", now.VerifyTLS, f.VerifyTLS},
		{"Custom headers", strings.Join(sortedKeys(hook.Headers), ", "), strings.Join(f.headerNames(), ", ")},
	} {
		if c.theirs != c.typed {
			f.Stored = append(f.Stored, storedValue{c.label, c.theirs})
		}
	}
	f.ConflictTitle = "Someone else saved this webhook while you were editing it"
	s.showForm(w, r, a, http.StatusConflict, f)
}

// headerNames returns the names of the headers that are to be kept or set.
func (f formView) headerNames() []string {
	var out []string
	for _, h := range f.Headers {
		if h.Name != "" && !h.Remove {
			out = append(out, h.Name)
		}
	}
	slices.Sort(out)
	return out
}

// refuseIt is a number of retries that no webhook can have. A form with a field
// that cannot be parsed is passed on with it, so that the dispatcher checks the
// other fields too and the visitor sees all errors at once.
const refuseIt = -1

// refuseForm shows the form again with the errors in f and in err.
func (s *server) refuseForm(w http.ResponseWriter, r *http.Request, a Access, f formView, err error) {
	p := problemOf(err)
	switch {
	case len(p.Errors) > 0:
		forced := len(f.Errors) > 0
		for _, e := range p.Errors {
			if !forced || e.Field != "maxRetries" { // set by refuseIt, not by the visitor
				f.Errors = append(f.Errors, e)
			}
		}
		if p.more > 0 {
			f.Errors = append(f.Errors, problemField{"", "and " + count(p.more) + " more"})
		}
	case p.Code == codeTooMany:
		f.Errors = append(f.Errors, problemField{"", p.Detail})
	default:
		s.refusePage(w, r, err)
		return
	}
	s.showForm(w, r, a, p.Status, f)
}

// showForm shows the form.
func (s *server) showForm(w http.ResponseWriter, r *http.Request, a Access, status int, f formView) {
	var p frameView
	if f.New {
		p = s.page(r, a, "Add a webhook", crumb{"new", "Add a webhook"})
	} else {
		hook, err := s.d.Webhook(r.Context(), a.Tenant, f.ID)
		if err != nil {
			s.refusePage(w, r, err)
			return
		}
		p = s.page(r, a, "Edit "+hook.Name, crumb{"webhooks/" + hook.ID, hook.Name}, crumb{"", "Edit"})
	}
	if len(f.Errors) > 0 {
		p.Title = "Error: " + p.Title
	}
	if n := len(f.Headers); n == 0 || f.Headers[n-1].Name != "" {
		f.addRows(1)
	}
	policy := s.d.Policy()
	f.Root, f.NoOff, f.AllowHTTP = p.Root, !policy.UnverifiedTLS && f.VerifyTLS != "off", policy.AllowHTTP
	p.V = f
	s.show(w, r, status, "form", p)
}

// parseForm reads the fields of a form, unless a handler in front of the portal
// has done so. It refuses a form that is too large or malformed.
func parseForm(r *http.Request) error {
	parsed := r.PostForm != nil
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return errTooLarge
		}
		return refuse(http.StatusBadRequest, codeMalformed, "The body is not a form.")
	}
	if !parsed {
		if err := consumed(r); err != nil {
			return err
		}
	}
	size := 0
	for name, values := range r.PostForm {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	if size > maxBody { // read by another handler with a larger bound
		return errTooLarge
	}
	return r.Context().Err()
}

// HeaderLimit is how many headers a webhook can have, for the template.
func (formView) HeaderLimit() int { return 20 }

// Label names a header's row for screen readers.
func (h headerRow) Label() string { return "Header " + strconv.Itoa(h.Index+1) }
