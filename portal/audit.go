package portal

import (
	"context"
	"net/http"
	"time"
)

// AuditRecord says who changed what. It never holds a secret, the value of a
// header, or a query.
//
// There is one for every change, given to Config.Audit before the change is made;
// should the change fail after that, a second one says so. A webhook is
// created disabled, recorded, and then enabled, so that nothing is sent on account
// of a change that was not recorded.
type AuditRecord struct {
	Time      time.Time   // UTC
	Tenant    string      // whose webhook
	Actor     string      // Access.Actor
	RequestID string      // as in X-Request-Id of the answer
	Action    AuditAction // what was done
	WebhookID string      // to which webhook
	// Webhook is its name, and Host that of its URL, before the change.
	Webhook, Host string
	DeliveryID    string // with ActionResend
	// Fields are the JSON names of the settings that were given, sorted, with
	// ActionCreate and ActionUpdate.
	Fields []string
	// TLSVerificationOff is true when the change leaves the webhook without
	// verification of the receiver's certificate.
	TLSVerificationOff bool
	// Failed is true when the change that was recorded before was not made after all.
	Failed bool
}

// AuditAction is what was done.
type AuditAction string

// The actions that are recorded.
const (
	ActionCreate  AuditAction = "webhook.create"
	ActionUpdate  AuditAction = "webhook.update"
	ActionEnable  AuditAction = "webhook.enable"
	ActionDisable AuditAction = "webhook.disable"
	ActionDelete  AuditAction = "webhook.delete"
	ActionRotate  AuditAction = "webhook.rotate_secret"
	ActionTest    AuditAction = "webhook.test"
	ActionReplay  AuditAction = "webhook.replay" // one record per step
	ActionResend  AuditAction = "delivery.resend"
)

// audited records a change and makes it.
func (s *server) audited(ctx context.Context, a Access, rec AuditRecord, change func() error) error {
	if err := s.audit(ctx, a, &rec); err != nil {
		return err
	}
	err := change()
	if err != nil {
		s.auditFailed(ctx, a, rec)
	}
	return err
}

// audit tells the host of a change that is about to be made.
func (s *server) audit(ctx context.Context, a Access, rec *AuditRecord) error {
	if s.cfg.Audit == nil {
		return nil
	}
	rec.Time, rec.Tenant, rec.Actor, rec.RequestID = s.now(), a.Tenant, a.Actor, requestID(ctx)
	if err := s.cfg.Audit(ctx, *rec); err != nil {
		s.log.ErrorContext(ctx, "portal: a change was not made, as it could not be recorded", "request_id", rec.RequestID, "action", string(rec.Action), "error", err)
		return refuse(http.StatusInternalServerError, codeAudit, "The change was not made, as it could not be recorded. Try again later.")
	}
	return nil
}

// auditFailed tells the host that a change it was told of has failed.
func (s *server) auditFailed(ctx context.Context, a Access, rec AuditRecord) {
	rec.Failed = true
	_ = s.audit(context.WithoutCancel(ctx), a, &rec) // logged; there is nothing left to refuse
}
