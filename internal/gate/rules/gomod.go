package rules

import (
	"context"
	"encoding/json"
	"fmt"
	"go/version"
	"os/exec"
	"slices"
)

// Required is what the published module requires: no more and no less.
var Required = []string{"github.com/cenkalti/backoff/v4", "github.com/google/go-cmp", "golang.org/x/sync"}

// MinGo is the first Go version whose standard library has every fix that the
// library's promises lean on (net/http, crypto/tls, crypto/x509, net/url).
const MinGo = "go1.26"

// CheckGoMod checks a go.mod file: exactly the modules of Required, none of them
// indirect or replaced, and a go line at or above MinGo.
func CheckGoMod(ctx context.Context, file string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "go", "mod", "edit", "-json", file).Output()
	if err != nil {
		return nil, fmt.Errorf("rules: go mod edit -json %s: %w", file, err)
	}
	var mod struct {
		Go      string `json:"Go"`
		Require []struct {
			Path     string `json:"Path"`
			Indirect bool   `json:"Indirect"`
		} `json:"Require"`
		Replace []json.RawMessage `json:"Replace"`
		Exclude []json.RawMessage `json:"Exclude"`
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		return nil, fmt.Errorf("rules: output of go mod edit: %w", err)
	}
	var found, paths []string
	for _, r := range mod.Require {
		paths = append(paths, r.Path)
		if r.Indirect {
			found = append(found, r.Path+" is required indirectly: whoever imports the module gets it too")
		}
	}
	slices.Sort(paths)
	if !slices.Equal(paths, Required) {
		found = append(found, fmt.Sprintf("requires %v, want exactly %v", paths, Required))
	}
	if len(mod.Replace)+len(mod.Exclude) > 0 {
		found = append(found, "replaces or excludes modules, which means nothing to those who import it")
	}
	return append(found, CheckGo("go"+mod.Go)...), nil
}

// CheckGo checks that a Go version, such as "go1.26.8", is not older than MinGo.
func CheckGo(v string) []string {
	if !version.IsValid(v) || version.Compare(v, MinGo) < 0 {
		return []string{fmt.Sprintf("Go version %q is older than %s, which has the security fixes that the library needs", v, MinGo)}
	}
	return nil
}
