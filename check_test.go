package webhook

import (
	"strings"
	"testing"
)

func TestQuotedIsShortAndPlain(t *testing.T) {
	for in, want := range map[string]string{"a\"b\n": `"a\"b\n"`, "ü": `"\u00fc"`, "\xff": `"\xff"`} {
		if got := quoted(in); got != want {
			t.Errorf("quoted(%q) = %s, want %s", in, got, want)
		}
	}
	if n := len(quoted(strings.Repeat("x", 1000))); n > 100 {
		t.Errorf("1000 bytes are quoted in %d", n)
	}
}
