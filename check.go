package webhook

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seed68722ecd/webhook/internal/eventtype"
)

func checkTenant(bad *ValidationError, tenant string) {
	switch {
	case tenant == "":
		bad.add("tenant", "is required")
	case len(tenant) > MaxTenantLength:
		bad.add("tenant", "is %d bytes, at most %d are allowed", len(tenant), MaxTenantLength)
	case !utf8.ValidString(tenant) || hasControl(tenant):
		bad.add("tenant", "must be valid UTF-8 without control characters, got %s", quoted(tenant))
	}
}

// checkText refuses text that is too long or cannot be shown on one line.
func checkText(bad *ValidationError, field, s string, limit int) {
	switch {
	case len(s) > limit:
		bad.add(field, "is %d bytes, at most %d are allowed", len(s), limit)
	case !utf8.ValidString(s):
		bad.add(field, "must be valid UTF-8, got %s", quoted(s))
	case hasControl(s):
		bad.add(field, "must not contain control characters, got %s", quoted(s))
	}
}

// checkLimit refuses a negative number, replaces 0 by def, and cuts the number to
// top.
func checkLimit(bad *ValidationError, field string, limit *int, def, top int) {
	if *limit < 0 {
		bad.add(field, "must be 1–%d, got %d", top, *limit)
	}
	*limit = min(orDefault(*limit, def), top)
}

func checkFilterID(bad *ValidationError, field, id string) {
	if id != "" && !validID(id) {
		bad.add(field, "must be 1–%d characters of A–Z a–z 0–9 _ -, got %s", MaxEventIDLength, quoted(id))
	}
}

func checkFilterType(bad *ValidationError, field, eventType string) {
	if eventType == "" {
		return
	}
	if err := eventtype.Check(eventType); err != nil {
		bad.add(field, "%v", err)
	}
}

func checkState(bad *ValidationError, field string, s State) {
	switch s {
	case StatePending, StateSucceeded, StateFailed, StateCanceled:
	default:
		bad.add(field, "must be one of pending, succeeded, failed, canceled, got %s", quoted(string(s)))
	}
}

// checkStates returns the states without repetitions. It refuses only the first
// invalid state, since the list may have any length.
func checkStates(bad *ValidationError, states []State) []State {
	var out []State
	for _, s := range states {
		if refused := len(bad.Fields); !slices.Contains(out, s) {
			checkState(bad, "states", s)
			if len(bad.Fields) > refused {
				return nil
			}
			out = append(out, s)
		}
	}
	return out
}

// validID reports whether s can be an event ID.
func validID(s string) bool { return len(s) <= MaxEventIDLength && eventtype.IsWord(s) }

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
}

// quoted quotes a caller's text for an error, cut to a bearable length.
func quoted(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strconv.QuoteToASCII(s)
}

// isNil reports whether v holds a nil pointer, on which a method with a value
// receiver would panic.
func isNil(v any) bool {
	rv := reflect.ValueOf(v)
	return rv.Kind() == reflect.Pointer && rv.IsNil()
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func deref[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}
