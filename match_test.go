package webhook

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMatching(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"agent.message", []string{"agent.message"}, []string{"agent", "agent.messages", "agent.message.x", "Agent.Message", "xagent.message"}},
		{"agent.*", []string{"agent.message", "agent.a.b"}, []string{"agent", "agents.x", "agentx", "user.agent.x"}},
		{"a.b.*", []string{"a.b.c", "a.b.c.d"}, []string{"a.b", "a.bc", "a.c.b", "a"}},
		{"*", []string{"agent.message", "x"}, nil},
	}
	for _, tt := range tests {
		for _, typ := range tt.yes {
			if !patternMatches(tt.pattern, typ) {
				t.Errorf("%s does not match %s", tt.pattern, typ)
			}
		}
		for _, typ := range tt.no {
			if patternMatches(tt.pattern, typ) {
				t.Errorf("%s matches %s", tt.pattern, typ)
			}
		}
	}
	if diff := cmp.Diff([]string{"a.b.c", "a.b.*", "a.*", "*"}, patternsFor("a.b.c")); diff != "" {
		t.Errorf("patterns for a.b.c (-want +got):\n%s", diff)
	}
}

func TestMatchEventExplains(t *testing.T) {
	active := Webhook{Active: true, Events: []string{"user.message", "agent.*"}}
	tests := []struct {
		name    string
		webhook Webhook
		typ     string
		matched bool
		say     []string
	}{
		{"selected by a prefix", active, "agent.action", true, []string{"agent.action", `"agent.*"`}},
		{"selected by name", active, "user.message", true, []string{`"user.message"`}},
		{"not selected", active, "user.joined", false, []string{"user.joined", `["user.message" "agent.*"]`}},
		{"disabled", Webhook{Events: []string{"*"}, DisabledReason: "closed by Ada"}, "x", false, []string{"disabled", "closed by Ada"}},
		{"disabled for no reason", Webhook{Events: []string{"*"}}, "x", false, []string{"disabled"}},
		{"no event type", active, "agent.*", false, []string{"no event has this type", `"agent.*"`}},
		{"empty", active, "", false, []string{"required"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := MatchEvent(tt.webhook, tt.typ)
			if got.Matched != tt.matched {
				t.Errorf("matched is %v", got.Matched)
			}
			for _, part := range tt.say {
				if !strings.Contains(got.Reason, part) {
					t.Errorf("reason %q does not say %q", got.Reason, part)
				}
			}
		})
	}
}

// What stores look up by (the patterns of a type) and what people are told
// (whether a pattern matches) must never differ.
func FuzzMatch(f *testing.F) {
	for _, pattern := range []string{"*", "a", "a.*", "a.b", "a.b.*", ".*", "*.*", "a.*.b", "", ".", "a.", "ä.*", strings.Repeat("n", 128) + ".*"} {
		for _, typ := range []string{"a", "a.b", "a.b.c", "a..b", ".", "", "a.*", strings.Repeat("n", 126) + ".b"} {
			f.Add(pattern, typ)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, typ string) {
		if err := checkEventType(typ); err != nil {
			if checkPattern(typ) == nil && typ != "*" && !strings.HasSuffix(typ, ".*") {
				t.Errorf("%q is no event type (%v), but a selection of one", typ, err)
			}
			return
		}
		if checkPattern(typ) != nil {
			t.Errorf("%q is an event type that nobody can select", typ)
		}
		if checkPattern(pattern) != nil {
			return
		}
		want := patternMatches(pattern, typ)
		if got := slices.Contains(patternsFor(typ), pattern); got != want {
			t.Errorf("%q matches %q: %v, but is among its patterns %q: %v", pattern, typ, want, patternsFor(typ), got)
		}
		if got := MatchEvent(Webhook{Active: true, Events: []string{pattern}}, typ).Matched; got != want {
			t.Errorf("MatchEvent(%q, %q) = %v, want %v", pattern, typ, got, want)
		}
	})
}
