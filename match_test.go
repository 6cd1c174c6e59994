package webhook

import (
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook/internal/eventtype"
)

func TestLengthOfEventTypesIsPublished(t *testing.T) {
	if MaxEventTypeLength != eventtype.MaxLength {
		t.Errorf("MaxEventTypeLength is %d, but %d is enforced", MaxEventTypeLength, eventtype.MaxLength)
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
