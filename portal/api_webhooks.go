package portal

import (
	"net/http"

	"github.com/seed68722ecd/webhook"
)

// apiListWebhooks answers GET webhooks.
func (s *server) apiListWebhooks(w http.ResponseWriter, r *http.Request, a Access) error {
	q := readQuery(r)
	wq := webhook.WebhookQuery{Search: q.text("search"), Cursor: q.text("cursor"), Limit: q.limit()}
	if err := q.done(); err != nil {
		return err
	}
	page, err := s.listWebhooks(r.Context(), a, wq)
	if err != nil {
		return err
	}
	recent, err := s.recentStats(r.Context(), a, page.Items)
	if err != nil {
		return err
	}
	out := pageView[webhookView]{Items: make([]webhookView, 0, len(page.Items)), Next: textOrNull(page.Next)}
	for _, wh := range page.Items {
		out.Items = append(out.Items, a.view(wh, recent[wh.ID]))
	}
	return answerJSON(w, http.StatusOK, out)
}

// apiCreateWebhook answers POST webhooks.
func (s *server) apiCreateWebhook(w http.ResponseWriter, r *http.Request, a Access) error {
	o, err := readObject(r, false)
	if err != nil {
		return err
	}
	spec := webhook.WebhookSpec{
		Name: deref(o.text("name")), URL: deref(o.text("url")), Events: o.texts("events"), Description: deref(o.text("description")),
		Headers: o.headers("headers"), Active: o.flag("active"), VerifyTLS: o.flag("sslVerification"),
		Timeout: o.seconds("timeout"), MaxRetries: o.integer("maxRetries"), RateLimit: deref(o.number("rateLimit")),
	}
	if secret := o.text("secret"); secret != nil {
		if spec.Secret = *secret; spec.Secret == "" {
			o.refuse("secret", "must not be empty: leave it out to have one generated")
		}
	}
	if spec.Headers, err = keepHeaders(spec.Headers, nil); err != nil {
		o.add(err)
	}
	if err := o.done(readOnlySettings...); err != nil {
		return err
	}
	wh, secret, err := s.createWebhook(r.Context(), a, spec)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "webhooks/"+wh.ID) // relative: to api/
	return answerWebhook(w, http.StatusCreated, a, wh, nil, secret)
}

// apiGetWebhook answers GET webhooks/{id}.
func (s *server) apiGetWebhook(w http.ResponseWriter, r *http.Request, a Access) error {
	if err := readQuery(r).done(); err != nil {
		return err
	}
	wh, err := s.d.Webhook(r.Context(), a.Tenant, r.PathValue("id"))
	if err != nil {
		return err
	}
	recent, err := s.recentStats(r.Context(), a, []webhook.Webhook{wh})
	if err != nil {
		return err
	}
	if done, err := notModified(w, r, etagOf(wh, a.view(wh, recent[wh.ID]))); done || err != nil {
		return err
	}
	return answerWebhook(w, http.StatusOK, a, wh, recent[wh.ID], webhook.Secret{})
}

// apiUpdateWebhook answers PATCH webhooks/{id}.
func (s *server) apiUpdateWebhook(w http.ResponseWriter, r *http.Request, a Access) error {
	o, err := readObject(r, false)
	if err != nil {
		return err
	}
	u := webhook.WebhookUpdate{
		Name: o.text("name"), URL: o.text("url"), Events: o.texts("events"), Description: o.text("description"),
		Headers: o.headers("headers"), VerifyTLS: o.flag("sslVerification"), Timeout: o.seconds("timeout"), MaxRetries: o.integer("maxRetries"),
		RateLimit: o.number("rateLimit"), Active: o.flag("active"),
	}
	if _, given := o.fields["secret"]; given {
		o.take("secret", "")
		o.refuse("secret", "cannot be set here: rotate it")
	}
	if err := o.done(readOnlySettings...); err != nil {
		return err
	}
	id := r.PathValue("id")
	wh, err := s.changeable(r.Context(), a, id)
	if err != nil {
		return err
	}
	if len(r.Header.Values("If-Match")) == 0 {
		return errNoIfMatch
	}
	version, err := matched(r, wh)
	if err != nil {
		return err
	}
	if wh, err = s.updateWebhook(r.Context(), a, id, version, u); err != nil {
		return err
	}
	return s.answerCurrent(w, r, a, wh)
}

// apiDeleteWebhook answers DELETE webhooks/{id}.
func (s *server) apiDeleteWebhook(w http.ResponseWriter, r *http.Request, a Access) error {
	o, err := readObject(r, true)
	if err != nil {
		return err
	}
	if err := o.done(); err != nil {
		return err
	}
	if _, err := s.ifUnchanged(r, a); err != nil {
		return err
	}
	if err := s.deleteWebhook(r.Context(), a, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ifUnchanged evaluates the conditions of a write that does not require any,
// and returns the version that they name, or 0.
func (s *server) ifUnchanged(r *http.Request, a Access) (int64, error) {
	if len(r.Header.Values("If-Match")) == 0 && len(r.Header.Values("If-None-Match")) == 0 {
		return 0, nil
	}
	wh, err := s.changeable(r.Context(), a, r.PathValue("id"))
	if err != nil {
		return 0, err
	}
	return matched(r, wh)
}

// apiEnableWebhook answers POST webhooks/{id}/enable.
func (s *server) apiEnableWebhook(w http.ResponseWriter, r *http.Request, a Access) error {
	return s.apiSetActive(w, r, a, true)
}

// apiDisableWebhook answers POST webhooks/{id}/disable.
func (s *server) apiDisableWebhook(w http.ResponseWriter, r *http.Request, a Access) error {
	return s.apiSetActive(w, r, a, false)
}

func (s *server) apiSetActive(w http.ResponseWriter, r *http.Request, a Access, active bool) error {
	o, err := readObject(r, true)
	if err != nil {
		return err
	}
	reason := ""
	if !active {
		reason = deref(o.text("reason"))
	}
	if err := o.done(); err != nil {
		return err
	}
	version, err := s.ifUnchanged(r, a)
	if err != nil {
		return err
	}
	wh, err := s.setActive(r.Context(), a, r.PathValue("id"), version, active, reason)
	if err != nil {
		return err
	}
	return s.answerCurrent(w, r, a, wh)
}

// apiRotateSecret answers POST webhooks/{id}/rotate-secret.
func (s *server) apiRotateSecret(w http.ResponseWriter, r *http.Request, a Access) error {
	o, err := readObject(r, true)
	if err != nil {
		return err
	}
	rot := webhook.Rotation{Overlap: o.seconds("overlap")}
	if secret := o.text("secret"); secret != nil {
		if rot.Secret = *secret; rot.Secret == "" {
			o.refuse("secret", "must not be empty: leave it out to have one generated")
		}
	}
	if err := o.done(); err != nil {
		return err
	}
	if rot.Version, err = s.ifUnchanged(r, a); err != nil {
		return err
	}
	wh, secret, err := s.rotateSecret(r.Context(), a, r.PathValue("id"), rot)
	if err != nil {
		return err
	}
	recent, err := s.recentStats(r.Context(), a, []webhook.Webhook{wh})
	if err != nil {
		// The secret has been changed and is shown only in this answer, so
		// answer without statistics.
		s.log.ErrorContext(r.Context(), "portal: no statistics", "request_id", requestID(r.Context()), "error", err)
	}
	return answerWebhook(w, http.StatusOK, a, wh, recent[wh.ID], secret)
}

// answerCurrent answers with a webhook and its recent statistics.
func (s *server) answerCurrent(w http.ResponseWriter, r *http.Request, a Access, wh webhook.Webhook) error {
	recent, err := s.recentStats(r.Context(), a, []webhook.Webhook{wh})
	if err != nil {
		return err
	}
	return answerWebhook(w, http.StatusOK, a, wh, recent[wh.ID], webhook.Secret{})
}

// answerWebhook answers with a webhook, and with its secret if one is to be
// shown.
func answerWebhook(w http.ResponseWriter, status int, a Access, wh webhook.Webhook, recent []webhook.StatsBucket, secret webhook.Secret) error {
	v := a.view(wh, recent)
	w.Header().Set("ETag", etagOf(wh, v))
	v.Secret = secret.Reveal()
	return answerJSON(w, status, v)
}
