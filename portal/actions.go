package portal

import (
	"context"
	"errors"
	"slices"

	"github.com/seed68722ecd/webhook"
)

// The operations behind both the API and the pages. Each checks the right to
// manage, that the webhook or delivery exists, and the limits; then it has the
// change recorded and makes it. Errors are for fail and problemOf.

// createWebhook creates a webhook and returns its secret, which is shown once.
func (s *server) createWebhook(ctx context.Context, a Access, spec webhook.WebhookSpec) (webhook.Webhook, webhook.Secret, error) {
	if !a.Manage {
		return webhook.Webhook{}, webhook.Secret{}, errNeedManage
	}
	if err := s.roomForWebhook(ctx, a); err != nil {
		return webhook.Webhook{}, webhook.Secret{}, err
	}
	if s.cfg.Audit == nil {
		return s.d.CreateWebhook(ctx, a.Tenant, spec)
	}
	// The audit record needs the webhook's ID, which exists only after
	// creation. So create it disabled, record it, and then enable it: no event
	// can be sent before the record is made.
	active := spec.Active == nil || *spec.Active
	spec.Active = new(false)
	w, secret, err := s.d.CreateWebhook(ctx, a.Tenant, spec)
	if err != nil {
		return webhook.Webhook{}, webhook.Secret{}, err
	}
	undo := func(err error) (webhook.Webhook, webhook.Secret, error) {
		return webhook.Webhook{}, webhook.Secret{}, errors.Join(err, s.d.DeleteWebhook(context.WithoutCancel(ctx), a.Tenant, w.ID))
	}
	rec := auditOf(ActionCreate, w)
	rec.Fields, rec.TLSVerificationOff = specFields(spec), !w.VerifyTLS
	if err := s.audit(ctx, a, &rec); err != nil {
		return undo(err)
	}
	if active {
		if w, err = s.d.EnableWebhook(ctx, a.Tenant, w.ID); err != nil {
			s.auditFailed(ctx, a, rec)
			return undo(err)
		}
	}
	return w, secret, nil
}

// roomForWebhook refuses more webhooks than Config.MaxWebhooks. Concurrent
// creations may exceed the limit by their number.
func (s *server) roomForWebhook(ctx context.Context, a Access) error {
	if s.cfg.MaxWebhooks < 0 {
		return nil
	}
	n, q := 0, webhook.WebhookQuery{Tenant: a.Tenant, Limit: 500}
	for {
		page, err := s.d.Webhooks(ctx, q)
		if err != nil {
			return err
		}
		if n += len(page.Items); n >= s.cfg.MaxWebhooks {
			return webhook.ErrTooManyWebhooks
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return nil
		}
	}
}

// updateWebhook changes the settings that u names if the webhook is still at
// the version; version 0 means any version. It returns an error that wraps
// webhook.ErrConflict if the version has changed. A header whose value is
// webhook.HiddenValue keeps its stored value.
func (s *server) updateWebhook(ctx context.Context, a Access, id string, version int64, u webhook.WebhookUpdate) (webhook.Webhook, error) {
	for {
		w, err := s.changeable(ctx, a, id)
		if err != nil {
			return webhook.Webhook{}, err
		}
		if version != 0 && w.Version != version {
			return webhook.Webhook{}, webhook.ErrConflict
		}
		change := u
		if u.Active != nil && *u.Active == w.Active {
			change.Active = nil // unchanged, so no audit record
		}
		fields := updateFields(u)
		if len(fields) == 0 && change.Active == nil {
			return w, nil
		}
		if change.Headers, err = keepHeaders(u.Headers, w.Headers); err != nil {
			return webhook.Webhook{}, err
		}
		var records []AuditRecord
		if len(fields) > 0 {
			records = append(records, auditOf(ActionUpdate, w))
			records[0].Fields = fields
		}
		if change.Active != nil {
			records = append(records, auditOf(activeAction(*change.Active), w))
		}
		if u.VerifyTLS != nil {
			for i := range records {
				records[i].TLSVerificationOff = !*u.VerifyTLS
			}
		}
		at := w.Version
		write := func() error {
			w, err = s.d.UpdateWebhook(ctx, a.Tenant, id, at, change)
			return err
		}
		for _, rec := range slices.Backward(records) { // every record comes before the write
			next := write
			write = func() error { return s.audited(ctx, a, rec, next) }
		}
		err = write()
		if errors.Is(err, webhook.ErrConflict) && version == 0 {
			continue // another writer succeeds in each round, so this ends
		}
		return w, err
	}
}

// activeAction returns the audit action for enabling or disabling.
func activeAction(active bool) AuditAction {
	if active {
		return ActionEnable
	}
	return ActionDisable
}

// setActive enables or disables a webhook if it is still at the version;
// version 0 means any version. The reason is for disabling.
func (s *server) setActive(ctx context.Context, a Access, id string, version int64, active bool, reason string) (webhook.Webhook, error) {
	if version != 0 {
		return s.updateWebhook(ctx, a, id, version, webhook.WebhookUpdate{Active: &active, DisabledReason: reason})
	}
	w, err := s.changeable(ctx, a, id)
	if err != nil {
		return webhook.Webhook{}, err
	}
	change := func() (webhook.Webhook, error) { return s.d.EnableWebhook(ctx, a.Tenant, id) }
	if !active {
		change = func() (webhook.Webhook, error) { return s.d.DisableWebhook(ctx, a.Tenant, id, reason) }
	}
	err = s.audited(ctx, a, auditOf(activeAction(active), w), func() error {
		w, err = change()
		return err
	})
	return w, err
}

// deleteWebhook removes a webhook.
func (s *server) deleteWebhook(ctx context.Context, a Access, id string) error {
	w, err := s.changeable(ctx, a, id)
	if err != nil {
		return err
	}
	return s.audited(ctx, a, auditOf(ActionDelete, w), func() error { return s.d.DeleteWebhook(ctx, a.Tenant, id) })
}

// rotateSecret gives a webhook a new secret and returns the secret, which is
// shown once.
func (s *server) rotateSecret(ctx context.Context, a Access, id string, r webhook.Rotation) (webhook.Webhook, webhook.Secret, error) {
	w, err := s.changeable(ctx, a, id)
	if err != nil {
		return webhook.Webhook{}, webhook.Secret{}, err
	}
	var secret webhook.Secret
	err = s.audited(ctx, a, auditOf(ActionRotate, w), func() error {
		w, secret, err = s.d.RotateSecret(ctx, a.Tenant, id, r)
		return err
	})
	return w, secret, err
}

// sendTest sends the sample of an event type of the catalogue to one webhook;
// an empty type sends a greeting. The data never comes from the caller: every
// signed event must be an event that the host could have sent.
func (s *server) sendTest(ctx context.Context, a Access, id, eventTypeName string) (webhook.Delivery, error) {
	w, err := s.changeable(ctx, a, id)
	if err != nil {
		return webhook.Delivery{}, err
	}
	ev := webhook.TestEvent{}
	if eventTypeName != "" && eventTypeName != webhook.TypeTest {
		i := slices.IndexFunc(s.types, func(t eventType) bool { return t.Name == eventTypeName })
		if i < 0 {
			return webhook.Delivery{}, invalidField("type", "is not in the catalogue of event types, got %q", cut(eventTypeName))
		}
		ev = webhook.TestEvent{Type: s.types[i].Name, Data: s.types[i].data}
	}
	if !w.Active {
		return webhook.Delivery{}, webhook.ErrInactive
	}
	if err := s.budgets.spend(s.now(), "test", s.cfg.Limits.Tests, a.Tenant, id); err != nil {
		return webhook.Delivery{}, err
	}
	var d webhook.Delivery
	err = s.audited(ctx, a, auditOf(ActionTest, w), func() error {
		d, err = s.d.SendTest(ctx, a.Tenant, id, ev)
		return err
	})
	return d, err
}

// resend delivers one delivery again.
func (s *server) resend(ctx context.Context, a Access, deliveryID string) (webhook.Delivery, error) {
	if !a.Manage {
		return webhook.Delivery{}, errNeedManage
	}
	d, err := s.d.Delivery(ctx, a.Tenant, deliveryID)
	if err != nil {
		return webhook.Delivery{}, err
	}
	w, err := s.changeable(ctx, a, d.WebhookID)
	if err != nil {
		return webhook.Delivery{}, err
	}
	if !w.Active {
		return webhook.Delivery{}, webhook.ErrInactive
	}
	if err := s.budgets.spend(s.now(), "resend", s.cfg.Limits.Resends, a.Tenant, w.ID); err != nil {
		return webhook.Delivery{}, err
	}
	rec := auditOf(ActionResend, w)
	rec.DeliveryID = d.ID
	err = s.audited(ctx, a, rec, func() error {
		d, err = s.d.Resend(ctx, a.Tenant, deliveryID)
		return err
	})
	return d, err
}

// replay makes one step of a replay. Repeat it with the result's cursor until
// the cursor is empty. The tenant comes from the access.
func (s *server) replay(ctx context.Context, a Access, req webhook.ReplayRequest) (webhook.ReplayResult, error) {
	w, err := s.changeable(ctx, a, req.WebhookID)
	if err != nil {
		return webhook.ReplayResult{}, err
	}
	req.Tenant = a.Tenant
	if err := s.budgets.spend(s.now(), "replay", s.cfg.Limits.ReplaySteps, a.Tenant, w.ID); err != nil {
		return webhook.ReplayResult{}, err
	}
	if req.DryRun {
		return s.d.Replay(ctx, req)
	}
	if !w.Active {
		return webhook.ReplayResult{}, webhook.ErrInactive
	}
	var res webhook.ReplayResult
	err = s.audited(ctx, a, auditOf(ActionReplay, w), func() error {
		res, err = s.d.Replay(ctx, req)
		return err
	})
	return res, err
}

// countReplay counts the deliveries that a replay would send, up to a bound,
// without changes; more reports that there are more than the bound.
func (s *server) countReplay(ctx context.Context, a Access, req webhook.ReplayRequest) (n int, more bool, err error) {
	w, err := s.changeable(ctx, a, req.WebhookID)
	if err != nil {
		return 0, false, err
	}
	if err := s.budgets.spend(s.now(), "replay", s.cfg.Limits.ReplaySteps, a.Tenant, w.ID); err != nil {
		return 0, false, err
	}
	req.DryRun, req.Cursor, req.Limit = true, "", 1000
	req.Tenant, req.WebhookID = a.Tenant, w.ID
	for range countSteps {
		res, err := s.d.Replay(ctx, req)
		if err != nil {
			return 0, false, err
		}
		n += res.Resent + res.Created
		if req.Cursor = res.Next; req.Cursor == "" {
			return n, false, nil
		}
	}
	return n, true, nil
}

// countSteps bounds the steps that countReplay takes.
const countSteps = 10

// changeable returns a webhook that the access may change.
func (s *server) changeable(ctx context.Context, a Access, id string) (webhook.Webhook, error) {
	if !a.Manage {
		return webhook.Webhook{}, errNeedManage
	}
	return s.d.Webhook(ctx, a.Tenant, id)
}
