// Package rules keeps what the layout of the project promises: who may import
// whom, what the published module requires, and what no code of it may call.
// Its functions return what they found wrong, one sentence each, so that its
// tests can show on small modules that each rule finds what it forbids.
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

// Package is what the rules need of one line of go list -deps -json.
type Package struct {
	ImportPath string   `json:"ImportPath"`
	Dir        string   `json:"Dir"`
	Standard   bool     `json:"Standard"`
	Deps       []string `json:"Deps"` // every package below it, tests left out
	GoFiles    []string `json:"GoFiles"`
}

// Graph holds the packages of a module and everything below them by import path.
type Graph map[string]Package

// Load lists the packages of the module in dir and all they import, as the
// operating system goos would compile them. The module stands alone, without a
// workspace, as it does for those who import it.
func Load(ctx context.Context, dir, goos string) (Graph, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=ImportPath,Dir,Standard,Deps,GoFiles", "./...")
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

// The packages of the module, by their folder, and what they may not reach.
var (
	// The root is what a sender compiles: nothing that only tests, receivers or
	// one kind of database need.
	notFromRoot = []string{"sqlitestore", "pgstore", "portal", "storetest", "verify", "webhooktest", "examples"}
	stores      = []string{"sqlitestore", "pgstore"}
	// These are imported by tests, and may use what only tests may.
	testing = []string{"storetest", "webhooktest"}
)

// What of other modules a package may reach.
var (
	inProduction = []string{"github.com/cenkalti/backoff/v4", "golang.org/x/sync"}
	inTests      = append(slices.Clone(inProduction), "github.com/google/go-cmp")
)

// CheckImports applies the import rules to the graph of the module of that path.
// The root and verify must be there: a rule about a package that is missing
// would hold for no reason. The others are checked once they exist.
func CheckImports(g Graph, module string) []string {
	var found []string
	wrong := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	own := func(path string) bool { return within(path, module) }

	for _, must := range []string{module, module + "/verify"} {
		if len(g[must].GoFiles) == 0 {
			wrong("%s has no Go files: its rules would hold for no reason", must)
		}
	}

	for path, p := range g {
		if !own(path) {
			continue
		}
		name := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
		allowed := inProduction
		if slices.Contains(testing, first(name)) {
			allowed = inTests
		}
		for _, dep := range p.Deps {
			foreign := !own(dep) && !g[dep].Standard
			below := strings.TrimPrefix(dep, module+"/")
			switch {
			case first(name) == "verify" && foreign:
				wrong("%s reaches %s: a receiver compiles the standard library and internal/ only", path, dep)
			case first(name) == "verify" && own(dep) && first(below) != "internal" && first(below) != "verify":
				wrong("%s reaches %s: a receiver does not compile the sender", path, dep)
			case foreign && !slices.ContainsFunc(allowed, func(m string) bool { return within(dep, m) }):
				wrong("%s reaches %s, which is none of %s", path, dep, strings.Join(allowed, ", "))
			case name == "" && own(dep) && slices.Contains(notFromRoot, first(below)):
				wrong("the root reaches %s", dep)
			case first(name) == "storetest" && own(dep) && slices.Contains(stores, first(below)):
				wrong("%s reaches %s: the suite knows no store", path, dep)
			case first(name) == "internal" && dep == module:
				wrong("%s reaches the root, which is to reach it", path)
			}
		}
	}
	slices.Sort(found)
	return found
}

// within says whether path is that module or package or lies below it.
func within(path, module string) bool {
	return path == module || strings.HasPrefix(path, module+"/")
}

// first returns the first element of a slash-separated name.
func first(name string) string {
	head, _, _ := strings.Cut(name, "/")
	return head
}
