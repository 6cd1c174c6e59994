package webhook

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/seed68722ecd/webhook/guard"
	"github.com/seed68722ecd/webhook/internal/eventtype"
	"github.com/seed68722ecd/webhook/internal/header"
	"github.com/seed68722ecd/webhook/internal/whsec"
)

// Format prints the spec without the secret, whatever the verb.
func (s WebhookSpec) Format(f fmt.State, verb rune) {
	type fields WebhookSpec
	s.Secret = hidden(s.Secret)
	fmt.Fprintf(f, fmt.FormatString(f, verb), fields(s))
}

// LogValue shows the webhook's name and host, as [Webhook.LogValue] does.
func (s WebhookSpec) LogValue() slog.Value {
	return Webhook{Name: s.Name, URL: s.URL, Active: deref(s.Active, true)}.LogValue()
}

// settingsRules holds the parts of the host's configuration that restrict
// settings.
type settingsRules struct {
	url           guard.URLPolicy
	canSkipVerify bool // a client for unverified TLS exists and the host allows it
	keys          *Keyring
}

// fromSpec returns the webhook of a spec, without ID and times, with every
// default filled in and every field checked.
func (r *settingsRules) fromSpec(tenant string, s WebhookSpec) (Webhook, error) {
	var bad ValidationError
	checkTenant(&bad, tenant)
	w := Webhook{
		Tenant:      tenant,
		Name:        s.Name,
		URL:         s.URL,
		Description: s.Description,
		Events:      s.Events,
		Headers:     s.Headers,
		Active:      deref(s.Active, true),
		VerifyTLS:   deref(s.VerifyTLS, true),
		Timeout:     deref(s.Timeout, DefaultTimeout),
		MaxRetries:  deref(s.MaxRetries, DefaultMaxRetries),
		RateLimit:   s.RateLimit,
	}
	r.check(&bad, &w)
	if s.Secret != "" {
		if err := whsec.Check(s.Secret); err != nil {
			bad.add("secret", "%v", err)
		}
	}
	return w, bad.err()
}

// apply makes the changes of u in w. On an error w is unchanged.
func (r *settingsRules) apply(w *Webhook, u WebhookUpdate) error {
	next := *w
	next.Name = deref(u.Name, w.Name)
	next.URL = deref(u.URL, w.URL)
	next.Description = deref(u.Description, w.Description)
	if u.Events != nil {
		next.Events = u.Events
	}
	if u.Headers != nil {
		next.Headers = u.Headers
	}
	next.VerifyTLS = deref(u.VerifyTLS, w.VerifyTLS)
	next.Timeout = deref(u.Timeout, w.Timeout)
	next.MaxRetries = deref(u.MaxRetries, w.MaxRetries)
	next.RateLimit = deref(u.RateLimit, w.RateLimit)

	var bad ValidationError
	r.check(&bad, &next)
	checkText(&bad, "disabledReason", u.DisabledReason, MaxDescriptionLength)
	if err := bad.err(); err != nil {
		return err
	}
	*w = next
	return nil
}

// check normalises every setting of w and adds refused settings to bad. It
// copies slices and maps, so that w shares no memory with the caller.
func (r *settingsRules) check(bad *ValidationError, w *Webhook) {
	checkText(bad, "name", w.Name, MaxNameLength)
	if w.Name == "" {
		bad.add("name", "is required, 1–%d bytes", MaxNameLength)
	}
	checkText(bad, "description", w.Description, MaxDescriptionLength)

	if u, err := guard.CheckURL(w.URL, r.url); err != nil {
		bad.add("url", "%v", err)
	} else {
		w.URL = u
	}

	w.Events = checkPatterns(bad, w.Events)

	if h, err := header.Check(w.Headers); err != nil {
		all := []error{err}
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			all = many.Unwrap()
		}
		for _, err := range all {
			bad.add("headers", "%v", err)
		}
	} else {
		w.Headers = maps.Clone(h)
	}

	if !w.VerifyTLS && !r.canSkipVerify {
		bad.add("sslVerification", "cannot be switched off here: the host forbids it, or its http.Client cannot do without it")
	}
	if w.Timeout < MinTimeout || w.Timeout > MaxTimeout {
		bad.add("timeout", "must be %v–%v, got %v", MinTimeout, MaxTimeout, w.Timeout)
	}
	// Stores keep microseconds.
	w.Timeout = w.Timeout.Truncate(time.Microsecond)
	if w.MaxRetries < 0 || w.MaxRetries > MaxMaxRetries {
		bad.add("maxRetries", "must be 0–%d, got %d", MaxMaxRetries, w.MaxRetries)
	}
	if w.RateLimit != 0 && !(w.RateLimit >= MinRateLimit && w.RateLimit <= MaxRateLimit) { // also refuses NaN
		bad.add("rateLimit", "must be 0 for no limit, or %v–%v attempts per second, got %v", MinRateLimit, int(MaxRateLimit), w.RateLimit)
	}
	w.RateLimit += 0 // turns −0 into 0
}

// checkPatterns returns the selections without repetitions, in the given order.
func checkPatterns(bad *ValidationError, patterns []string) []string {
	switch n := len(patterns); {
	case n == 0:
		bad.add("events", "at least one event type, prefix.* or * is required")
		return nil
	case n > MaxEventPatterns:
		bad.add("events", "has %d entries, at most %d are allowed", n, MaxEventPatterns)
		return nil
	}
	out := make([]string, 0, len(patterns))
	for i, p := range patterns {
		if err := eventtype.CheckPattern(p); err != nil {
			bad.add("events["+strconv.Itoa(i)+"]", "%v", err)
		} else if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}
