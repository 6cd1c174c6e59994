// Package rules keeps the promises about imports and requirements that golangci-lint's depguard, which looks at one
// file at a time, cannot check. Its functions return one sentence for each fault.
package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Package is a line of go list -deps -json.
type Package struct {
	ImportPath string   `json:"ImportPath"`
	Standard   bool     `json:"Standard"`
	Deps       []string `json:"Deps"` // every package below it, tests left out
}

// Graph holds the packages of a module and everything below them by import path.
type Graph map[string]Package

// Load lists the packages of the module in dir and all they import, as the operating system goos
// would compile them. The module stands alone, without a workspace, as for its users.
func Load(ctx context.Context, dir, goos string) (Graph, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=ImportPath,Standard,Deps", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOOS="+goos)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("rules: go list in %s: %w\n%s", dir, err, stderr.String())
	}
	g := Graph{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return g, nil
		case err != nil:
			return nil, fmt.Errorf("rules: output of go list: %w", err)
		}
		g[p.ImportPath] = p
	}
}

// leaves are the packages that reach, beside the standard library, the packages listed here
// only. Each is compiled by itself by hosts, or can be understood by itself.
var leaves = map[string][]string{
	"guard":              {"golang.org/x/sync/singleflight"},
	"internal/contain":   nil,
	"internal/eventtype": nil,
	"internal/failspell": nil,
	"internal/header":    nil,
	"internal/id":        nil,
	"internal/lanes":     nil,
	"internal/queue":     nil,
	"internal/post":      {"guard", "internal/post/h1", "golang.org/x/sync/singleflight"},
	"verify":             {"internal/whsec"},
}

// Other modules that a package may reach, and those that packages for tests may reach.
var (
	inProduction = []string{"github.com/cenkalti/backoff/v4", "golang.org/x/sync"}
	inTests      = append(slices.Clone(inProduction), "github.com/google/go-cmp")
)

// CheckImports checks which packages the packages of a module reach, directly or through others.
func CheckImports(g Graph, module string) []string {
	var found []string
	for _, must := range []string{module, module + "/guard", module + "/internal/lanes", module + "/internal/post", module + "/verify"} {
		if _, ok := g[must]; !ok {
			found = append(found, must+" is missing: its rules would hold for no reason")
		}
	}
	for path, p := range g {
		name, own := inside(path, module)
		if !own {
			continue
		}
		reaches, leaf := leaves[name]
		modules := inProduction
		if name == "storetest" || name == "webhooktest" {
			modules = inTests
		}
		for _, dep := range p.Deps {
			below, own := inside(dep, module)
			var may bool
			switch {
			case g[dep].Standard:
				continue
			case own:
				may = !leaf || slices.Contains(reaches, below)
			default:
				may = slices.Contains(reaches, dep) || !leaf && slices.ContainsFunc(modules, func(m string) bool { _, ok := inside(dep, m); return ok })
			}
			if !may {
				found = append(found, fmt.Sprintf("%s reaches %s", path, dep))
			}
		}
	}
	slices.Sort(found)
	return found
}

// inside returns the name of a package inside its module, which is "" for the package at its root.
func inside(path, module string) (name string, ok bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}
