package portal

import (
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Names of settings and forms of times, as the API has them, for audit records
// and refusals.

func auditOf(action AuditAction, w webhook.Webhook) AuditRecord {
	return AuditRecord{Action: action, WebhookID: w.ID, Webhook: w.Name, Host: hostOf(w.URL), TLSVerificationOff: !w.VerifyTLS}
}

// specFields returns the names of the settings that a spec sets.
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

// updateFields returns the names of the settings that an update sets, except
// active, which has audit records of its own.
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

// cut shortens a text that is quoted in an error.
func cut(s string) string {
	const longest = 80
	if len(s) > longest+len("…") { // a text that was cut once stays as it is
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}

// statsSince is the span that a webhook's success rate covers.
const statsSince = 24 * time.Hour
