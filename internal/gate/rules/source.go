package rules

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Each of these leaves the guarded dialer and the library's timeouts aside (S1).
var unguarded = map[string]bool{
	"DefaultClient": true, "DefaultTransport": true,
	"Get": true, "Head": true, "Post": true, "PostForm": true,
}

// CheckSource parses every Go file of the module in dir, for whatever platform
// it is meant, tests, test data and nested modules left out, and reports
//
//   - uses of net/http's default client, default transport and the functions on them;
//   - an Idempotency-Key header, or its X- form, being set: with either, net/http
//     would send a POST again by itself (H6).
//
// files is the number of files looked at.
func CheckSource(dir string) (found []string, files int, err error) {
	fset := token.NewFileSet()
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return enter(dir, path, d.Name())
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files++
		for _, v := range append(checkHTTP(file), checkIdempotencyKey(file)...) {
			at := fset.Position(v.pos)
			rel, relErr := filepath.Rel(dir, at.Filename)
			if relErr != nil {
				rel = at.Filename
			}
			found = append(found, fmt.Sprintf("%s:%d: %s", rel, at.Line, v.what))
		}
		return nil
	})
	if err != nil {
		return nil, files, fmt.Errorf("rules: %w", err)
	}
	return found, files, nil
}

// enter decides whether a folder is of the module: nested modules, examples,
// test data, and what the go command itself leaves out, are not.
func enter(root, path, name string) error {
	if path == root {
		return nil
	}
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules" || name == "examples" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

type violation struct {
	pos  token.Pos
	what string
}

// importName returns the name under which a file knows a package, and whether
// it imports it at all.
func importName(file *ast.File, path string) (string, bool) {
	for _, imp := range file.Imports {
		if got, err := strconv.Unquote(imp.Path.Value); err != nil || got != path {
			continue
		}
		if imp.Name != nil {
			return imp.Name.Name, true
		}
		return path[strings.LastIndexByte(path, '/')+1:], true
	}
	return "", false
}

func checkHTTP(file *ast.File) []violation {
	name, ok := importName(file, "net/http")
	if !ok {
		return nil
	}
	if name == "." {
		return []violation{{file.Name.Pos(), "net/http is imported with a dot, which hides what is used of it"}}
	}
	var found []violation
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || !unguarded[sel.Sel.Name] {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == name {
			found = append(found, violation{sel.Pos(), "http." + sel.Sel.Name + " goes round the guarded dialer (S1)"})
		}
		return true
	})
	return found
}

const setsKey = "sets an Idempotency-Key header, upon which net/http sends a POST again by itself (H6)"

// checkIdempotencyKey finds the header in the places where one is set: a call of
// Set or Add, an assignment to a map element, and the keys of an http.Header
// literal. Reading it, or naming it in a list of refused headers, is no violation.
func checkIdempotencyKey(file *ast.File) []violation {
	consts := keyConstants(file)
	isKey := func(e ast.Expr) bool {
		if id, ok := e.(*ast.Ident); ok {
			return consts[id.Name]
		}
		return isKeyLiteral(e)
	}
	var found []violation
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			if ok && (sel.Sel.Name == "Set" || sel.Sel.Name == "Add") && len(n.Args) == 2 && isKey(n.Args[0]) {
				found = append(found, violation{n.Pos(), setsKey})
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if ix, ok := left.(*ast.IndexExpr); ok && isKey(ix.Index) && !isBool(n.Rhs) {
					found = append(found, violation{n.Pos(), setsKey})
				}
			}
		case *ast.CompositeLit:
			sel, ok := n.Type.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Header" {
				return true
			}
			for _, elt := range n.Elts {
				if kv, ok := elt.(*ast.KeyValueExpr); ok && isKey(kv.Key) {
					found = append(found, violation{kv.Pos(), setsKey})
				}
			}
		}
		return true
	})
	return found
}

// isBool says whether what is assigned is true or false: then the map is a set
// of names and no header.
func isBool(values []ast.Expr) bool {
	if len(values) != 1 {
		return false
	}
	id, ok := values[0].(*ast.Ident)
	return ok && (id.Name == "true" || id.Name == "false")
}

func isKeyLiteral(e ast.Expr) bool {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return false
	}
	s, err := strconv.Unquote(lit.Value)
	s = strings.ToLower(strings.TrimSpace(s))
	return err == nil && (s == "idempotency-key" || s == "x-idempotency-key")
}

// keyConstants returns the constants and variables of a file that hold the name
// of the header.
func keyConstants(file *ast.File) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, v := range n.Values {
				if i < len(n.Names) && isKeyLiteral(v) {
					names[n.Names[i].Name] = true
				}
			}
		case *ast.AssignStmt:
			for i, v := range n.Rhs {
				if i < len(n.Lhs) && isKeyLiteral(v) {
					if id, ok := n.Lhs[i].(*ast.Ident); ok {
						names[id.Name] = true
					}
				}
			}
		}
		return true
	})
	return names
}
