package rules_test

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/seed68722ecd/webhook/internal/gate/rules"
)

// root is the folder of the published module, seen from this package's.
const (
	root   = "../../.."
	module = "github.com/seed68722ecd/webhook"
)

func report(t *testing.T, found []string) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}

// G4: who may import whom, on every platform that compiles different files.
func TestG4_ImportsOfThePublishedModule(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		t.Run(goos, func(t *testing.T) {
			g, err := rules.Load(t.Context(), root, goos)
			if err != nil {
				t.Fatal(err)
			}
			report(t, rules.CheckImports(g, module))
		})
	}
}

func TestG4_RequirementsOfThePublishedModule(t *testing.T) {
	found, err := rules.CheckGoMod(t.Context(), filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	report(t, found)
}

// G5: neither the go line nor the toolchain that builds this is too old.
func TestG5_ToolchainHasTheSecurityFixes(t *testing.T) {
	report(t, rules.CheckGo(runtime.Version()))
}

func TestH6_NoHeaderMakesTheClientSendTwice(t *testing.T) {
	found, files, err := rules.CheckIdempotencyKey(root)
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Fatalf("looked at %d files of %s only: the rule would hold for no reason", files, root)
	}
	report(t, found)
}

func TestG2_EveryFuzzTargetHasACorpus(t *testing.T) {
	found, targets, err := rules.CheckCorpora(root)
	if err != nil {
		t.Fatal(err)
	}
	if targets < 15 {
		t.Fatalf("looked at %d targets only: the rule would hold for no reason", targets)
	}
	report(t, found)
}
