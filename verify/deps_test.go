package verify_test

import (
	"os/exec"
	"strings"
	"testing"
)

// A receiver compiles no dispatcher and no store.
func TestV14_Imports(t *testing.T) {
	const module = "github.com/seed68722ecd/webhook"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	got := strings.Fields(string(out))
	if len(got) == 0 {
		t.Fatal("go list names no package, not even this one")
	}
	for _, path := range got {
		if path != module+"/verify" && !strings.HasPrefix(path, module+"/internal/") {
			t.Errorf("verify depends on %s, want the standard library and internal/ only", path)
		}
	}
}
