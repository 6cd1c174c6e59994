package portal

import (
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Times and settings in the words of the API, for the audit record and for
// refusals.

func auditOf(action AuditAction, w webhook.Webhook) AuditRecord {
	return AuditRecord{Action: action, WebhookID: w.ID, Webhook: w.Name, Host: hostOf(w.URL), TLSVerificationOff: !w.VerifyTLS}
}

// specFields names what a new webhook was given.
func specFields(s webhook.WebhookSpec) []string {
	return given(map[string]bool{
		"name": true, "url": true, "events": true,
		"description":     s.Description != "",
		"headers":         len(s.Headers) > 0,
		"sslVerification": s.VerifyTLS != nil,
		"timeout":         s.Timeout != nil,
		"maxRetries":      s.MaxRetries != nil,
		"rateLimit":       s.RateLimit != 0,
		"secret":          s.Secret != "",
	})
}

// updateFields names the settings that an update was given; whether the webhook
// is active has records of its own.
func updateFields(u webhook.WebhookUpdate) []string {
	return given(map[string]bool{
		"name":            u.Name != nil,
		"url":             u.URL != nil,
		"events":          u.Events != nil,
		"description":     u.Description != nil,
		"headers":         u.Headers != nil,
		"sslVerification": u.VerifyTLS != nil,
		"timeout":         u.Timeout != nil,
		"maxRetries":      u.MaxRetries != nil,
		"rateLimit":       u.RateLimit != nil,
	})
}

func given(fields map[string]bool) []string {
	var out []string
	for name, yes := range fields {
		if yes {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// cut bounds what is quoted in an error.
func cut(s string) string {
	const longest = 80
	if len(s) > longest+len("…") { // what was cut once stays as it is
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}

// statsSince is how far back the success rate of a webhook looks.
const statsSince = 24 * time.Hour
