package webhook

import (
	"fmt"
	"strings"
)

// Match says whether, and why, a webhook receives events of a type.
type Match struct {
	Matched bool   // it receives them
	Reason  string // one sentence for people
}

// MatchEvent explains whether w receives events of eventType: what the page of
// a delivery that is missing should say.
func MatchEvent(w Webhook, eventType string) Match {
	if err := checkEventType(eventType); err != nil {
		return Match{Reason: fmt.Sprintf("no event has this type: %v", err)}
	}
	if !w.Active {
		reason := "the webhook is disabled"
		if w.DisabledReason != "" {
			reason += ": " + w.DisabledReason
		}
		return Match{Reason: reason}
	}
	for _, p := range w.Events {
		if patternMatches(p, eventType) {
			return Match{Matched: true, Reason: fmt.Sprintf("%s is selected by %q", eventType, p)}
		}
	}
	return Match{Reason: fmt.Sprintf("%s is not selected by any of %q", eventType, w.Events)}
}

// patternMatches reports whether one selection matches an event type: "*"
// matches all, "agent.*" every type that begins with "agent.", anything else
// only itself.
func patternMatches(pattern, eventType string) bool {
	if pattern == "*" || pattern == eventType {
		return true
	}
	prefix, ok := strings.CutSuffix(pattern, "*")
	return ok && strings.HasSuffix(prefix, ".") && len(eventType) > len(prefix) && strings.HasPrefix(eventType, prefix)
}

// patternsFor lists every selection that matches eventType, most specific
// first: the type itself, each prefix with ".*", and "*".
func patternsFor(eventType string) []string {
	out := make([]string, 0, 2+strings.Count(eventType, "."))
	out = append(out, eventType)
	for i := len(eventType) - 1; i > 0; i-- {
		if eventType[i] == '.' {
			out = append(out, eventType[:i+1]+"*")
		}
	}
	return append(out, "*")
}

// checkEventType refuses what is not a dotted name.
func checkEventType(t string) error {
	switch {
	case t == "":
		return fmt.Errorf("is required")
	case len(t) > MaxEventTypeLength:
		return fmt.Errorf("is %d bytes, at most %d are allowed", len(t), MaxEventTypeLength)
	}
	for part := range strings.SplitSeq(t, ".") {
		if !wordChars(part) {
			return fmt.Errorf("must be parts of A–Z a–z 0–9 _ - joined by dots, such as agent.message, got %s", quoted(t))
		}
	}
	return nil
}

// checkPattern refuses what is neither an event type, nor a prefix with ".*",
// nor "*".
func checkPattern(p string) error {
	if p == "*" {
		return nil
	}
	return checkEventType(strings.TrimSuffix(p, ".*"))
}

// wordChars reports whether s is one or more of A–Z a–z 0–9 _ -.
func wordChars(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}
