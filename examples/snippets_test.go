// Package examples_test checks that the Go code of the documentation compiles.
package examples_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The rules for Go blocks in README.md and docs/*.md:
//
//   - A block is declarations, statements or one expression. Statements may
//     return an error; variables that they declare need not be used. A block
//     that begins with a package clause is a file by itself and sees no other
//     declarations.
//   - Packages in imports may be used without an import.
//   - Every block sees testdata/snippets/default.go. A line
//     <!-- snippet: name --> before it adds testdata/snippets/name.go.
//   - <!-- nocompile: reason --> before it leaves a block out.
//   - Folders in testdata/snippets stand in for libraries that this module does
//     not require.
//
// Each block becomes a package of a temporary module with the requirements of
// this one, and go vet checks them all.

// imports are the packages that blocks may use, by name.
var imports = map[string]string{
	"context": "context", "crc32": "hash/crc32", "driver": "database/sql/driver", "errors": "errors", "fmt": "fmt", "fs": "io/fs", "http": "net/http",
	"netip": "net/netip", "os": "os", "slog": "log/slog", "sql": "database/sql", "strings": "strings", "testing": "testing", "time": "time",
	"signal": "os/signal", "syscall": "syscall", "synctest": "testing/synctest",
	"pgx":    "github.com/jackc/pgx/v5",
	"gorm":   "example.com/snippets/gorm",
	"portal": "github.com/seed68722ecd/webhook/portal",
	"guard":  "github.com/seed68722ecd/webhook/guard", "memstore": "github.com/seed68722ecd/webhook/memstore",
	"metric": "go.opentelemetry.io/otel/sdk/metric", "otelwebhook": "github.com/seed68722ecd/webhook/otelwebhook",
	"prometheus": "go.opentelemetry.io/otel/exporters/prometheus", "promhttp": "github.com/prometheus/client_golang/prometheus/promhttp",
	"webhook": "github.com/seed68722ecd/webhook", "pgstore": "github.com/seed68722ecd/webhook/pgstore",
	"sqlitestore": "github.com/seed68722ecd/webhook/sqlitestore", "storetest": "github.com/seed68722ecd/webhook/storetest",
	"verify": "github.com/seed68722ecd/webhook/verify", "webhooktest": "github.com/seed68722ecd/webhook/webhooktest",
}

// block is a Go block of a document.
type block struct {
	file      string
	line      int // of its first line of code
	code      string
	preamble  string // beside the default one
	nocompile bool
}

var (
	directive = regexp.MustCompile(`^<!-- snippet: ([a-z-]+) -->$`)
	left      = regexp.MustCompile(`^<!-- nocompile: \S.* -->$`)
)

// blocks returns the Go blocks of a document, also those in lists.
func blocks(name, text string) (out []block, err error) {
	var b *block
	var pending block
	indent := ""
	n := 0
	for line := range strings.Lines(text) {
		n++
		trimmed := strings.TrimSpace(line)
		switch {
		case b == nil && trimmed == "```go":
			b = &block{file: name, line: n + 1, preamble: pending.preamble, nocompile: pending.nocompile}
			indent, _, _ = strings.Cut(line, "`")
			pending = block{}
		case b != nil && trimmed == "```":
			out = append(out, *b)
			b = nil
		case b != nil:
			b.code += strings.TrimPrefix(line, indent)
		case directive.MatchString(trimmed):
			pending.preamble = directive.FindStringSubmatch(trimmed)[1]
		case left.MatchString(trimmed):
			pending.nocompile = true
		case strings.Contains(line, "```go"), strings.HasPrefix(trimmed, "<!-- snippet"), strings.HasPrefix(trimmed, "<!-- nocompile"):
			return nil, fmt.Errorf("%s:%d: %q is neither the start of a Go block nor a directive of this test", name, n, trimmed)
		case trimmed != "" && pending != (block{}):
			return nil, fmt.Errorf("%s:%d: a directive is followed by %q, not by a Go block", name, n, trimmed)
		}
	}
	if b != nil {
		return nil, fmt.Errorf("%s:%d: the block has no end", name, b.line)
	}
	return out, nil
}

// whole reports whether a block is a file by itself.
func (b *block) whole() bool { return strings.HasPrefix(b.code, "package ") }

// source returns the block as a file. Its line comment makes errors name the
// place in the document.
func (b *block) source() (string, error) {
	if b.whole() {
		return fmt.Sprintf("//line %s:%d\n", b.file, b.line) + b.code, nil
	}
	place := fmt.Sprintf("//line %s:%d\n", b.file, b.line)
	var body string
	if e, err := parser.ParseExpr(b.code); err == nil {
		if _, call := e.(*ast.CallExpr); call {
			body = "func snippet() {\n" + place + b.code + "\n}\n"
		} else {
			body = "var _ = (\n" + place + strings.TrimSpace(b.code) + ")\n"
		}
	} else if _, err := parser.ParseFile(token.NewFileSet(), "", "package snippet\n"+b.code, 0); err == nil {
		body = place + b.code
	} else {
		f, err := parser.ParseFile(token.NewFileSet(), "", "package snippet\nfunc snippet() error {\n"+place+b.code+"\n}", 0)
		if err != nil {
			return "", err
		}
		body = "func snippet() error {\n" + place + b.code + "\n" + closing(f.Decls[0].(*ast.FuncDecl).Body) + "}\n"
	}
	f, err := parser.ParseFile(token.NewFileSet(), "", "package snippet\n"+body, 0)
	if err != nil {
		return "", err
	}
	return "package snippet\n" + importsOf(f) + body, nil
}

// closing uses the variables that the statements of a block declare, and ends
// the function.
func closing(body *ast.BlockStmt) string {
	var names []string
	ends := false
	for _, s := range body.List {
		_, ends = s.(*ast.ReturnStmt)
		switch s := s.(type) {
		case *ast.AssignStmt:
			for _, e := range s.Lhs {
				if id, ok := e.(*ast.Ident); ok && s.Tok == token.DEFINE && id.Name != "_" {
					names = append(names, id.Name)
				}
			}
		case *ast.DeclStmt:
			if d, ok := s.Decl.(*ast.GenDecl); ok && d.Tok == token.VAR {
				for _, spec := range d.Specs {
					for _, id := range spec.(*ast.ValueSpec).Names {
						names = append(names, id.Name)
					}
				}
			}
		}
	}
	if ends {
		return ""
	}
	slices.Sort(names)
	var out strings.Builder
	for _, name := range slices.Compact(names) {
		fmt.Fprintf(&out, "_ = %s\n", name)
	}
	return out.String() + "return nil\n"
}

// importsOf returns the imports of the packages that a file uses and does not
// import by itself.
func importsOf(f *ast.File) string {
	have := map[string]bool{}
	for _, spec := range f.Imports {
		have[strings.Trim(spec.Path.Value, `"`)] = true
	}
	var paths []string
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && imports[id.Name] != "" && !have[imports[id.Name]] && slices.Contains(f.Unresolved, id) {
				paths = append(paths, imports[id.Name])
			}
		}
		return true
	})
	slices.Sort(paths)
	var out strings.Builder
	for _, p := range slices.Compact(paths) {
		fmt.Fprintf(&out, "import %q\n", p)
	}
	return out.String()
}

// vet writes a package for each block and returns the output of go vet.
func vet(t *testing.T, bs []block) (string, error) {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	mod = bytes.Replace(mod, []byte("module github.com/seed68722ecd/webhook/examples\n"), []byte("module example.com/snippets\n"), 1)
	mod = bytes.ReplaceAll(mod, []byte("=> ../"), []byte("=> "+root+"/"))
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", mod)
	write("go.sum", sum)
	if err := os.CopyFS(filepath.Join(dir, "gorm"), os.DirFS("testdata/snippets/gorm")); err != nil {
		t.Fatal(err)
	}
	for i, b := range bs {
		if b.nocompile {
			continue
		}
		src, err := b.source()
		if err != nil {
			return "", fmt.Errorf("%s:%d: %w", b.file, b.line, err)
		}
		write(fmt.Sprintf("s%03d/block.go", i), []byte(src))
		for _, name := range []string{"default", b.preamble} {
			if name == "" || b.whole() {
				continue
			}
			text, err := os.ReadFile(filepath.Join("testdata", "snippets", name+".go"))
			if err != nil {
				return "", fmt.Errorf("%s:%d: %w", b.file, b.line, err)
			}
			write(fmt.Sprintf("s%03d/%s.go", i, name), text)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "vet", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestGoInTheDocumentationCompiles(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	for _, f := range append(files, "../README.md") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		bs, err := blocks(strings.TrimPrefix(filepath.ToSlash(f), "../"), string(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bs...)
	}
	if len(all) < 5 {
		t.Fatalf("%d Go blocks found: the test looks in the wrong place", len(all))
	}
	if out, err := vet(t, all); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The check finds code that does not compile, and names the place.
func TestGoThatDoesNotCompileIsFound(t *testing.T) {
	const doc = "text\n\n```go\nn, err := d.Publisch(ctx, webhook.Event{})\n```\n\n" + // a misspelt method
		"<!-- nocompile: shows what not to do -->\n```go\nthis is no Go\n```\n\n" +
		"```go\nwebhook.Config{MaxInFlite: 3}\n```\n\n" + // an unknown field
		"1. in a list\n   ```go\n   func f(tx pgstore.Tx) (int, error) {\n   \treturn store.PublishTx(tx)\n   }\n   ```\n" + // arguments that do not fit
		"```go\npackage main\n\nfunc main() { d.Run() }\n```\n" // a file does not see declarations for other blocks
	bs, err := blocks("x.md", doc)
	if err != nil || len(bs) != 5 {
		t.Fatalf("%d blocks, %v; want 5", len(bs), err)
	}
	out, err := vet(t, bs)
	if err == nil {
		t.Error("go vet found nothing")
	}
	for _, want := range []string{`x\.md:4:.* d\.Publisch undefined`, `x\.md:13:.* unknown field MaxInFlite`, `x\.md:19:.* not enough arguments`, `x\.md:25:.* undefined: d`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("nothing like %s in:\n%s", want, out)
		}
	}
	if _, err := blocks("x.md", "<!-- snippet: pgx -->\n\ntext\n```go\nf()\n```\n"); err == nil {
		t.Error("a directive without a block is no error")
	}
}
