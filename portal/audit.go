package portal

import (
	"context"
	"net/http"
	"time"
)

// AuditRecord describes a change and who made it. It never holds a secret, the
// value of a header, or the query of a URL.
//
// Config.Audit gets a record of every change before the change is made. If the
// change then fails, a second record with Failed set follows. A webhook is
// created disabled, recorded, and then enabled, so that no event is sent
// because of an unrecorded change.
type AuditRecord struct {
	Time      time.Time   // UTC
	Tenant    string      // the webhook's tenant
	Actor     string      // Access.Actor
	RequestID string      // as in X-Request-Id of the answer
	Action    AuditAction // the kind of change
	WebhookID string      // the changed webhook
	// Webhook is the webhook's name, and Host the host of its URL, before the
	// change.
	Webhook, Host string
	DeliveryID    string // with ActionResend
	// Fields are the JSON names of the settings that were given, sorted, with
	// ActionCreate and ActionUpdate.
	Fields []string
	// TLSVerificationOff is true when the change leaves the webhook without
	// verification of the receiver's certificate.
	TLSVerificationOff bool
	// Failed is true in a second record, which says that the change of the
	// first was not made.
	Failed bool
}

// AuditAction is the kind of a change.
type AuditAction string

// The actions that have audit records.
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

// audited records a change and then makes it.
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

// audit passes the record of a change to the host before the change is made.
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

// auditFailed tells the host that a recorded change has failed.
func (s *server) auditFailed(ctx context.Context, a Access, rec AuditRecord) {
	rec.Failed = true
	_ = s.audit(context.WithoutCancel(ctx), a, &rec) // audit logs the error; the change has failed already
}
