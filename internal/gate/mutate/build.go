package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// listed is what go list says of a package.
type listed struct {
	Dir        string   `json:"Dir"`
	ImportPath string   `json:"ImportPath"`
	Name       string   `json:"Name"`
	Export     string   `json:"Export"`
	GoFiles    []string `json:"GoFiles"`
}

// load asks go list for the package in dir and the compiled forms of what it imports.
func load(ctx context.Context, dir string) (listed, map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-export", "-json=Dir,ImportPath,Name,Export,GoFiles", ".")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return listed{}, nil, fmt.Errorf("go list: %w", err)
	}
	var last listed // -deps lists it after all that it imports
	exports := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return last, exports, nil
		} else if err != nil {
			return listed{}, nil, fmt.Errorf("go list: %w", err)
		}
		exports[p.ImportPath], last = p.Export, p
	}
}

// build compiles the tests of the package in dir, with all mutants of the files
// named (of every file where none is) built in, to the file binary.
func build(ctx context.Context, dir string, only []string, work, binary string) ([]mutant, string, error) {
	p, exports, err := load(ctx, dir)
	if err != nil {
		return nil, "", err
	}
	fset := token.NewFileSet()
	sources := map[string][]byte{}
	var files []*ast.File
	for _, name := range p.GoFiles {
		path := filepath.Join(p.Dir, name)
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, "", err
		}
		file, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
		if err != nil {
			return nil, "", err
		}
		sources[name] = src
		files = append(files, file)
	}
	info := &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{},
		Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	pkg, err := conf.Check(p.ImportPath, fset, files, info)
	if err != nil {
		return nil, "", fmt.Errorf("type check: %w", err)
	}

	f := &finder{fset: fset, info: info, pkg: pkg}
	overlay := map[string]string{}
	put := func(name string, text []byte) error {
		path := filepath.Join(work, name)
		overlay[filepath.Join(p.Dir, name)] = path
		return os.WriteFile(path, text, 0o600)
	}
	for i, name := range p.GoFiles {
		if len(only) > 0 && !slices.Contains(only, name) {
			continue
		}
		if err := put(name, f.rewrite(files[i], sources[name])); err != nil {
			return nil, "", err
		}
	}
	if err := put(supportFile, []byte(supportText(p.Name, len(f.mutants))+operators())); err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return nil, "", err
	}
	list := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-c", "-overlay", list, "-o", binary, ".")
	cmd.Dir = p.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("the mutants do not compile: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return f.mutants, p.Dir, nil
}
