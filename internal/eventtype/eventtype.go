// Package eventtype knows the names of event types, the selections of webhooks,
// and which selection matches which name. The Dispatcher and every store that
// matches in Go use it, so that all of them agree.
package eventtype

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxLength is how many bytes the name of an event type may have. The root
// package publishes it as MaxEventTypeLength.
const MaxLength = 128

// Matches reports whether a selection matches an event type: "*" matches every
// type, "agent.*" every type that begins with "agent.", and a selection without
// a star only the type of the same name.
func Matches(pattern, eventType string) bool {
	if pattern == "*" || pattern == eventType {
		return true
	}
	prefix, ok := strings.CutSuffix(pattern, "*")
	return ok && strings.HasSuffix(prefix, ".") && len(eventType) > len(prefix) && strings.HasPrefix(eventType, prefix)
}

// AnyMatches reports whether one selection at least matches an event type.
func AnyMatches(patterns []string, eventType string) bool {
	for _, p := range patterns {
		if Matches(p, eventType) {
			return true
		}
	}
	return false
}

// Patterns lists every selection that matches eventType, most specific first:
// the type itself, each prefix with ".*", and "*".
func Patterns(eventType string) []string {
	out := make([]string, 0, 2+strings.Count(eventType, "."))
	out = append(out, eventType)
	for i := len(eventType) - 1; i > 0; i-- {
		if eventType[i] == '.' {
			out = append(out, eventType[:i+1]+"*")
		}
	}
	return append(out, "*")
}

// Check returns an error for a name that is not a dotted name of allowed length.
// The error continues a sentence that begins with the name of a field.
func Check(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("is required")
	case len(name) > MaxLength:
		return fmt.Errorf("is %d bytes, at most %d are allowed", len(name), MaxLength)
	}
	for part := range strings.SplitSeq(name, ".") {
		if !IsWord(part) {
			return fmt.Errorf("must be parts of A–Z a–z 0–9 _ - joined by dots, such as agent.message, got %s", quoted(name))
		}
	}
	return nil
}

// CheckPattern returns an error for a selection that is neither an event type,
// nor a prefix with ".*", nor "*".
func CheckPattern(pattern string) error {
	if pattern == "*" {
		return nil
	}
	return Check(strings.TrimSuffix(pattern, ".*"))
}

// IsWord reports whether s is one or more of A–Z a–z 0–9 _ -.
func IsWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

// quoted quotes a name for an error text and cuts it to 80 bytes.
func quoted(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strconv.QuoteToASCII(s)
}
