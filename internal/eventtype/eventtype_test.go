package eventtype_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook/internal/eventtype"
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
			if !eventtype.Matches(tt.pattern, typ) || !eventtype.AnyMatches([]string{"other", tt.pattern}, typ) {
				t.Errorf("%s does not match %s", tt.pattern, typ)
			}
		}
		for _, typ := range tt.no {
			if eventtype.Matches(tt.pattern, typ) || eventtype.AnyMatches([]string{"other", tt.pattern}, typ) {
				t.Errorf("%s matches %s", tt.pattern, typ)
			}
		}
	}
	if got, want := eventtype.Patterns("a.b.c"), []string{"a.b.c", "a.b.*", "a.*", "*"}; !slices.Equal(got, want) {
		t.Errorf("patterns for a.b.c are %q, want %q", got, want)
	}
}

// Stores look up webhooks by the patterns of a type, and people are told whether
// a pattern matches: the two must never differ.
func FuzzMatch(f *testing.F) {
	for _, pattern := range []string{"*", "a", "a.*", "a.b", "a.b.*", ".*", "*.*", "a.*.b", "", ".", "a.", "ä.*", strings.Repeat("n", 128) + ".*"} {
		for _, typ := range []string{"a", "a.b", "a.b.c", "a..b", ".", "", "a.*", strings.Repeat("n", 126) + ".b"} {
			f.Add(pattern, typ)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, typ string) {
		if err := eventtype.Check(typ); err != nil {
			if eventtype.CheckPattern(typ) == nil && typ != "*" && !strings.HasSuffix(typ, ".*") {
				t.Errorf("%q is no event type (%v), but a selection of one", typ, err)
			}
			return
		}
		if eventtype.CheckPattern(typ) != nil {
			t.Errorf("%q is an event type, but no selection", typ)
		}
		if eventtype.CheckPattern(pattern) != nil {
			return
		}
		want := eventtype.Matches(pattern, typ)
		if got := slices.Contains(eventtype.Patterns(typ), pattern); got != want {
			t.Errorf("%q matches %q: %v, but is among its patterns %q: %v", pattern, typ, want, eventtype.Patterns(typ), got)
		}
	})
}
